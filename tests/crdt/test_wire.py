import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt.wire import Cursor, Malformed, varint


@given(st.integers(0, (1 << 53) - 1))
def test_numbers_come_back(value: int) -> None:
    cursor = Cursor(varint(value))
    assert cursor.varint(value) == value
    cursor.finish()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80" * 1_000_000 + b"\x01", "more than 8 bytes"),  # refused at once, not after a million shifts
        (b"\x80\x00", "shortest form"),
        (b"\x83\x00", "shortest form"),
        (b"\x81\x01", "above 128"),
    ],
    ids=["endless", "long zero", "long 3", "too large"],
)
def test_numbers_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        Cursor(data).varint(128)


def test_bytes_are_read_whole_or_not_at_all() -> None:
    assert Cursor(b"\x02ab").blob(2) == b"ab"
    with pytest.raises(Malformed, match="cut off"):
        Cursor(b"\x02a").blob(2)
    with pytest.raises(Malformed, match="above 1"):
        Cursor(b"\x02ab").blob(1)
    with pytest.raises(Malformed, match="1 bytes too many"):
        Cursor(b"a").finish()
