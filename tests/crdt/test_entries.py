from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actonce_crdt import (
    COUNT_MAX,
    ENTRY_BYTES_MAX,
    Cancel,
    Cell,
    Claim,
    Cool,
    Cursor,
    Cut,
    Done,
    Doubt,
    EntryInvalid,
    EntryTooLarge,
    Floor,
    Gift,
    Grant,
    Intent,
    Lapse,
    Mark,
    Passed,
    Receipt,
    Record,
    Release,
    Reopen,
    Roster,
    Share,
    Shut,
    Step,
    Switch,
    Tally,
    Task,
    Try,
    Unknown,
    decode,
    encode,
    name_is_valid,
)
from actonce_crdt.packing import pack

from .records import records

EXAMPLES: list[tuple[Record, tuple[object, ...]]] = [
    (Task("t", 1, "a", "reply", b"\xc0"), ("task", "t", 1, "a", "reply", b"\xc0", 0, 0, (), True, "")),
    (
        Task("t", 1, "a", "reply", b"\xc0", -5, 7, ("x", "y"), False, "p"),
        ("task", "t", 1, "a", "reply", b"\xc0", -5, 7, ("x", "y"), False, "p"),
    ),
    (Claim("t", 2, "a", 3, 4), ("claim", "t", 2, "a", 3, 4, "", 0)),
    (Claim("t", 2, "a", 3, 4, "b", 5), ("claim", "t", 2, "a", 3, 4, "b", 5)),
    (Try("t", 2, "a", 3, 1, 99, "boom"), ("try", "t", 2, "a", 3, 1, 99, "boom")),
    (Done("t", 2, "a", 3, True, b""), ("done", "t", 2, "a", 3, True, b"", "")),
    (Mark("digest", 2, "a", 60), ("mark", "digest", 2, "a", 60)),
    (Cursor("feed", 2, "a", 7, 3, b"c"), ("cursor", "feed", 2, "a", 7, 3, b"c")),
    (Passed("t", 2, "a", 3, 1), ("passed", "t", 2, "a", 3, 1)),
    (Cancel("t", 2, "a", 3), ("cancel", "t", 2, "a", 3)),
    (Reopen("t", 2, "a", 3, 4, 5), ("reopen", "t", 2, "a", 3, 4, 5)),
    (Intent("e", 2, "a", "t", 3, "room", b"hi"), ("intent", "e", 2, "a", "t", 3, "room", b"hi")),
    (Receipt("e", 2, "a", 3, b"ok"), ("receipt", "e", 2, "a", 3, b"ok")),
    (Doubt("e", 2, "a", 3, "open", 1), ("doubt", "e", 2, "a", 3, "open", 1)),
    (
        Switch("agent", 2, "a", 3, "pause", (("a", 1), ("b", 2)), "why"),
        ("switch", "agent", 2, "a", 3, "pause", (("a", 1), ("b", 2)), "why"),
    ),
    (Shut("agent", 2, "a", (("b", 2),)), ("shut", "agent", 2, "a", (("b", 2),))),
    (Cell("r:k\0", 2, "a", b"v", (("b", 1),), 7, ""), ("cell", "r:k\0", 2, "a", b"v", (("b", 1),), 7, "")),
    (Tally("c:k\0", 2, "a", "j", 1, 2, 3, "t"), ("tally", "c:k\0", 2, "a", "j", 1, 2, 3, "t")),
    (Grant("t", 2, "a", 3, "b", 4, "j", 1, 0), ("grant", "t", 2, "a", 3, "b", 4, "j", 1, 0)),
    (Release("t", 2, "a", 3, 4), ("release", "t", 2, "a", 3, 4)),
    (
        Roster("2", 2, "a", "promise", (3, "b"), "j", (("a", "j"), ("b", "k")), (0, "")),
        ("roster", "2", 2, "a", "promise", (3, "b"), "j", (("a", "j"), ("b", "k")), (0, "")),
    ),
    (
        Step("t/3.a.1", 2, "a", "t", 3, 1, 2, "b", 4, "draft", "f", b"hi"),
        ("step", "t/3.a.1", 2, "a", "t", 3, 1, 2, "b", 4, "draft", "f", b"hi"),
    ),
    (Gift("q/r", 2, "a", "a/1", "b/2", 30, 4), ("gift", "q/r", 2, "a", "a/1", "b/2", 30, 4)),
    (Share("q/r", 2, "a", "a/1", 7, 12, 4, 0, 9, 5), ("share", "q/r", 2, "a", "a/1", 7, 12, 4, 0, 9, 5)),
    (Lapse("q", 2, "a", "b/2", 3, "j", 1), ("lapse", "q", 2, "a", "b/2", 3, "j", 1)),
    (Cool("q", 2, "a", 1500, 500), ("cool", "q", 2, "a", 1500, 500)),
    (
        Floor("floor", 2, "a", "a/j", 3, 4, (("b/k", 1),), bytes(16)),
        ("floor", "floor", 2, "a", "a/j", 3, 4, (("b/k", 1),), bytes(16)),
    ),
    (Cut("a", 2, "a"), ("cut", "a", 2, "a")),
]


@pytest.mark.parametrize(("record", "wire"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_the_wire_form_is_fixed(record: Record, wire: tuple[object, ...]) -> None:
    assert encode(record) == pack(wire)
    assert decode(pack(wire)) == record


@given(records)
def test_records_come_back(record: Record) -> None:
    assert decode(encode(record)) == record
    assert encode(decode(encode(record))) == encode(record)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        record = decode(data)
    except EntryInvalid:
        return
    assert encode(record) == data


@given(records, st.data())
def test_changed_bytes_are_refused_or_canonical(record: Record, data: st.DataObject) -> None:
    raw = bytearray(encode(record))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = decode(bytes(raw))
    except EntryInvalid:
        return
    assert encode(changed) == bytes(raw)


def test_an_entry_of_a_later_version_is_kept_as_it_is() -> None:
    data = pack(("quota", "k", 7, "a", 1, (2, {"x": 1.5}), None))
    record = decode(data)
    assert record == Unknown("k", 7, "a", "quota", data)
    assert encode(record) == data


TOO_MANY = tuple((f"n{i:03}", "j") for i in range(65))
BAD_WIRE: list[tuple[object, str]] = [
    ({"task": 1}, "an entry is an array"),
    ("task", "an entry is an array"),
    (("task", "t", 1), "an entry is an array"),
    ((b"task", "t", 1, "a"), "code must be a name"),
    (("", "t", 1, "a"), "code must be a name"),
    (("x" * 65, "t", 1, "a"), "code must be a name"),
    (("claim", "t", 1, "a", 1, 2, ""), "6 fields instead of 7"),
    (("claim", "t", 1, "a", 1, 2, "", 0, 1), "8 fields instead of 7"),
    (("claim", "t", 1, "a", 1, 2, "B", 0), "holder must be a name"),
    (("claim", "t", 1, "a", 1, 2, "b", -1), "holder_incarnation must be"),
    (("claim", "", 1, "a", 1, 2, "", 0), "key must be"),
    (("claim", b"t", 1, "a", 1, 2, "", 0), "key must be"),
    (("claim", "k" * 513, 1, "a", 1, 2, "", 0), "key is longer than 512 bytes"),
    (("claim", "\u20ac" * 171, 1, "a", 1, 2, "", 0), "key is longer than 512 bytes"),
    (("claim", "t", -1, "a", 1, 2, "", 0), "stamp must be"),
    (("claim", "t", 1 << 63, "a", 1, 2, "", 0), "stamp must be"),
    (("claim", "t", 1.0, "a", 1, 2, "", 0), "stamp must be"),
    (("claim", "t", True, "a", 1, 2, "", 0), "stamp must be"),
    (("claim", "t", 1, "A", 1, 2, "", 0), "author must be a name"),
    (("claim", "t", 1, "-a", 1, 2, "", 0), "author must be a name"),
    (("claim", "t", 1, "a\n", 1, 2, "", 0), "author must be a name"),
    (("claim", "t", 1, "a" * 65, 1, 2, "", 0), "author must be a name"),
    (("claim", "t", 1, "a", -1, 2, "", 0), "epoch must be"),
    (("claim", "t", 1, "a", True, 2, "", 0), "epoch must be"),
    (("claim", "t", 1, "a", 1, COUNT_MAX + 1, "", 0), "incarnation must be"),
    (("try", "t", 1, "a", 1, 0, 5, "x"), "attempt counts from 1"),
    (("try", "t", 1, "a", 1, 1, 5, b"x"), "error must be text"),
    (("done", "t", 1, "a", 1, 1, b"", ""), "ok must be true or false"),
    (("done", "t", 1, "a", 1, True, "x", ""), "result must be bytes"),
    (("done", "t", 1, "a", 1, True, b"", "well"), "how must be empty or one of aside, cancelled, dropped, late,"),
    (("task", "t", 1, "a", "", b"", 0, 0, (), True, ""), "kind must be"),
    (("task", "t", 1, "a", "k", b"", 1001, 0, (), True, ""), "priority must be an integer from -1000 to 1000"),
    (("task", "t", 1, "a", "k", b"", 0, -1, (), True, ""), "not_before_ms must be"),
    (("task", "t", 1, "a", "k", b"", 0, 0, "t", True, ""), "after must be an array of at most 64 keys"),
    (("task", "t", 1, "a", "k", b"", 0, 0, ("t",) * 65, True, ""), "after must be an array of at most 64 keys"),
    (("task", "t", 1, "a", "k", b"", 0, 0, ("",), True, ""), "after must be"),
    (("mark", "t", 1, "a", -1), "slot must be"),
    (("intent", "e", 1, "a", "", 1, "room", b""), "task must be"),
    (("doubt", "e", 1, "a", 1, "maybe", 0), "settled must be one of found, open, posted, refused"),
    (("doubt", "e", 1, "a", 1, "open", -1), "round must be"),
    (("grant", "t", 1, "a", 1, "B", 1, "j", 1, 0), "claimant must be"),
    (("grant", "t", 1, "a", 1, "b", 1, "", 1, 0), "journal must be"),
    (("roster", "2", 1, "a", "vote", (1, "a"), "j", (), (0, "")), "act must be one of accept, active"),
    (("roster", "2", 1, "a", "offer", (1,), "j", (), (0, "")), "ballot must be"),
    (("roster", "2", 1, "a", "offer", (1, ""), "j", (), (0, "")), "ballot must be"),
    (("roster", "2", 1, "a", "offer", (1, "a"), "j", (("b", "j"), ("a", "j")), (0, "")), "voters must be sorted"),
    (("roster", "2", 1, "a", "offer", (1, "a"), "j", (("a", "j"), ("a", "k")), (0, "")), "nobody twice"),
    (("roster", "2", 1, "a", "offer", (1, "a"), "j", (("a",),), (0, "")), "voters must be pairs"),
    (("roster", "2", 1, "a", "offer", (1, "a"), "j", TOO_MANY, (0, "")), "at most 64"),
    (("later", "k", -1, "a"), "stamp must be"),
    (("later", "k", 1, "a", 1.5), "a field of type float"),
    (("later", "k", 1, "a", {}), "a field of type dict"),
]


@pytest.mark.parametrize(("wire", "message"), BAD_WIRE, ids=str)
def test_what_does_not_follow_the_format_is_refused(wire: object, message: str) -> None:
    with pytest.raises(EntryInvalid, match=message):
        decode(pack(wire))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        pack(("claim", "t", 1, "a", 1, 2, "", 0)) + b"\0",
        pack(("claim", "t", 1, "a", 1, 2, "", 0))[:-1],
        b"\xdc\x00\x08" + pack(("claim", "t", 1, "a", 1, 2, "", 0))[1:],  # a long form of the array header
        pack(("claim", "t", 1, "a", 1))[:-1].replace(b"\x95", b"\x98") + b"\xcc\x01\x02\xa0\x00",  # a long form of 1
        b"\x94\xa1x\xa1\xff\x01\xa1a",  # not UTF-8
        b"\x95\xa1x\xa1k\x01\xa1a" + b"\x91" * 100_000 + b"\xc0",  # deeper than any stack
        b"\xdd\xff\xff\xff\xff",  # a count without contents
    ],
    ids=lambda data: data[:8].hex(),
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(EntryInvalid):
        decode(data)


@pytest.mark.parametrize(("record", "wire"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_we_do_not_write_what_peers_refuse(record: Record, wire: tuple[object, ...]) -> None:
    for field in record.__struct_fields__:
        changes: Any = {field: 1.5}
        with pytest.raises(EntryInvalid, match=field):
            encode(replace(record, **changes))
    with pytest.raises(EntryInvalid, match="surrogates"):
        encode(replace(record, key="\ud800"))


def test_size_is_limited_both_ways() -> None:
    overhead = len(encode(Task("t", 1, "a", "k", b"\0" * 70_000))) - 70_000
    largest = Task("t", 1, "a", "k", bytes(ENTRY_BYTES_MAX - overhead))
    assert decode(encode(largest)) == largest
    too_large = replace(largest, payload=largest.payload + b"\0")
    with pytest.raises(EntryTooLarge, match="the limit is 262144"):
        encode(too_large)
    with pytest.raises(EntryTooLarge):
        decode(pack(("task", "t", 1, "a", "k", too_large.payload, 0, 0, (), True, "")))


def test_messages_stay_short_whatever_the_bytes() -> None:
    with pytest.raises(EntryInvalid) as caught:
        decode(pack(("x" * 100_000, "k" * 100_000, 1, "a")))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("name", "valid"), [("a", True), ("0-._", True), ("a" * 64, True), ("a" * 65, False)])
def test_names(name: str, valid: bool) -> None:
    assert name_is_valid(name) is valid


@pytest.mark.parametrize("name", ["", ".a", "_a", "-a", "A", "a/b", "a b", "\u00e4", "a\n", "a\0"])
def test_bad_names(name: str) -> None:
    assert not name_is_valid(name)
