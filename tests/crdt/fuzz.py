"""Hostile updates against whole documents; run as `python -m tests.crdt.fuzz SEED INPUTS` in a process of its own.

A native crash or hang shows as a dead process, not as an exception. Half of the inputs are genuine updates with bytes
changed, half are made from the grammar with odd numbers in it. What is refused must leave the document as it was; what
is accepted must leave library and books in agreement. Prints counts as JSON.
"""

import faulthandler
import json
import sys
from collections import Counter
from random import Random

from actonce_crdt import CrdtError, Document, StateVectorInvalid, UpdateGap, UpdateInvalid, parse_state_vector

from .histories import Mesh, check
from .raw import chain, deletes, first, later, removed, update

HANG_S = 120.0
ODD = (0, 1, 2, 5, 127, 128, 300, (1 << 31) - 1, 1 << 31, (1 << 53) - 1)
ODD_BYTES = (0, 1, 8, 10, 0x28, 0x48, 0x74, 0x7F, 0x80, 0x81, 0x88, 0xC8, 0xFF)


def mutate(random: Random, genuine: bytes, other: bytes) -> bytes:
    data = bytearray(genuine)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(data) + 1)
        span = random.choice((1, 1, 2, 8))
        match random.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1 if at < len(data):
                data[at] = random.choice(ODD_BYTES)
            case 2:
                del data[at : at + span]
            case 3:
                data[at:at] = random.randbytes(span)
            case 4:
                data[at:at] = data[at : at + 4 * span]
            case 5:
                start = random.randrange(len(other))
                data[at : at + span] = other[start : start + 4 * span]
            case _:
                del data[at:]
    return bytes(data)


def compose(random: Random, document: Document) -> bytes:
    """An update that follows the grammar, with clients and clocks near those known, or odd."""
    known = document.state_vector()
    clients = [*known, document.client_id, random.randrange(1, 1 << 20)]

    def number(near: int) -> int:
        return random.choice(ODD) if random.random() < 0.15 else max(0, near + random.choice((-1, 0, 0, 0, 0, 1)))

    roots = [b"log/" + log.encode() for log in (*document.logs(), "new")] + [b"claims"]

    def one_block(client: int, clock: int, entries: list[bytes]) -> bytes:
        root = random.choice(roots)
        if not clock:
            return random.choice((first(*entries, root=root), removed(number(1), root=root)))
        origin = random.choice((client, client, client, random.choice(clients)))
        return random.choice((later(origin, number(clock - 1), *entries), removed(1, origin, number(clock - 1))))

    def one_chain(client: int) -> bytes:
        clock = at = number(random.choice((known.get(client, 0), 0)))
        blocks = []
        for _ in range(random.choice((1, 1, 2, 3))):
            entries = [random.randbytes(random.choice((0, 1, 1, 9))) for _ in range(random.choice((0, 1, 1, 3)))]
            blocks.append(one_block(client, at, entries))
            at += len(entries) or 1
        return chain(client, clock, *blocks)

    def one_delete(client: int) -> bytes:
        return deletes(client, *((number(0), number(known.get(client, 1))) for _ in range(random.choice((1, 1, 2)))))

    return update(
        *(one_chain(random.choice(clients)) for _ in range(random.choice((0, 1, 1, 2)))),
        deleted=tuple(one_delete(random.choice(clients)) for _ in range(random.choice((0, 0, 1, 2)))),
    )


def rebuild(journal: tuple[bytes, ...]) -> Document:
    document = Document("z", (1 << 53) - 1)
    for one in journal:
        document.integrate(one)
    return document


def attack(document: Document, data: bytes, counts: Counter[str]) -> bool:
    """Whether the document changed."""
    before = document.digest, document.encoded_state_vector()
    try:
        change = document.integrate(data)
    except UpdateGap:
        counts["gap"] += 1
    except UpdateInvalid:
        counts["invalid"] += 1
    else:
        check(document)
        counts["changed" if change else "nothing new"] += 1
        if change:
            document.append([b"still writes"])
            check(document)
            return True
    assert before == (document.digest, document.encoded_state_vector())
    return False


def attack_vector(random: Random, document: Document, counts: Counter[str]) -> None:
    genuine = document.encoded_state_vector()
    try:
        document.diff(parse_state_vector(mutate(random, genuine, genuine)))
        counts["vector taken"] += 1
    except StateVectorInvalid:
        counts["vector invalid"] += 1


def main(seed: int, inputs: int) -> None:
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    random = Random(seed)
    mesh = Mesh(seed)
    mesh.run(120)
    counts: Counter[str] = Counter()
    while counts.total() < inputs:
        journal, genuine = random.choice(mesh.corpus)
        document = rebuild(journal)
        for _ in range(40):
            if random.random() < 0.5:
                data = mutate(random, genuine, random.choice(mesh.corpus)[1])
            else:
                data = compose(random, document)
            try:
                if attack(document, data, counts):
                    document = rebuild(journal)
            except (AssertionError, CrdtError):
                print(f"seed {seed}: update {data.hex()} on journal {[one.hex() for one in journal]}", file=sys.stderr)
                raise
        attack_vector(random, document, counts)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
