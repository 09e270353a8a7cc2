"""Hostile text updates against whole documents; run as `python -m tests.crdt.text_fuzz SEED INPUTS` in its own process.

As `fuzz`: half of the inputs are genuine updates with bytes changed, half follow the grammar with odd numbers in it.
What is refused leaves the document as it was; what is accepted leaves library and books in agreement. Blocks whose
origins no library would write may come to another text on a document that gets all of it at once: then the digests
differ, too. Prints counts as JSON.
"""

import faulthandler
import json
import sys
from collections import Counter
from random import Random

from actonce_crdt import CrdtError, TextDocument, UpdateGap, UpdateInvalid, parse_state_vector
from actonce_crdt.wire import varint

from .editors import Editors
from .fuzz import HANG_S, ODD, mutate
from .raw import chain, deletes, text, update

NAMES = ("n", "m")


def compose(random: Random, document: TextDocument) -> bytes:
    """An update that follows the grammar, with clients, clocks and origins near those known, or odd."""
    known = document.state_vector()
    clients = [*known, document.client_id, random.randrange(1, 1 << 20)]

    def number(near: int) -> bytes:
        value = random.choice(ODD) if random.random() < 0.05 else max(0, near + random.choice((-1, 0, 0, 0, 0, 1)))
        return varint(value)

    def origin() -> bytes:
        client = random.choice(clients)
        return varint(client) + number(random.randrange(max(1, known.get(client, 1))))

    def block(client: int, clock: int) -> tuple[bytes, int]:
        kind = random.choice((4, 4, 4, 1))
        flags = random.choice((0, 0x80, 0x80, 0x40, 0xC0))
        out = bytes((kind | flags,))
        if flags & 0x80:
            out += varint(client) + varint(clock - 1) if clock and random.random() < 0.5 else origin()
        if flags & 0x40:
            out += origin()
        if not flags:
            out += b"\1" + text(random.choice((b"text/n", b"text/m", b"text/new", b"log/a", b"text/")))
        if kind == 1:
            size = random.choice((1, 1, 2, 3))
            return out + varint(size), size
        content = random.choice(("a", "ab", "é", "😀", "x😀", "", "\0"))
        return out + text(content.encode()), max(1, len(content.encode("utf-16-le")) // 2)

    def one_chain(client: int) -> bytes:
        clock = at = known.get(client, 0) + random.choice((0, 0, 0, 0, 1)) if random.random() < 0.8 else 0
        blocks = []
        for _ in range(random.choice((1, 1, 2, 3))):
            made, size = block(client, at)
            blocks.append(made)
            at += size
        return chain(client, clock, *blocks)

    def one_delete(client: int) -> bytes:
        top = known.get(client, 1)
        spans = [(random.randrange(top + 1), random.choice((1, 1, 2, 5))) for _ in range(random.choice((1, 1, 2)))]
        return deletes(client, *spans)

    return update(
        *(one_chain(random.choice(clients)) for _ in range(random.choice((0, 1, 1, 2)))),
        deleted=tuple(one_delete(random.choice(clients)) for _ in range(random.choice((0, 0, 1, 2)))),
    )


def rebuild(journal: tuple[bytes, ...]) -> TextDocument:
    document = TextDocument((1 << 53) - 1)
    for one in journal:
        document.take(document.parse(one))
    return document


def check(document: TextDocument) -> bool:
    """Library and books agree. Whether who gets all of it at once has the same texts; if not, the digest says so."""
    assert parse_state_vector(document._doc.get_state()) == document.state_vector()
    other = TextDocument(7)
    other.take(other.parse(document.diff({})))
    for name in document.names:
        assert str(document._root(name).text) == document.read(name).text
    assert document.bytes == sum(len(document.read(name).text.encode()) for name in document.names)
    equal = all(other.read(name).text == document.read(name).text for name in document.names)
    assert (other.digest == document.digest) == equal
    return equal


def attack(document: TextDocument, data: bytes, counts: Counter[str]) -> bool:
    """Whether the document changed."""
    before = document.digest, [document.read(name).text for name in document.names]
    try:
        delta = document.parse(data)
        document.take(delta)
    except UpdateGap:
        counts["gap"] += 1
    except UpdateInvalid:
        counts["invalid"] += 1
    else:
        counts["changed" if delta else "nothing new"] += 1
        counts["differs"] += not check(document)
        if delta:
            version = document.read("n")
            document.edit("n", version.text, version.number, ((0, len(version.text)), "!"))
            check(document)
            return True
    assert before == (document.digest, [document.read(name).text for name in document.names])
    return False


def main(seed: int, inputs: int) -> None:
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    random = Random(seed)
    editors = Editors(seed)
    editors.run(120)
    counts: Counter[str] = Counter()
    while counts.total() - counts["differs"] < inputs:
        journal, genuine = random.choice(editors.corpus)
        document = rebuild(journal)
        for _ in range(40):
            other = random.choice(editors.corpus)[1]
            data = mutate(random, genuine, other) if random.random() < 0.5 else compose(random, document)
            try:
                if attack(document, data, counts):
                    document = rebuild(journal)
            except (AssertionError, CrdtError):
                print(f"seed {seed}: update {data.hex()} on journal {[one.hex() for one in journal]}", file=sys.stderr)
                raise
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
