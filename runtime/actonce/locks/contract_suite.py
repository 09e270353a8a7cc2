"""The contract, as tests that every lock service must pass. Also for adapters of third parties:

    class TestMine(LockContract):
        @pytest.fixture
        def bench(self) -> Iterator[LockBench]:
            yield MyBench()

A `LockBench` runs a service and does to it what a test needs. Each test runs as a coroutine in a fresh event loop,
which the bench makes, so that a simulated service runs in virtual time. pytest is imported here and nowhere else in the
package.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import anyio
import pytest

from actonce.locks.records import session_key, task_key
from actonce.locks.service import REQUEST_S, LockConflict, LockService, LockUnreachable, Register

__all__ = ["LockBench", "LockContract", "put_until"]

T = TypeVar("T")
SLACK_S = 1.0
START_S = 30.0


class LockBench(Protocol):
    """One lock service, fresh and running, with storage that outlives it."""

    def run(self, test: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """In a fresh event loop, real or virtual."""
        ...

    def client(self) -> LockService:
        """As another process reaches it."""
        ...

    def stop(self) -> None:
        """kill -9."""
        ...

    def start(self) -> None:
        """Again, on the same storage and address. It may need a while to answer."""
        ...

    def hang(self) -> None:
        """Accepts, and never answers."""
        ...


class LockContract:
    """Subclass it as `Test...` and give it a fixture `bench`."""

    @pytest.fixture
    def bench(self) -> LockBench:
        raise NotImplementedError("a subclass says what it tests")

    def test_what_was_never_written_is_absent(self, bench: LockBench) -> None:
        async def test() -> None:
            async with _Client(bench) as client:
                assert await client.get("kevin.session.a") is None

        bench.run(test)

    def test_what_was_written_is_read(self, bench: LockBench) -> None:
        """By another process too; any bytes, under all keys that we make."""

        async def test() -> None:
            keys = [session_key("my.agent_1", "a.b-c"), task_key("kevin", "pay/" + "ü" * 200), "k"]
            values = [bytes(range(256)) * 64, b"{}", b"\0"]
            async with _Client(bench) as one, _Client(bench) as other:
                written = [await one.put(key, value, 0) for key, value in zip(keys, values, strict=True)]
                assert min(written) >= 1
                found = [await other.get(key) for key in keys]
                assert found == [Register(value, at) for value, at in zip(values, written, strict=True)]

        bench.run(test)

    def test_revisions_of_a_register_grow(self, bench: LockBench) -> None:
        async def test() -> None:
            async with _Client(bench) as client:
                revisions = [0]
                for number in range(20):
                    revisions.append(await client.put("k", b"same", revisions[-1]))
                    await client.put("other", b"x", 0) if number == 5 else None
                assert revisions == sorted(set(revisions))

        bench.run(test)

    def test_a_write_that_expects_another_revision_does_nothing(self, bench: LockBench) -> None:
        async def test() -> None:
            async with _Client(bench) as client:
                first = await client.put("k", b"first", 0)
                second = await client.put("k", b"second", first)
                for expected in (0, first, second + 1_000):
                    with pytest.raises(LockConflict):
                        await client.put("k", b"late", expected)
                with pytest.raises(LockConflict):
                    await client.put("never", b"late", second)
                assert await client.get("k") == Register(b"second", second)
                assert await client.get("never") is None

        bench.run(test)

    def test_of_many_writers_one_wins(self, bench: LockBench) -> None:
        async def test() -> None:
            async with _Client(bench) as one, _Client(bench) as other:
                revision, won = 0, list[bytes]()

                async def write(client: LockService, name: bytes, expected: int) -> None:
                    try:
                        await client.put("k", name, expected)
                        won.append(name)
                    except LockConflict:
                        pass

                for turn in range(5):
                    won.clear()
                    async with anyio.create_task_group() as group:
                        for number in range(8):
                            name = f"{turn}/{number}".encode()
                            group.start_soon(write, (one, other)[number % 2], name, revision)
                    found = await one.get("k")
                    assert found is not None
                    assert won == [found.value]
                    revision = found.revision

        bench.run(test)

    def test_killed_and_started_again_it_has_forgotten_nothing(self, bench: LockBench) -> None:
        async def test() -> None:
            async with _Client(bench) as client:
                revision = 0
                for number in range(3):
                    value = f"before {number}".encode()
                    revision = await client.put("k", value, revision)
                    bench.stop()
                    with pytest.raises(LockUnreachable):
                        await client.put("k", b"meanwhile", revision)
                    bench.start()
                    with pytest.raises(LockConflict):
                        await put_until(client, "k", b"from nothing", 0)
                    assert await client.get("k") == Register(value, revision)
                assert await client.put("k", b"after", revision) > revision

        bench.run(test)

    def test_a_service_that_is_down_is_named_in_time(self, bench: LockBench) -> None:
        async def test() -> None:
            async with _Client(bench) as client:
                assert await client.put("k", b"", 0)
                bench.stop()
                for call in (lambda: client.get("k"), lambda: client.put("k", b"", 1)):
                    with anyio.fail_after(REQUEST_S + SLACK_S), pytest.raises(LockUnreachable):
                        await call()
                with pytest.raises(LockUnreachable, match="connection refused"):
                    await client.get("k")
            async with _Client(bench) as newcomer:
                with pytest.raises(LockUnreachable, match="connection refused"):
                    await newcomer.get("k")

        bench.run(test)

    def test_a_service_that_does_not_answer_is_given_up_in_time(self, bench: LockBench) -> None:
        async def test() -> None:
            async with _Client(bench) as client:
                assert await client.put("k", b"", 0)
                bench.hang()
                async with _Client(bench) as newcomer:
                    for asked in (client, newcomer):
                        with anyio.fail_after(REQUEST_S + SLACK_S), pytest.raises(LockUnreachable, match="no answer"):
                            await asked.get("k")

        bench.run(test)

    def test_of_a_write_without_an_answer_the_register_tells_what_came_of_it(self, bench: LockBench) -> None:
        """It happened as a whole or not at all, and the next write is decided by that."""

        async def test() -> None:
            async with _Client(bench) as client:
                revision = await client.put("k", b"old", 0)
                bench.hang()
                with pytest.raises(LockUnreachable):
                    await client.put("k", b"new", revision)
                bench.stop()
                bench.start()
                with pytest.raises(LockConflict):
                    await put_until(client, "k", b"from nothing", 0)
                found = await client.get("k")
                assert found is not None
                assert (found.value == b"new") == (found.revision > revision)
                assert await client.put("k", b"newer", found.revision) > found.revision

        bench.run(test)


async def put_until(client: LockService, key: str, value: bytes, expected: int) -> int:
    """Write as soon as the service answers again."""
    with anyio.fail_after(START_S):
        while True:
            try:
                return await client.put(key, value, expected)
            except LockUnreachable:
                await anyio.sleep(0.01)


class _Client:
    """Closes it."""

    def __init__(self, bench: LockBench) -> None:
        self._client = bench.client()

    async def __aenter__(self) -> LockService:
        return self._client

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()
