"""The validator: what it accepts, and each hostile shape that it must refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, TransactionEvent

from actonce_crdt import (
    EMPTY_UPDATE,
    ENTRY_BYTES_MAX,
    Delta,
    Limits,
    ParsedUpdate,
    StateVectorInvalid,
    UpdateGap,
    UpdateInvalid,
    encode_state_vector,
    parse_state_vector,
    parse_update,
)
from actonce_crdt.updates import encode_update
from actonce_crdt.wire import CLOCK_MAX, varint

from .raw import chain, deletes, first, later, removed, text, update

# What is known in these tests: client 5 wrote 4 entries to log a, of which 2 are removed; client 6 wrote 3 to log b.
KNOWN = {5: 4, 6: 3}
LOGS = {5: "a", 6: "b"}
DELETED = {5: 2, 6: 0}


def parse(data: bytes, limits: Limits | None = None) -> ParsedUpdate:
    return parse_update(data, known=KNOWN, logs=LOGS, deleted=DELETED, limits=limits or Limits())


def test_a_new_chain() -> None:
    parsed = parse(update(chain(7, 0, first(b"x", b"yy", root=b"log/c"))))
    assert parsed.items == ((7, 0, "c", b"x"), (7, 1, "c", b"yy"))
    assert parsed.deletes == ()


def test_more_of_a_known_chain() -> None:
    parsed = parse(update(chain(5, 4, later(5, 3, b"x"), later(5, 4, b"y"))))
    assert parsed.items == ((5, 4, "a", b"x"), (5, 5, "a", b"y"))


def test_what_is_known_is_skipped() -> None:
    assert parse(update(chain(5, 1, later(5, 0, b"1", b"2")))).deltas == ()
    parsed = parse(update(chain(5, 1, later(5, 0, b"1", b"2", b"3", b"4"), later(5, 4, b"5"))))
    assert parsed.items == ((5, 4, "a", b"4"), (5, 5, "a", b"5"))
    assert parse(EMPTY_UPDATE).deltas == ()


def test_removals_are_a_prefix() -> None:
    assert parse(update(deleted=(deletes(6, (0, 2)),))).deletes == ((6, 0, 2),)
    assert parse(update(deleted=(deletes(5, (2, 1)),))).deletes == ((5, 2, 1),)
    assert parse(update(deleted=(deletes(5, (0, 1), (1, 3)),))).deletes == ((5, 2, 2),)
    assert parse(update(deleted=(deletes(5, (0, 2)),))).deltas == ()


def test_entries_removed_in_the_same_update_are_not_items() -> None:
    parsed = parse(update(chain(7, 0, first(b"x", b"y", b"z")), deleted=(deletes(7, (0, 2)),)))
    assert parsed.items == ((7, 2, "a", b"z"),)
    assert parsed.deletes == ((7, 0, 2),)
    whole = parse(update(chain(7, 0, removed(2), later(7, 1, b"z")), deleted=(deletes(7, (0, 2)),)))
    assert whole == parsed


def test_the_library_writes_a_chain_as_we_do() -> None:
    doc: Doc[Array[bytes]] = Doc(client_id=7)
    log = doc.get("log/c", type=Array)
    updates: list[bytes] = []

    def keep(event: TransactionEvent) -> None:
        updates.append(event.update)

    subscription = doc.observe(keep)
    log.extend([b"x", b"y" * 200])
    log.append(b"z")
    with doc.transaction():
        del log[0:2]
    doc.unobserve(subscription)
    made, more, cut = updates
    none: tuple[bytes, ...] = ()
    assert made == encode_update((Delta(7, "c", 0, 2, 0, 0, (b"x", b"y" * 200)),))
    assert more == encode_update((Delta(7, "c", 2, 3, 0, 0, (b"z",)),))
    assert cut == encode_update((Delta(7, "c", 3, 3, 0, 2, none),))
    assert doc.get_update() == encode_update((Delta(7, "c", 0, 3, 0, 2, (b"z",)),))


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_what_came_is_passed_on_as_we_would_write_it(runs: list[list[bytes]], known: int, dead: int) -> None:
    blocks, at = [first(*runs[0], root=b"log/a")], len(runs[0])
    for run in runs[1:]:
        blocks.append(later(7, at - 1, *run))
        at += len(run)
    known, dead = min(known, at), min(dead, at)
    data = update(chain(7, 0, *blocks), deleted=(deletes(7, (0, dead)),) if dead else ())
    deltas = parse_update(data, known={7: known} if known else {}, logs={7: "a"}, deleted={7: 0}).deltas
    fresh = tuple(one for run in runs for one in run)[max(known, dead) :]
    wanted = (Delta(7, "a", known, at, 0, dead, fresh),) if known < at or dead else ()
    assert deltas == wanted
    assert encode_update(deltas) == encode_update(wanted)


deltas = st.integers(0, 3).flatmap(
    lambda start: st.builds(
        lambda client, new, dead: (client, start, new, dead),
        st.sampled_from([1, 127, 128, 1 << 40]),
        st.lists(st.binary(min_size=1, max_size=200), max_size=4),
        st.integers(0, 7),
    )
)


@given(st.lists(deltas, max_size=3, unique_by=lambda delta: delta[0]))
def test_encoded_deltas_parse_to_themselves(shapes: list[tuple[int, int, list[bytes], int]]) -> None:
    made = []
    known: dict[int, int] = {}
    for client, start, new, dead in shapes:
        end = start + len(new)
        gone = min(dead, end)
        if end == start and not gone:
            continue
        made.append(Delta(client, "a", start, end, 0, gone, tuple(new[max(0, gone - start) :])))
        known[client] = start
    data = encode_update(tuple(made))
    assert data == encode_update(tuple(reversed(made)))
    parsed = parse_update(data, known=known, logs=dict.fromkeys(known, "a"), deleted={})
    assert sorted(parsed.deltas, key=str) == sorted(made, key=str)


NESTED_ARRAYS = b"\x08\x01" + text(b"log/a") + b"\x01" + b"\x75\x01" * 26_000 + b"\x7e"

HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "zero-length GC block": bytes.fromhex("01010500000000"),
    "zero-length GC block of an unknown client": bytes.fromhex("01010900000000"),
    "GC block": update(chain(7, 0, b"\x00\x05")),
    "skip block": update(chain(7, 0, b"\x0a\x05")),
    "count bomb: clients": b"\x80\x80\x80\x80\x01",
    "count bomb: many clients": b"\xff\xff\xff\xff\xff\xff\x07",
    "count bomb: blocks": b"\x01\xff\xff\x03\x07\x00",
    "count bomb: values": update(chain(7, 0, b"\x08\x01" + text(b"log/a") + varint(CLOCK_MAX))),
    "count bomb: bytes": update(chain(7, 0, b"\x08\x01" + text(b"log/a") + b"\x01t" + varint(ENTRY_BYTES_MAX))),
    "count bomb: deletes": b"\x00" + b"\x80\x80\x80\x80\x01",
    "count bomb: ranges": b"\x00\x01\x05\xff\xff\x03",
    "nested arrays 26,000 deep": update(chain(7, 0, NESTED_ARRAYS)),
    "no values": update(chain(7, 0, first())),
    "an empty entry": update(chain(7, 0, first(b""))),
    "an entry above the limit": update(chain(7, 0, first(b"x" * (ENTRY_BYTES_MAX + 1)))),
    "zero removed entries": update(chain(7, 0, removed(0))),
    "no blocks": update(chain(7, 0)),
    "a client twice": update(chain(7, 0, first(b"x")), chain(7, 1, later(7, 0, b"y"))),
    "a map root": update(chain(7, 0, b"\x28\x01" + text(b"log/a") + text(b"key") + b"\x01t\x01x")),
    "a root that is not a log": update(chain(7, 0, first(b"x", root=b"claims"))),
    "a log without a name": update(chain(7, 0, first(b"x", root=b"log/"))),
    "a log with a bad name": update(chain(7, 0, first(b"x", root=b"log/A"))),
    "a log name with a line end": update(chain(7, 0, first(b"x", root=b"log/a\n"))),
    "a log name that is not UTF-8": update(chain(7, 0, first(b"x", root=b"log/\xff"))),
    "a log name above the limit": update(chain(7, 0, first(b"x", root=b"log/" + b"a" * 65))),
    "a parent that is an item": update(chain(7, 0, b"\x08\x00\x05\x00\x01t\x01x")),
    "a root at a later clock": update(chain(5, 4, first(b"x"))),
    "another log for a known client": update(chain(5, 0, first(b"x", root=b"log/b"))),
    "an origin at clock 0": update(chain(7, 0, later(5, 3, b"x"))),
    "an origin by another client": update(chain(5, 4, later(6, 2, b"x"))),
    "an origin that is not the entry before": update(chain(5, 4, later(5, 1, b"x"))),
    "an origin that is the block itself": update(chain(5, 4, later(5, 4, b"x"))),
    "a right origin": update(chain(5, 4, b"\x48\x05\x03\x01t\x01x")),
    "both origins": update(chain(5, 4, b"\xc8\x05\x03\x05\x02\x01t\x01x")),
    "a parent sub with an origin": update(chain(5, 4, later(5, 3, b"x", info=0xA8))),
    "removed entries outside the prefix": update(chain(5, 4, removed(1, 5, 3))),
    "removed entries behind the prefix": update(
        chain(7, 0, first(b"x"), removed(1, 7, 0)), deleted=(deletes(7, (0, 1)),)
    ),
    "a delete of nothing": update(deleted=(deletes(5, (2, 0)),)),
    "a delete without ranges": update(deleted=(deletes(5),)),
    "deletes of a client twice": update(deleted=(deletes(5, (0, 3)), deletes(5, (3, 1)))),
    "overlapping deletes": update(deleted=(deletes(5, (0, 3), (2, 2)),)),
    "deletes out of order": update(deleted=(deletes(5, (2, 1), (0, 1)),)),
    "a delete beyond all clocks": update(deleted=(deletes(5, (3, CLOCK_MAX)),)),
    "clocks beyond 2**31": update(chain(5, 4, removed(CLOCK_MAX, 5, 3))),
    "a clock of 2**31": update(chain(5, 1 << 31, later(5, CLOCK_MAX, b"x"))),
    "a client id of 2**53": update(chain(1 << 53, 0, first(b"x"))),
    "bytes after the end": update(chain(7, 0, first(b"x"))) + b"\x00",
    "a long form of 1": b"\x81\x00" + update(chain(7, 0, first(b"x")))[1:],
    "an endless number": b"\xff" * 64,
    "a number of nine bytes": b"\x80" * 8 + b"\x01",
    "a null value": update(chain(7, 0, b"\x08\x01" + text(b"log/a") + b"\x01\x7e")),
    "a number value": update(chain(7, 0, b"\x08\x01" + text(b"log/a") + b"\x01\x7d\x01")),
    "a text value": update(chain(7, 0, b"\x08\x01" + text(b"log/a") + b"\x01\x77\x01x")),
    "an object value": update(chain(7, 0, b"\x08\x01" + text(b"log/a") + b"\x01\x76\x00")),
    **{
        f"content of kind {kind}": update(chain(7, 0, first(b"x", info=kind)))
        for kind in range(2, 32)
        if kind not in (8, 10)
    },
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_shapes_are_refused(data: bytes) -> None:
    with pytest.raises(UpdateInvalid):
        parse(data)


GAPS: dict[str, bytes] = {
    "entries beyond the known clock": update(chain(5, 5, later(5, 4, b"x"))),
    "entries of an unknown client": update(chain(7, 1, later(7, 0, b"x"))),
    "removals of an unknown client": update(deleted=(deletes(7, (0, 1)),)),
    "removals beyond the known clock": update(deleted=(deletes(5, (0, 5)),)),
    "removals behind missing ones": update(deleted=(deletes(6, (1, 1)),)),
}


@pytest.mark.parametrize("data", GAPS.values(), ids=GAPS.keys())
def test_what_builds_on_something_missing_is_a_gap(data: bytes) -> None:
    with pytest.raises(UpdateGap):
        parse(data)
    with pytest.raises(UpdateInvalid):
        parse(data + b"\x00")  # a malformed update is never reported as a gap


@pytest.mark.parametrize(
    "size", range(len(update(chain(5, 4, later(5, 3, b"x" * 200)), deleted=(deletes(6, (0, 2)),))))
)
def test_every_cut_is_refused(size: int) -> None:
    whole = update(chain(5, 4, later(5, 3, b"x" * 200)), deleted=(deletes(6, (0, 2)),))
    assert parse(whole).items
    with pytest.raises(UpdateInvalid):
        parse(whole[:size])


def test_genuine_updates_of_other_types_are_refused() -> None:
    doc: Doc[Map[bytes]] = Doc(client_id=7)
    doc.get("log/a", type=Map)["key"] = b"x"
    with pytest.raises(UpdateInvalid):
        parse(doc.get_update())
    other: Doc[Text] = Doc(client_id=7)
    text_type = other.get("log/a", type=Text)
    text_type += "hello"
    with pytest.raises(UpdateInvalid):
        parse(other.get_update())
    middle: Doc[Array[bytes]] = Doc(client_id=7)
    log = middle.get("log/a", type=Array)
    log.extend([b"x", b"z"])
    log.insert(1, b"y")  # not at the end
    with pytest.raises(UpdateInvalid, match="origin"):
        parse(middle.get_update())


@pytest.mark.parametrize(
    "limits",
    [Limits(update_bytes_max=20), Limits(clients_max=1), Limits(blocks_max=2), Limits(entry_bytes_max=1)],
    ids=str,
)
def test_limits(limits: Limits) -> None:
    data = update(chain(7, 0, first(b"x"), later(7, 0, b"yy")), chain(5, 4, later(5, 3, b"z")))
    assert len(parse(data).items) == 3
    with pytest.raises(UpdateInvalid):
        parse(data, limits)


def test_messages_stay_short_whatever_the_bytes() -> None:
    with pytest.raises(UpdateInvalid) as caught:
        parse(update(chain(5, 0, first(b"x", root=b"log/" + b"z" * 64))))
    assert len(str(caught.value)) < 200


@given(st.dictionaries(st.integers(0, (1 << 53) - 1), st.integers(1, CLOCK_MAX), max_size=5))
def test_state_vectors_come_back(vector: dict[int, int]) -> None:
    assert parse_state_vector(encode_state_vector(vector)) == vector
    assert encode_state_vector(dict(reversed(vector.items()))) == encode_state_vector(vector)


HOSTILE_VECTORS: dict[str, bytes] = {
    "empty": b"",
    "count bomb": b"\x80\x80\x80\x80\x01",
    "larger count bomb": b"\xff\xff\xff\xff\xff\xff\x07",
    "cut off": b"\x02\x05\x01\x06",
    "a client twice": b"\x02\x05\x01\x05\x02",
    "a clock of 0": b"\x01\x05\x00",
    "a clock of 2**31": b"\x01\x05" + varint(1 << 31),
    "a client id of 2**53": b"\x01" + varint(1 << 53) + b"\x01",
    "bytes after the end": b"\x01\x05\x01\x00",
    "a long form": b"\x01\x85\x00\x01",
    "an endless number": b"\xff" * 64,
}


@pytest.mark.parametrize("data", HOSTILE_VECTORS.values(), ids=HOSTILE_VECTORS.keys())
def test_hostile_state_vectors_are_refused(data: bytes) -> None:
    with pytest.raises(StateVectorInvalid):
        parse_state_vector(data)


def test_a_state_vector_has_a_limit() -> None:
    vector = dict.fromkeys(range(1, 12), 1)
    assert parse_state_vector(encode_state_vector(vector), clients_max=11) == vector
    with pytest.raises(StateVectorInvalid):
        parse_state_vector(encode_state_vector(vector), clients_max=10)
