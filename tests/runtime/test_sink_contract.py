"""Every sink that ships keeps the contract, and sinks that break it are found."""

from __future__ import annotations

import asyncio
import fcntl
import json
import math
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import anyio
import h11
import pytest

from actonce.demo.feed import Feed, bare
from actonce.endpoints import Failover
from actonce.errors import SinkError, SinkRefused, SinkUnknown
from actonce.nostr_sink import NostrSink
from actonce.sink_contract import SinkBench, SinkContract
from actonce.sinks import CallableSink, FileSink, Gate, HttpSink, Sink
from actonce_crdt import Json

from .relay import Relay, relaying

Test = Callable[[], Coroutine[Any, Any, None]]
SECRET = "2" * 64


class FileBench:
    """A file, and somebody else who holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.path, self._held = folder / "effects.jsonl", list[Any]()

    def body(self, number: int) -> Json:
        return {"text": "hello", "n": number}

    def run(self, test: Test) -> None:
        asyncio.run(test())
        for file in self._held:
            file.close()

    def sink(self, timeout_s: float = 10.0) -> Sink:
        sink = FileSink(self.path)
        sink.publish_timeout_s = timeout_s
        return sink

    def done(self) -> Sequence[tuple[str, Json]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [(record["key"], record["body"]) for record in map(json.loads, lines)]

    def hang(self) -> None:
        self._held.append(self.path.open("a"))
        fcntl.flock(self._held[-1], fcntl.LOCK_EX)

    def stop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.path.mkdir()


class CallableBench:
    """A function of this program, which keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Json]] = []
        self.hangs = self.gone = False
        self.lock = asyncio.Lock()

    def body(self, number: int) -> Json:
        return number

    def run(self, test: Test) -> None:
        asyncio.run(test())

    def sink(self, timeout_s: float = 10.0) -> Sink:
        return CallableSink(self.act, publish_timeout_s=timeout_s)

    async def act(self, body: Json, key: str) -> Json:
        if self.hangs:
            await anyio.sleep_forever()
        if self.gone:
            raise SinkRefused("nobody is there")
        if isinstance(body, float):
            raise SinkRefused("no number", permanent=True)
        await asyncio.sleep(0)
        self.calls.append((key, body))
        return {"n": body}

    def done(self) -> Sequence[tuple[str, Json]]:
        return self.calls

    def hang(self) -> None:
        self.hangs = True

    def stop(self) -> None:
        self.gone = True


class AskedBench(CallableBench):
    """One that can be asked, and refuses repeated keys."""

    def sink(self, timeout_s: float = 10.0) -> Sink:
        return CallableSink(self.once, lookup=self.find, dedupe_window_s=math.inf, publish_timeout_s=timeout_s)

    async def once(self, body: Json, key: str) -> Json:
        async with self.lock:
            known = await self.find(key)
            return known if known is not None else await self.act(body, key)

    async def find(self, key: str) -> Json | None:
        if self.hangs:
            await anyio.sleep_forever()
        return next(({"n": body} for known, body in self.calls if known == key), None)


class FailoverBench(AskedBench):
    """Two doors to the same function, of which the first is shut."""

    def sink(self, timeout_s: float = 10.0) -> Sink:
        shut = CallableSink(self.refuse, lookup=self.find, dedupe_window_s=math.inf, publish_timeout_s=timeout_s)
        return Failover(shut, super().sink(timeout_s), one_store=True)

    async def refuse(self, body: Json, key: str) -> Json:
        raise SinkRefused("this door is shut")


class NostrBench:
    """A relay on a real socket."""

    def __init__(self) -> None:
        self.relay = Relay()

    def body(self, number: int) -> Json:
        return f"hello {number}"

    def run(self, test: Test) -> None:
        async def scenario() -> None:
            async with relaying(self.relay):
                await test()

        asyncio.run(scenario())

    def sink(self, timeout_s: float = 10.0) -> Sink:
        return NostrSink(self.relay.url, SECRET, timeout_s=timeout_s)

    def done(self) -> Sequence[tuple[str, Json]]:
        return [(event["id"], event["content"]) for event in self.relay.arrivals]

    def hang(self) -> None:
        self.relay.hangs = True

    def stop(self) -> None:
        assert self.relay.server is not None
        self.relay.server.close()


class HttpService(Feed):
    """A feed that may hang, and may refuse repeated keys, as draft-07 of the Idempotency-Key header says."""

    hangs = False
    once = False

    async def _answer(self, request: h11.Request, content: bytes) -> tuple[int, Any]:
        if self.hangs:
            await asyncio.Event().wait()
        key = next((value.decode() for name, value in request.headers if name == b"idempotency-key"), None)
        if self.once and key is not None and (known := self._first.get(bare(key))) is not None:
            return 200, {"id": known.id}
        return await super()._answer(request, content)


class HttpBench:
    """A server on a real socket; with `once`, one that refuses repeated keys and cannot be asked."""

    def __init__(self, *, once: bool = False) -> None:
        self.feed, self.once = HttpService(), once
        self.feed.once = once

    def body(self, number: int) -> Json:
        return {"n": number}

    def run(self, test: Test) -> None:
        async def scenario() -> None:
            async with self.feed:
                await test()

        asyncio.run(scenario())

    def sink(self, timeout_s: float = 10.0) -> Sink:
        url = f"{self.feed.url}/posts"
        if self.once:
            return HttpSink(url, timeout_s=timeout_s, dedupe_window_s=math.inf)
        return HttpSink(url, lookup_url=f"{url}/by-key/{{key}}", timeout_s=timeout_s)

    def done(self) -> Sequence[tuple[str, Json]]:
        return [(post.key or "", post.body) for post in self.feed.posts]

    def hang(self) -> None:
        self.feed.hangs = True

    def stop(self) -> None:
        assert self.feed._server is not None
        self.feed._server.close()


class TestHttp(SinkContract):
    @pytest.fixture
    def bench(self) -> SinkBench:
        return HttpBench()


class TestHttpThatRefusesRepeatedKeys(SinkContract):
    @pytest.fixture
    def bench(self) -> SinkBench:
        return HttpBench(once=True)


class TestFile(SinkContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> SinkBench:
        return FileBench(tmp_path)


class TestCallable(SinkContract):
    @pytest.fixture
    def bench(self) -> SinkBench:
        return CallableBench()


class TestCallableThatCanBeAsked(SinkContract):
    @pytest.fixture
    def bench(self) -> SinkBench:
        return AskedBench()


class TestFailover(SinkContract):
    @pytest.fixture
    def bench(self) -> SinkBench:
        return FailoverBench()


class TestNostr(SinkContract):
    @pytest.fixture
    def bench(self) -> SinkBench:
        return NostrBench()


# Sinks that break the contract


class Hasty(CallableSink):
    """Acts, and asks the gate then."""

    async def publish(self, body: Json, key: str, fence: int, gate: Gate) -> Json:
        receipt = await super().publish(body, key, fence, lambda: None)
        gate()
        return receipt


class Optimist(CallableSink):
    """Takes a silence for a refusal."""

    async def publish(self, body: Json, key: str, fence: int, gate: Gate) -> Json:
        try:
            return await super().publish(body, key, fence, gate)
        except SinkUnknown as error:
            raise SinkRefused(error.reason) from None


class Boaster(CallableSink):
    """Says that it refuses repeated keys."""

    dedupe_window_s = math.inf


class Forgetful(CallableSink):
    """Can be asked, and knows only what it did itself."""

    async def lookup(self, key: str) -> Json | None:
        return None


BROKEN: tuple[tuple[type[CallableSink], str], ...] = (
    (Hasty, "test_nothing_is_done_behind_a_closed_gate"),
    (Hasty, "test_an_effect_is_done_once_and_its_receipt_can_be_stored"),
    (Optimist, "test_no_answer_is_no_refusal"),
    (Boaster, "test_a_repeated_key_is_refused_if_that_is_declared"),
    (Forgetful, "test_whoever_comes_later_finds_what_was_done"),
)


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_a_sink_that_breaks_the_contract_is_found(kind: type[CallableSink], name: str) -> None:
    class Bench(AskedBench):
        def sink(self, timeout_s: float = 10.0) -> Sink:
            lookup = self.find if kind is Forgetful else None
            sink = kind(self.act, lookup=lookup, publish_timeout_s=timeout_s)
            sink.dedupe_window_s = math.inf if kind is Boaster else 0.0
            return sink

    with pytest.raises((AssertionError, SinkError, pytest.fail.Exception, BaseExceptionGroup)):
        getattr(SinkContract(), name)(Bench())
