"""The decoder against the plain rules, on entries with a value or a byte changed: the same are taken, with the same
values, and every other one is refused in one sentence. ACTONCE_DECODER_INPUTS=N tries so many."""

import os
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgpack
import pytest

from actonce_crdt import EntryInvalid, Record, Unknown, decode, encode, entries
from actonce_crdt.packing import pack, unpack_tuple

from .fuzz import mutate
from .plain_rules import FIELDS, accepted
from .test_entries import EXAMPLES

INPUTS = int(os.environ.get("ACTONCE_DECODER_INPUTS", "10000"))

GENUINE = [encode(record) for record, _ in EXAMPLES] + [pack(("later", "k", 7, "a", 1, (2, {"x": 1.5}), None))]
EDGES = tuple(2**power + more for power in (16, 32, 53, 63) for more in (-1, 0))
NUMBERS = (-1001, -1000, -33, -1, 0, 1, 127, 128, 255, 256, 1000, 1001, *EDGES)
NAMES = tuple(f"n{number:04}" for number in range(1025))
ODD: tuple[Any, ...] = (
    *NUMBERS, 2**64 - 1, None, True, False, 0.0, 1.0, float("nan"),
    "", "a", "A", "-a", "a\n", "a\0", "\u00e4", "n" * 64, "n" * 65, "k" * 512, "k" * 513,
    "\u20ac" * 170, "\u20ac" * 171,
    "\U00010000" * 128, "\U00010000" * 129, "\u20ac" * 500, "\u20ac" * 501, "k" * 70_000, "task", "later",
    "aside", "open", "refused", "offer", "active", "pause", "halt",
    b"", b"\xc0", bytes(16), bytes(17), bytes(15) + b"\2" + bytes(15) + b"\1", bytes(32), bytes(range(32)),
    bytes(70_000),
    (), ("a",), ("",), (1,), ("k" * 513,), ("\u20ac" * 171, "a"), NAMES[:64], NAMES[:65], {}, {"a": 1}, {1: 2},
    (0, ""), (1, ""), (0, "a"), (1, "a"), (1, "A"), (True, "a"), (1, "a", 2), ("a", 1),
    (("a", 1),), (("a", 0),), (("a", 1), ("b", 2)), (("b", 1), ("a", 2)), (("a", 1), ("a", 2)), (("A", 1), ("b", 2)),
    (("a", "j"),), (("a", "j"), ("b", "k")), (("b", "j"), ("a", "k")), (("a", ""),), (("a",),), (("a", 1, 2),),
    (("a", True),),
    (("a", -1),), (("a", 2**53),), (("a", 2**63 - 1),), (("a", 2**63),), (("a", 2**64 - 1),), (("a/j", 1),),
    *(tuple((name, second) for name in NAMES[:size]) for size in (64, 65, 1024, 1025) for second in (1, "j")),
    msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2),
)  # fmt: skip


def with_a_value_changed(random: Random, genuine: bytes) -> bytes:
    values = list(unpack_tuple(genuine))  # type: ignore[call-overload]
    at = random.randrange(len(values))
    match random.randrange(8):
        case 0:
            del values[at]
        case 1:
            values.insert(at, random.choice(ODD))
        case 2:
            values.append(random.choice(ODD))
        case 3:
            values[0] = random.choice((*FIELDS, "later"))
        case _:
            values[at] = random.choice(ODD)
    return pack(tuple(values))


def in_a_long_form(random: Random, genuine: bytes) -> bytes:
    """The same value in more bytes: a number, or the head of an array, a text or bytes, in a longer form."""
    at = random.randrange(len(genuine))
    head = genuine[at]
    longer = {0x90: b"\xdc\0", 0xA0: b"\xd9"}.get(head & 0xF0 if head < 0xA0 else head & 0xE0)
    if longer is not None:
        return genuine[:at] + longer + bytes((head & (0x0F if head < 0xA0 else 0x1F),)) + genuine[at + 1 :]
    if head == 0xC4:
        return genuine[:at] + b"\xc5\0" + genuine[at + 1 :]
    return genuine[:at] + b"\xcc" + genuine[at:]


def inputs(seed: int, count: int) -> Iterator[bytes]:
    random = Random(seed)
    for _ in range(count):
        genuine = random.choice(GENUINE)
        match random.randrange(6):
            case 0:
                yield in_a_long_form(random, genuine)
            case 1:
                yield mutate(random, genuine, random.choice(GENUINE))
            case _:
                yield with_a_value_changed(random, genuine)


def outcome(data: bytes) -> Record | str:
    """The record, or why there is none."""
    try:
        return decode(data)
    except EntryInvalid as error:
        return str(error)


def compare(seed: int, count: int) -> Counter[str]:
    """How often each code was taken, and anything refused."""
    counts: Counter[str] = Counter()
    for data in inputs(seed, count):
        expected, record = accepted(data), outcome(data)
        if isinstance(record, str):
            assert expected is None, f"refused: {data.hex()[:400]}: {record}"
            assert "\n" not in record
            assert len(record) < 300
            counts["refused"] += 1
            continue
        assert expected is not None, f"taken: {data.hex()[:400]} as {record!r:.400}"
        assert encode(record) == data
        if isinstance(record, Unknown):
            assert record == Unknown(expected[1], expected[2], expected[3], expected[0], data)
            counts["later"] += 1
        else:
            values = tuple(getattr(record, field) for field in record.__struct_fields__)
            assert (values, type(record)) == (expected[1:], entries._TYPES[expected[0]])
            assert list(map(type, values)) == list(map(type, expected[1:]))
            counts[expected[0]] += 1
    return counts


def test_the_decoder_agrees_with_the_plain_rules() -> None:
    assert FIELDS.keys() == entries._TYPES.keys()
    for genuine in GENUINE:
        assert accepted(genuine) is not None
    counts = compare(1, INPUTS)
    # The inputs reach every code, and refusals, or they test nothing.
    assert counts.keys() == {*FIELDS, "later", "refused"}
    assert INPUTS // 3 < counts["refused"] < INPUTS


@pytest.mark.parametrize("planted", ["names", "bytes", "form"])
def test_a_rule_that_is_left_out_is_found(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    match planted:
        case "names":
            monkeypatch.setattr(entries, "_LEFT", dict.fromkeys(entries._LEFT, ()))
        case "bytes":
            monkeypatch.setattr(entries, "_LEFT_OF_LONG", dict.fromkeys(entries._LEFT_OF_LONG, ()))
        case _:
            monkeypatch.setattr(entries, "_write", lambda record: _Anything())
    with pytest.raises(AssertionError, match="taken"):
        compare(1, INPUTS)


class _Anything(bytes):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = bytes.__hash__


@pytest.mark.parametrize("data", GENUINE, ids=[*(type(record).__name__ for record, _ in EXAMPLES), "later"])
def test_no_count_in_the_bytes_is_believed(data: bytes) -> None:
    """An array that says it holds four billion parts costs no memory, wherever it stands."""
    for at in range(len(data)):
        with pytest.raises(EntryInvalid):
            decode(data[:at] + b"\xdd\xff\xff\xff\xff" + data[at + 1 :])
