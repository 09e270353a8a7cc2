"""Looks for garbage are put off while much is taken in, and only then."""

import gc
from collections.abc import Iterator

import pytest

from actonce.garbage import LARGE_BYTES, put_off


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


@pytest.mark.parametrize(("size", "enabled_inside"), [(LARGE_BYTES - 1, True), (LARGE_BYTES, False)])
def test_only_what_is_large_puts_them_off(size: int, enabled_inside: bool) -> None:
    with put_off(size):
        assert gc.isenabled() is enabled_inside
    assert gc.isenabled()


def test_they_come_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), put_off(LARGE_BYTES):
        _ = 1 // 0
    assert gc.isenabled()


def test_whoever_has_turned_them_off_keeps_them_off() -> None:
    gc.disable()
    with put_off(LARGE_BYTES):
        assert not gc.isenabled()
    assert not gc.isenabled()
