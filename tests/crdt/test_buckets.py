"""Fingerprints of chains: equal where the tables are, found where they are not; and differences made from them.

The two laws of compaction hold when replicas learn of each other in this way (`talks`), and each way to be less careful
about it is found by a few seeds. ACTONCE_COMPACTION_SEEDS=N runs so many seeds instead of a few.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actonce_crdt import EMPTY_UPDATE, CrdtError, Delta, Document, Rules, StateVectorInvalid, Task, encode
from actonce_crdt.buckets import (
    SUM_BYTES,
    UNKNOWN,
    WIDTH_MAX,
    WIDTH_MIN,
    Buckets,
    Row,
    Standing,
    Table,
    bucket_of,
    differing,
    encode_rows,
    encode_sums,
    is_width,
    parse_rows,
    parse_sums,
    width_for,
)
from actonce_crdt.chains import Chains
from actonce_crdt.wire import CLIENT_MAX

from . import talks
from .logs import Replica, compact
from .talks import Talk, Talks

SEEDS = int(os.environ.get("ACTONCE_COMPACTION_SEEDS", "2"))
STEPS = 250
PLANTED_SEEDS = 25
Patch = pytest.MonkeyPatch

clients = st.integers(1, CLIENT_MAX) | st.integers(1, 40)
rows = st.tuples(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1)).map(lambda row: (max(row), min(row)))
tables = st.dictionaries(clients, rows, max_size=30)
widths = st.sampled_from([2**power for power in range(3, 11)])


class Kept:
    """A table with buckets beside it."""

    def __init__(self, table: Mapping[int, Row] = {}) -> None:
        self.known: dict[int, int] = {}
        self.deleted: dict[int, int] = {}
        self.buckets = Buckets(self.known, self.deleted)
        for client, row in table.items():
            self.set(client, row)

    def set(self, client: int, row: Row) -> None:
        self.buckets.touch(client)
        self.known[client], self.deleted[client] = row

    def row(self, client: int) -> Row:
        return self.known.get(client, 0), self.deleted.get(client, 0)


@settings(max_examples=40)
@given(tables, tables, widths)
def test_fingerprints_are_equal_where_the_tables_are_and_nowhere_else(
    one: dict[int, Row], other: dict[int, Row], width: int
) -> None:
    a, b = Kept(one), Kept(dict(reversed(one.items())) | other)
    changed = {client for client in other if a.row(client) != b.row(client)}
    found = differing(a.buckets.sums(width), b.buckets.sums(width))
    assert found == {bucket_of(client, width) for client in changed}
    assert changed <= set(b.buckets.clients(width, found))


@settings(max_examples=40)
@given(st.lists(st.tuples(clients, rows, st.booleans()), max_size=40), widths)
def test_what_is_kept_is_what_would_be_made_anew(changes: list[tuple[int, Row, bool]], width: int) -> None:
    kept = Kept()
    for client, row, look in changes:
        kept.set(client, row)
        if look:
            kept.buckets.sums(width)
    anew = Kept({client: kept.row(client) for client in sorted(kept.known)})
    assert kept.buckets.sums(width) == anew.buckets.sums(width)
    assert kept.buckets.clients(width, range(width)) == sorted(kept.known)


@settings(max_examples=40)
@given(tables, widths, st.data())
def test_fingerprints_and_rows_survive_their_bytes(table: dict[int, Row], width: int, data: st.DataObject) -> None:
    kept = Kept(table)
    sums = kept.buckets.sums(width)
    assert parse_sums(encode_sums(sums)) == sums
    buckets = data.draw(st.frozensets(st.integers(0, width - 1), max_size=width))
    named = {client: kept.row(client) for client in kept.buckets.clients(width, buckets)}
    written = encode_rows(width, buckets, named)
    assert parse_rows(written, width, len(named)) == (buckets, named)
    if named:
        with pytest.raises(StateVectorInvalid):
            parse_rows(written, width, len(named) - 1)
    for cut in range(len(written)):
        with pytest.raises(StateVectorInvalid):
            parse_rows(written[:cut], width, 1_000)


@given(st.binary(max_size=80), widths)
def test_other_bytes_are_refused_and_nothing_worse(data: bytes, width: int) -> None:
    try:
        buckets, found = parse_rows(data, width, 1_000)
    except StateVectorInvalid:
        pass
    else:
        assert encode_rows(width, buckets, found) == data, "one meaning has one form"
    try:
        assert encode_sums(parse_sums(data)) == data
    except StateVectorInvalid:
        assert len(data) % SUM_BYTES or not is_width(len(data) // SUM_BYTES)


@pytest.mark.parametrize(
    "bad",
    [
        {9: (1, 0)},  # of another bucket
        {8: (0, 0)},  # of nothing
        {8: (1, 2)},  # more removed than there was
        {CLIENT_MAX + 1: (1, 0)},  # of no client id
        {8: (2**31, 0)},  # of a clock that nobody reaches
    ],
)
def test_rows_that_no_replica_says_are_refused(bad: dict[int, Row]) -> None:
    with pytest.raises(StateVectorInvalid):
        parse_rows(encode_rows(8, [0], bad), 8, 10)


def test_rows_have_one_order_and_no_double() -> None:
    row = 16
    written = encode_rows(8, [0], {8: (1, 0), 16: (1, 0)})
    head, one, other = written[: -2 * row], written[-2 * row : -row], written[-row:]
    assert parse_rows(head + one + other, 8, 10) == (frozenset({0}), {8: (1, 0), 16: (1, 0)})
    for rows in (other + one, one + one):
        with pytest.raises(StateVectorInvalid):
            parse_rows(head + rows, 8, 10)


def test_the_width_follows_the_chains_within_its_bounds() -> None:
    assert [width_for(count) for count in (0, 256, 257, 10_000, 10**6)] == [WIDTH_MIN, 8, 16, 512, WIDTH_MAX]


# Differences of documents


def spent(count: int, seed: int = 1) -> tuple[Delta, ...]:
    """Chains of processes that ended long ago."""
    random = Random(seed)
    return tuple(Delta(random.getrandbits(53) | 1, "a", 0, 40, 0, 40, ()) for _ in range(count))


def compare(source: Document, target: Document) -> tuple[Standing, int]:
    """What `target` holds, as `source` knows it after an exchange; and its bytes."""
    width = width_for(source.client_count)
    sums = encode_sums(source.sums(width))
    buckets = differing(target.sums(width), parse_sums(sums))
    said = encode_rows(width, buckets, target.rows(width, buckets))
    return Standing(source.table(), width, *parse_rows(said, width, 10**6)), len(sums) + len(said)


def test_an_exchange_costs_what_differs_however_many_chains_there_are() -> None:
    documents = [Document(name, number) for number, name in enumerate("ab", 1)]
    for document in documents:
        document._apply(spent(3_000))
    a, b = documents
    a.append([b"one", b"two"])
    found, cost = compare(a, b)
    update = a.lacking(found)
    assert cost < 2_500
    assert len(update) < 50
    assert len(a.diff(b.state_vector())) > 30_000, "what it was before"
    b.integrate(update)
    assert b.digest == a.digest
    assert b.sums(8) == a.sums(8)
    assert a.lacking(compare(a, b)[0]) == b.lacking(compare(b, a)[0]) == EMPTY_UPDATE


def test_a_newcomer_gets_all_of_it() -> None:
    a, b = Document("a", 1), Document("b", 2)
    a._apply(spent(300))
    a.append([b"x"])
    b.integrate(a.lacking(compare(a, b)[0]))
    assert (b.digest, b.state_vector(), b.sums(8)) == (a.digest, a.state_vector(), a.sums(8))
    assert a.equal_part(compare(a, b)[0]) == a.state_vector()


def test_what_changed_after_the_comparison_is_sent_as_well() -> None:
    a, b = Document("a", 1), Document("b", 2)
    for document in (a, b):
        document._apply(spent(300))
    before = compare(a, b)[0]
    a.append([b"later"])
    assert a.equal_part(before) == b.state_vector(), "what it had, not what we have"
    b.integrate(a.lacking(before))
    assert b.digest == a.digest


# The laws of compaction


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("away", [True, False])
def test_the_laws_of_compaction_hold(seed: int, away: bool) -> None:
    history = Talks(seed, replicas=2 + seed % 3, away=away)
    history.run(STEPS)
    history.settle()
    assert history.counts["cuts"]
    assert history.counts["talks"]


@settings(max_examples=4)
@given(st.integers(0, 2**32))
def test_they_hold_for_any_seed(seed: int) -> None:
    history = Talks(seed, away=bool(seed % 2))
    history.run(60)
    history.settle()


def only_the_buckets_that_differed(patch: Patch) -> None:
    """What came since the comparison into a bucket that was equal is left for the next time."""
    patch.setattr(Chains, "changed_since", lambda self, version: [])


def as_of_now(patch: Patch) -> None:
    """Where the fingerprints were equal, the other one has what we have by the time of its answer."""

    def make(talk: Talk, buckets: frozenset[int], rows: Mapping[int, Row]) -> Standing:
        return Standing(talk.source.document.table(), talks.WIDTH, buckets, rows)

    patch.setattr(talks, "make_standing", make)


def removals_only_with_entries(patch: Patch) -> None:
    """A chain of which no entry is missing is left out, though some of its entries were removed."""
    row = Standing.row

    def careless(self: Standing, client: int) -> Row:
        clock, _ = row(self, client)
        return (clock, 2**31 - 1) if clock else UNKNOWN

    patch.setattr(Standing, "row", careless)


def compacted_in_between() -> None:
    """b lacks the last entry of c, and has all of a. While it says so, a moves what is alive of c to its own log."""
    alive, last = Task("t", 1, "c", "reply", b""), Task("u", 2, "c", "reply", b"")
    a, b, c = (Replica(name, Document(name, number)) for number, name in enumerate("abc", 1))
    for record, readers in ((alive, (a, b)), (last, (a,))):
        written = c.document.append([encode(record)])
        for one in readers:
            one.took(one.document.integrate(written.update))
    talk = talks.begin(a, b)
    talks.answer(talk)
    (moved,) = compact(a, "c", 2, Rules(lambda task: 100, lambda task: False), 5)
    a.took(moved)
    b.took(b.document.integrate(a.document.lacking(talks.standing(talk))))
    assert {key: one.task for key, one in b.state.tasks.items()} == {"t": alive, "u": last}
    assert b.document.digest == a.document.digest


def a_few_histories() -> None:
    for seed in range(PLANTED_SEEDS):
        history = Talks(seed, away=True)
        history.run(STEPS)
        history.settle()


def test_a_removal_in_between_comes_with_what_it_rests_on() -> None:
    compacted_in_between()


@pytest.mark.parametrize(
    ("plant", "found_by"),
    [
        (only_the_buckets_that_differed, compacted_in_between),
        (as_of_now, compacted_in_between),
        (removals_only_with_entries, a_few_histories),
    ],
)
def test_each_care_is_needed(
    plant: Callable[[Patch], None], found_by: Callable[[], None], monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, CrdtError)):
        found_by()


def test_a_table_stays_as_it_was() -> None:
    document = Document("a", 1)
    document.append([b"x"])
    before = document.table()
    assert document.table() is before
    document.append([b"y"])
    assert (before.row(1), before.row(2)) == ((1, 0), UNKNOWN)
    assert document.table() == Table(document.version, {1: 2}, {1: 0})
