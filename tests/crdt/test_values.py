import enum
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import VALUE_DEPTH_MAX, ValueInvalid, pack_value, unpack_value

numbers = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(values)
def test_values_come_back(value: object) -> None:
    data = pack_value(value)
    assert unpack_value(data) == value
    assert pack_value(unpack_value(data)) == data


@given(st.dictionaries(st.text(), scalars, min_size=2), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, object], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert pack_value({key: value[key] for key in keys}) == pack_value(value)


@given(st.binary(max_size=40))
def test_any_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        value = unpack_value(data)
    except ValueInvalid:
        return
    assert pack_value(value) == data


def test_tuples_and_subclasses_become_plain() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    class Level(enum.IntEnum):
        HIGH = 3

    value = unpack_value(pack_value((Colour.RED, Level.HIGH, {Colour.RED: True})))
    assert value == ["red", 3, {"red": True}]
    assert [type(item) for item in value] == [str, int, dict]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"items": [1, 2, 3, {4}]}, "payload.items[3]: set is not JSON-like"),
        (object(), "payload: object is not JSON-like"),
        ({"a": {"b": math.nan}}, "payload.a.b: nan is not a finite number"),
        ([math.inf], "payload[0]: inf is not a finite number"),
        ({1: 2}, "payload: a key is int, not str"),
        ([1 << 64], "payload[0]: an integer must be between -2**63 and 2**64-1"),
        (-(1 << 63) - 1, "payload: an integer must be between -2**63 and 2**64-1"),
        (["\ud800"], "payload[0]: the text has no UTF-8 form (surrogates not allowed)"),
        ({"\ud800": 1}, "payload: a key: the text has no UTF-8 form (surrogates not allowed)"),
        (bytearray(b"x"), "payload: bytearray is not JSON-like"),
    ],
)
def test_what_is_not_json_like_is_named_by_its_path(value: object, message: str) -> None:
    with pytest.raises(ValueInvalid) as caught:
        pack_value(value)
    assert str(caught.value) == message


def test_the_root_of_the_path_can_be_named() -> None:
    with pytest.raises(ValueInvalid, match=r"^result\.x: complex is not JSON-like$"):
        pack_value({"x": 1j}, name="result")


def test_depth_is_limited_and_cycles_end() -> None:
    pack_value(nested(VALUE_DEPTH_MAX))
    with pytest.raises(ValueInvalid, match="nested deeper than 32 levels"):
        pack_value(nested(VALUE_DEPTH_MAX + 1))
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(ValueInvalid, match="nested deeper"):
        pack_value(cycle)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x01",  # two values
        b"\xcc\x01",  # a long form of 1
        b"\xca\x3f\x80\x00\x00",  # a 32-bit float
        b"\x82\xa1b\x01\xa1a\x02",  # keys out of order
        b"\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x81\x01\x02",  # a key that is not text
        b"\xa1\xff",  # not UTF-8
        msgpack.packb(msgpack.ExtType(4, b"x")),
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb(math.nan),
        b"\x91" * 5_000 + b"\xc0",
        b"\x91" * 200_000,
        b"\xdf\xff\xff\xff\xff",  # counts without contents
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(ValueInvalid):
        unpack_value(data)


def test_messages_stay_short_whatever_the_keys() -> None:
    with pytest.raises(ValueInvalid) as caught:
        pack_value({"k" * 100_000: {1, 2}})
    assert len(str(caught.value)) < 200
