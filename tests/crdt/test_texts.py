"""Texts: they converge, drafts land where they were meant, hostile bytes do no harm."""

import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actonce_crdt
from actonce_crdt import EMPTY_UPDATE, DocumentPoisoned, TextDocument, UpdateGap, UpdateInvalid, merge_text_updates
from actonce_crdt import texts as module
from actonce_crdt.drafts import Draft, Track, changes, difference
from actonce_crdt.ranges import Ranges
from actonce_crdt.text_updates import canonical_text_update

from .editors import NAMES, Editors
from .raw import chain, deletes, text, update
from .text_fuzz import check, rebuild

ROOT = Path(__file__).resolve().parents[2]
SEED, INPUTS = 1, int(os.environ.get("TEXT_FUZZ_INPUTS", "800"))


def put(document: TextDocument, at: int, new: str, name: str = "n") -> bytes:
    version = document.read(name)
    return document.edit(name, version.text, version.number, ((0, at), new, (at, len(version.text)))).update


def give(document: TextDocument, data: bytes) -> None:
    document.take(document.parse(data))


@pytest.mark.parametrize("seed", range(12))
def test_replicas_that_exchanged_all_have_equal_texts(seed: int) -> None:
    editors = Editors(seed)
    editors.run(40)
    editors.settle()
    one, *others = editors.documents
    for other in others:
        assert other.digest == one.digest
        assert [other.read(name).text for name in NAMES] == [one.read(name).text for name in NAMES]
    for document, journal in zip(editors.documents, editors.journals, strict=True):
        assert check(document)
        again = rebuild(tuple(journal))
        assert again.digest == document.digest
        assert document.diff(one.state_vector()) == canonical_text_update(document.diff(one.state_vector()))


def test_what_two_write_at_one_place_is_not_mixed() -> None:
    a, b = TextDocument(1), TextDocument(2)
    give(b, put(a, 0, "<>"))
    left, right = put(a, 1, "one"), put(b, 1, "two")
    give(a, right)
    give(b, left)
    assert a.read("n").text == b.read("n").text in ("<onetwo>", "<twoone>")


def test_an_edit_of_an_old_version_lands_where_it_was_meant() -> None:
    a, b = TextDocument(1), TextDocument(2)
    give(b, put(a, 0, "one two three"))
    old = b.read("n")
    draft = Draft(old.text)
    draft.splice(4, 7, "TWO")
    draft.splice(len(draft.text), len(draft.text), "!")
    for at, new in ((0, "zero "), (18, " four"), (8, " and a half")):
        give(b, put(a, at, new))
    b.edit("n", old.text, old.number, draft.pieces)
    assert b.read("n").text == "zero one and a half TWO three four!"


def test_a_draft_of_a_version_that_is_not_remembered_loses_nothing_that_it_put_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "VERSIONS_MAX", 2)
    a = TextDocument(1)
    put(a, 0, "abc")
    old = a.read("n")
    for _ in range(4):
        put(a, 1, "x")
    draft = Draft(old.text)
    draft.splice(2, 3, "[new]")
    a.edit("n", old.text, old.number, draft.pieces)
    assert a.read("n").text == "axxxxb[new]"


def test_the_library_says_itself_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coarser account is for accounts that do not add up: none of these."""
    monkeypatch.setattr(module, "_coarse", lambda before, after: pytest.fail(f"{before!r} -> {after!r}"))
    for seed in range(5):
        Editors(seed).run(40)


@given(st.text(max_size=12), st.text(max_size=12))
def test_the_one_splice_between_two_texts(before: str, after: str) -> None:
    draft = Draft(before)
    draft.splice(*difference(before, after))
    assert draft.text == after
    assert draft.is_changed == (before != after)


@given(st.integers(0, 1 << 30))
def test_a_draft_is_its_pieces_and_follows_what_happens_to_its_base(seed: int) -> None:
    """Against a model in which every character has a name."""
    rng = random.Random(seed)
    base = [f"{number}" for number in range(rng.randint(0, 9))]
    draft, mine = Draft("x" * len(base)), list(base)
    for _ in range(rng.randint(0, 4)):
        start = rng.randint(0, len(mine))
        stop = rng.randint(start, len(mine))
        mine[start:stop] = new = ["N"] * rng.randint(0, 2)
        draft.splice(start, stop, "N" * len(new))
    spelled = [name for piece in draft.pieces for name in (piece if isinstance(piece, str) else base[slice(*piece)])]
    assert spelled == mine

    track, theirs = Track(len(base)), list(base)
    for _ in range(rng.randint(0, 4)):
        delta, made, at = [], list[str](), 0
        while at < len(theirs) or rng.random() < 0.3:
            what, size = rng.choice(("keep", "delete", "insert")), rng.randint(1, 3)
            if what == "insert":
                made += ["T"] * size
            elif at < len(theirs):
                size = min(size, len(theirs) - at)
                made += theirs[at : at + size] if what == "keep" else []
                at += size
            else:
                continue
            delta.append((what, size))
        track.follow(delta)
        theirs = made
    merged = list(theirs)
    found = changes("x" * len(base), draft.pieces, track)
    assert all(one.at >= other.at for one, other in pairwise(found))
    for one in found:
        merged[one.at : one.at + one.delete] = list(one.insert)
    kept = {name for name in base if name in mine and name in theirs}
    assert [name for name in merged if name not in "NT"] == [name for name in base if name in kept]
    assert merged.count("N") == mine.count("N")
    assert merged.count("T") == theirs.count("T")
    for number, name in enumerate(mine):
        if name == "N" and number and mine[number - 1] in kept - {*base[-1:]}:  # right behind what it was put behind
            assert merged[merged.index(mine[number - 1]) + 1] == "N"
    if mine[-1:] == ["N"] and base[-1:] == mine[-2:-1]:  # what was put to the end stands at the end
        assert merged[-1] == "N"


spans = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=5)


@given(spans, spans)
def test_ranges_are_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def clocks(ranges: Ranges) -> set[int]:
        return {clock for start, end in ranges for clock in range(start, end)}

    a, b = Ranges.of(one), Ranges.of(other)
    assert clocks(a) == {clock for start, end in one for clock in range(start, end)}
    assert (clocks(a | b), clocks(a - b)) == (clocks(a) | clocks(b), clocks(a) - clocks(b))
    assert all(low[1] < high[0] for low, high in pairwise((a - b).spans))
    assert (a | b) == (b | a)
    assert all(a.covers(start, end) == ({*range(start, end)} <= clocks(a)) for start, end in other if start < end)


# Hostile bytes. The victim knows client 1: units 0 and 1 are "ab", 2 and 3 one character of two units, in text n;
# unit 4 is "m" in text m.


def victim() -> TextDocument:
    document, author = TextDocument(9), TextDocument(1)
    give(document, merge_text_updates([author.parse(b"\0\0")]))
    for at, new, name in ((0, "ab😀", "n"), (0, "m", "m")):
        give(document, put(author, at, new, name))
    return document


def root(name: bytes = b"text/n", content: bytes = b"x", info: int = 4) -> bytes:
    return bytes((info, 1)) + text(name) + text(content)


def after(client: int, clock: int, content: bytes = b"x", info: int = 0x84) -> bytes:
    return bytes((info, client, clock)) + text(content)


HOSTILE = {
    "cut off": update(chain(2, 0, root()))[:-3],
    "bytes behind the end": update(chain(2, 0, root())) + b"\0",
    "a garbage-collected block": update(chain(2, 0, b"\0\1")),
    "a skipped block": update(chain(2, 0, b"\x0a\1")),
    "an array value": update(chain(2, 0, b"\x08\1" + text(b"text/n") + b"\1\x74\1x")),
    "a format": update(chain(2, 0, b"\x06\1" + text(b"text/n") + text(b"bold") + text(b"1"))),
    "a map key": update(chain(2, 0, b"\x24\1" + text(b"text/n") + text(b"k") + text(b"x"))),
    "another root": update(chain(2, 0, root(b"log/a"))),
    "a text without a name": update(chain(2, 0, root(b"text/"))),
    "a parent that is an item": update(chain(2, 0, b"\x04\0\1\0" + text(b"x"))),
    "no content": update(chain(2, 0, root(content=b""))),
    "no UTF-8": update(chain(2, 0, root(content=b"\xff"))),
    "half a character": update(chain(2, 0, root(content=b"\xed\xa0\x80"))),
    "nothing deleted": update(deleted=(deletes(1, (0, 0)),)),
    "a client twice": update(chain(2, 0, root()), chain(2, 1, root())),
    "a client without blocks": update(chain(2, 0)),
    "deletions of a client twice": update(deleted=(deletes(1, (0, 1)), deletes(1, (1, 1)))),
    "deleted units outside the deletions": update(chain(2, 0, b"\1\1" + text(b"text/n") + b"\1")),
    "an origin in the middle of a character": update(chain(2, 0, after(1, 2))),
    "a right origin in the middle of a character": update(chain(2, 0, after(1, 3, info=0x44))),
    "half a character deleted": update(deleted=(deletes(1, (3, 1)),)),
    "between two texts": update(chain(2, 0, b"\xc4\1\0\1\4" + text(b"x"))),
    "an origin that is itself": update(chain(2, 0, after(2, 0))),
    "a circle": update(chain(3, 0, after(2, 0)), chain(2, 0, after(3, 0))),
    "units of our own client": update(chain(9, 0, root())),
    "a clock beyond the last": update(chain(2, (1 << 31) - 1, root())),
    "a long spelling of a number": b"\x80\0\0",
}
GAPS = {
    "units beyond the known clock": update(chain(1, 6, after(1, 5))),
    "an origin of a client that is not known": update(chain(2, 0, after(7, 0))),
    "an origin beyond the known clock": update(chain(2, 0, after(1, 5))),
    "deletions beyond the known clock": update(deleted=(deletes(1, (4, 2)),)),
    "deletions of a client that is not known": update(deleted=(deletes(7, (0, 1)),)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_no_replica_writes_is_refused_and_changes_nothing(data: bytes) -> None:
    document = victim()
    before = document.digest
    with pytest.raises(UpdateInvalid):
        document.parse(data)
    assert document.digest == before
    assert check(document)


@pytest.mark.parametrize("data", GAPS.values(), ids=GAPS)
def test_what_builds_on_something_missing_is_asked_for_again(data: bytes) -> None:
    document = victim()
    with pytest.raises(UpdateGap):
        document.parse(data)
    assert check(document)


def test_what_is_known_is_nothing_new() -> None:
    document = victim()
    assert not document.parse(document.diff({}))
    assert document.parse(document.diff({})).update == EMPTY_UPDATE


def test_a_library_that_fails_poisons_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    document = victim()

    class Broken:
        def apply_update(self, data: bytes) -> None:
            raise ValueError("inside")

    monkeypatch.setattr(document, "_doc", Broken())
    with pytest.raises(DocumentPoisoned, match="inside"):
        give(document, update(chain(2, 0, root())))
    with pytest.raises(DocumentPoisoned):
        document.parse(EMPTY_UPDATE)


def test_no_room_is_said_before_the_library_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    document = TextDocument(1)
    assert document.has_room
    monkeypatch.setattr(module, "CLIENTS_MAX", 0)
    assert not document.has_room


def test_hostile_updates_do_no_harm() -> None:
    crdt = Path(actonce_crdt.__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(crdt), str(ROOT))), "RUST_BACKTRACE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crdt.text_fuzz", str(SEED), str(INPUTS)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, f"seed {SEED}: exit {done.returncode}\n{done.stderr[-4000:]}"
    counts = json.loads(done.stdout)
    assert min(counts[name] for name in ("changed", "nothing new", "gap", "invalid")) > INPUTS // 100, counts
