import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import (
    COUNT_MAX,
    ENTRY_BYTES_MAX,
    Claim,
    Cool,
    Done,
    Doubt,
    EntryInvalid,
    EntryTooLarge,
    Gift,
    Intent,
    Receipt,
    Record,
    Share,
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
    (Task("t", 1, "a", "reply", b"\xc0"), ("task", "t", 1, "a", "reply", b"\xc0")),
    (Claim("t", 2, "a", 3, 4), ("claim", "t", 2, "a", 3, 4)),
    (Try("t", 2, "a", 3, 1, 99, "boom"), ("try", "t", 2, "a", 3, 1, 99, "boom")),
    (Done("t", 2, "a", 3, True, b""), ("done", "t", 2, "a", 3, True, b"")),
    (Intent("e", 2, "a", "t", 3, "room", b"hi"), ("intent", "e", 2, "a", "t", 3, "room", b"hi")),
    (Receipt("e", 2, "a", 3, b"ok"), ("receipt", "e", 2, "a", 3, b"ok")),
    (Doubt("e", 2, "a", 3, "open"), ("doubt", "e", 2, "a", 3, "open")),
    (Gift("q/r", 2, "a", "a/1", "b/2", 30, 4), ("gift", "q/r", 2, "a", "a/1", "b/2", 30, 4)),
    (Share("q/r", 2, "a", "a/1", 7, 12, 4, 0), ("share", "q/r", 2, "a", "a/1", 7, 12, 4, 0)),
    (Cool("q", 2, "a", 1500, 500), ("cool", "q", 2, "a", 1500, 500)),
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


BAD_WIRE: list[tuple[object, str]] = [
    ({"task": 1}, "an entry is an array"),
    ("task", "an entry is an array"),
    (("task", "t", 1), "an entry is an array"),
    ((b"task", "t", 1, "a"), "code must be a name"),
    (("", "t", 1, "a"), "code must be a name"),
    (("x" * 65, "t", 1, "a"), "code must be a name"),
    (("claim", "t", 1, "a", 1), "4 fields instead of 5"),
    (("claim", "t", 1, "a", 1, 2, 3), "6 fields instead of 5"),
    (("claim", "", 1, "a", 1, 2), "key must be"),
    (("claim", b"t", 1, "a", 1, 2), "key must be"),
    (("claim", "k" * 513, 1, "a", 1, 2), "key is longer than 512 bytes"),
    (("claim", "\u20ac" * 171, 1, "a", 1, 2), "key is longer than 512 bytes"),
    (("claim", "t", -1, "a", 1, 2), "stamp must be"),
    (("claim", "t", 1 << 63, "a", 1, 2), "stamp must be"),
    (("claim", "t", 1.0, "a", 1, 2), "stamp must be"),
    (("claim", "t", True, "a", 1, 2), "stamp must be"),
    (("claim", "t", 1, "A", 1, 2), "author must be a name"),
    (("claim", "t", 1, "-a", 1, 2), "author must be a name"),
    (("claim", "t", 1, "a\n", 1, 2), "author must be a name"),
    (("claim", "t", 1, "a" * 65, 1, 2), "author must be a name"),
    (("claim", "t", 1, "a", -1, 2), "epoch must be"),
    (("claim", "t", 1, "a", True, 2), "epoch must be"),
    (("claim", "t", 1, "a", 1, COUNT_MAX + 1), "incarnation must be"),
    (("try", "t", 1, "a", 1, 0, 5, "x"), "attempt counts from 1"),
    (("try", "t", 1, "a", 1, 1, 5, b"x"), "error must be text"),
    (("done", "t", 1, "a", 1, 1, b""), "ok must be true or false"),
    (("done", "t", 1, "a", 1, True, "x"), "result must be bytes"),
    (("task", "t", 1, "a", "", b""), "kind must be"),
    (("intent", "e", 1, "a", "", 1, "room", b""), "task must be"),
    (("doubt", "e", 1, "a", 1, "maybe"), "settled must be one of found, open, resent, skipped"),
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
        pack(("claim", "t", 1, "a", 1, 2)) + b"\0",
        pack(("claim", "t", 1, "a", 1, 2))[:-1],
        b"\xdc\x00\x06" + pack(("claim", "t", 1, "a", 1, 2))[1:],  # a long form of the array header
        pack(("claim", "t", 1, "a", 1))[:-1].replace(b"\x95", b"\x96") + b"\xcc\x01\x02",  # a long form of 1
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
    for field in dataclasses.fields(record):
        changes: Any = {field.name: 1.5}
        with pytest.raises(EntryInvalid, match=field.name):
            encode(dataclasses.replace(record, **changes))
    with pytest.raises(EntryInvalid, match="surrogates"):
        encode(dataclasses.replace(record, key="\ud800"))


def test_size_is_limited_both_ways() -> None:
    overhead = len(pack(("task", "t", 1, "a", "k", b"\0" * 70_000))) - 70_000
    largest = Task("t", 1, "a", "k", bytes(ENTRY_BYTES_MAX - overhead))
    assert decode(encode(largest)) == largest
    too_large = dataclasses.replace(largest, payload=largest.payload + b"\0")
    with pytest.raises(EntryTooLarge, match="the limit is 262144"):
        encode(too_large)
    with pytest.raises(EntryTooLarge):
        decode(pack(("task", "t", 1, "a", "k", too_large.payload)))


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
