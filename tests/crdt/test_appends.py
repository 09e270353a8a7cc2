"""Appends as they go over a link: the same bytes come back, and nothing else gets through."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import Document, UpdateGap, UpdateInvalid
from actonce_crdt.appends import lengthen, shorten
from actonce_crdt.wire import CLIENT_MAX

entries = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4)
clients = st.integers(1, CLIENT_MAX)


@given(clients, st.lists(entries, min_size=2, max_size=6), clients)
def test_what_is_sent_is_what_was_written(client: int, batches: list[list[bytes]], other: int) -> None:
    mine, theirs = Document("a", client), Document("b", other if other != client else client ^ 1 or 2)
    first = mine.append(batches[0]).update
    assert shorten(first, client) is None, "the first names the log"
    theirs.integrate(first)
    for batch in batches[1:]:
        update = mine.append(batch).update
        short = shorten(update, client)
        assert short is not None
        assert len(short) <= len(update) - 6
        assert lengthen(short, client) == update
        theirs.integrate(lengthen(short, client))
    assert theirs.digest == mine.digest


def test_only_appends_are_sent_like_that() -> None:
    mine = Document("a", 7)
    mine.append([b"x", b"y", b"z"])
    whole = mine.diff({})
    assert shorten(whole, 7) is None
    compacted = mine.compact("a", 1, [b"w"]).update
    assert lengthen(shorten(compacted, 7) or b"", 7) == compacted
    assert shorten(mine.append([b"v"]).update, 8) is None
    assert shorten(b"\0\0", 7) is None


@given(st.binary(max_size=60), clients)
def test_other_bytes_are_refused(data: bytes, client: int) -> None:
    mine = Document("b", 9)
    mine.append([b"x"])
    before = mine.digest
    with contextlib.suppress(UpdateInvalid, UpdateGap):
        mine.integrate(lengthen(data, client))
    assert mine.digest == before
