"""Sinks without a network: Python callables and a file."""

import asyncio
import errno
import json
import math
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actonce.errors import GateClosed, SinkRefused, SinkUnknown
from actonce.sinks import CallableSink, FileSink
from actonce_crdt import Json

pytestmark = pytest.mark.anyio
WAIT_S = 20
SHORT_S = 0.2
BODY: Json = {"text": "hello"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def opened() -> None:
    """A gate that lets everything pass."""


def closed() -> None:
    raise GateClosed("superseded")


async def test_callable_sinks_run_where_they_may() -> None:
    here = threading.get_ident()
    threads: list[int] = []

    def plain(body: Any, key: str) -> Any:
        threads.append(threading.get_ident())
        return {"key": key, "body": body}

    async def coroutine(body: Any, key: str) -> Any:
        return plain(body, key)

    class Object:
        async def __call__(self, body: Any, key: str) -> Any:
            return plain(body, key)

    gates: list[int] = []
    for fn in (plain, coroutine, Object()):
        receipt = await CallableSink(fn).publish(BODY, "k", 1, lambda: gates.append(threading.get_ident()))
        assert receipt == {"key": "k", "body": BODY}
    assert [thread == here for thread in threads] == [False, True, True]
    assert gates == [here] * 3


async def test_a_callable_behind_a_closed_gate_is_not_called() -> None:
    def plain(body: Any, key: str) -> Any:
        pytest.fail("called")

    async def coroutine(body: Any, key: str) -> Any:
        pytest.fail("called")

    fns: tuple[Callable[[Any, str], Any], ...] = (plain, coroutine)
    for fn in fns:
        with pytest.raises(GateClosed):
            await CallableSink(fn).publish(BODY, "k", 1, closed)


async def test_what_a_callable_raises_is_unknown_unless_it_says_refused() -> None:
    def raising(error: Exception) -> Callable[[Any, str], Awaitable[Any]]:
        async def fn(body: Any, key: str) -> Any:
            raise error

        return fn

    with pytest.raises(SinkUnknown, match="ValueError: broken"):
        await CallableSink(raising(ValueError("broken"))).publish(BODY, "k", 1, opened)
    with pytest.raises(SinkRefused) as caught:
        await CallableSink(raising(SinkRefused("full", retry_after_s=2.0))).publish(BODY, "k", 1, opened)
    assert caught.value.retry_after_s == 2.0


async def test_a_callable_that_hangs_is_unknown() -> None:
    release = threading.Event()

    async def forever(body: Any, key: str) -> Any:
        await asyncio.Event().wait()

    def blocking(body: Any, key: str) -> Any:
        assert release.wait(WAIT_S)

    fns: tuple[Callable[[Any, str], Any], ...] = (forever, blocking)
    try:
        for fn in fns:
            with pytest.raises(SinkUnknown, match="no answer in"):
                await CallableSink(fn, publish_timeout_s=SHORT_S).publish(BODY, "k", 1, opened)
    finally:
        release.set()


async def test_a_callable_can_look_up() -> None:
    receipts: dict[str, Any] = {}
    def unused(body: Any, key: str) -> Any: ...

    sink = CallableSink(unused, lookup=receipts.get, dedupe_window_s=math.inf)
    assert (sink.can_lookup, sink.dedupe_window_s) == (True, math.inf)
    assert await sink.lookup("k") is None
    receipts["k"] = {"id": 1}
    assert await sink.lookup("k") == {"id": 1}
    assert not CallableSink(unused).can_lookup


async def test_a_file_holds_one_line_an_effect_and_can_be_asked(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "effects.jsonl")
    assert await sink.lookup("a") is None
    first = await sink.publish(BODY, "a", 3, opened)
    second = await sink.publish("two\nlines", "b", 4, opened)
    with sink.path.open("ab") as file:
        file.write(b'{"key": "torn", "fen')
    assert await sink.lookup("torn") is None
    assert await FileSink(sink.path).publish("another body", "a", 9, opened) == first, "a key once"
    third = await sink.publish(None, "c", 5, opened)
    assert [await sink.lookup(key) for key in "abc"] == [first, second, third]
    lines = sink.path.read_text().splitlines()
    del lines[2]
    assert [json.loads(line) for line in lines] == [
        {"key": "a", "fence": 3, "body": BODY},
        {"key": "b", "fence": 4, "body": "two\nlines"},
        {"key": "c", "fence": 5, "body": None},
    ]


async def test_a_file_behind_a_closed_gate_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(GateClosed):
        await FileSink(tmp_path / "file").publish(BODY, "k", 1, closed)
    assert not (tmp_path / "file").exists()


async def test_a_file_that_cannot_be_opened_refuses(tmp_path: Path) -> None:
    with pytest.raises(SinkRefused, match="cannot be opened"):
        await FileSink(tmp_path).publish(BODY, "k", 1, opened)
    with pytest.raises(SinkUnknown, match="cannot be read"):
        await FileSink(tmp_path).lookup("k")


async def test_a_file_that_cannot_be_written_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SinkUnknown, match="cannot be written: No space left"):
        await FileSink(tmp_path / "file").publish(BODY, "k", 1, opened)
