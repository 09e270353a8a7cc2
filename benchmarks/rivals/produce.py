"""One producer process: obeys orders, a line of JSON each, on its standard input; answers likewise.

    python -m benchmarks.rivals.produce MODULE

`MODULE.producer()` makes what submits. Several submissions are under way at once, as many as `UNDER_WAY` of it says.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from benchmarks.rivals.record import payload


class Producer(Protocol):
    """What a rival's module makes."""

    under_way: int

    async def start(self) -> None:
        """Connect."""
        ...

    async def submit(self, text: str) -> None:
        """Hand in one task; return when the library says that it is in."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class Threaded:
    """A producer of a library that blocks: a few threads submit."""

    under_way = 4

    def __init__(self, submit: Callable[[str], object]) -> None:
        self._submit = submit
        self._pool = ThreadPoolExecutor(self.under_way)

    async def start(self) -> None:
        """The first submission connects."""

    async def submit(self, text: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._submit, text)

    async def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Orders:
    """What a producer process can be told."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def obey(self) -> None:
        """Until the input ends."""
        answer("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            answer(await getattr(self, f"do_{order.pop('do')}")(**order))

    async def do_flood(self, seconds: float, first: int) -> dict[str, int]:
        """Submit as fast as it goes, for so long; numbers count up from `first`. When it began, how many it were."""
        began, number = time.monotonic_ns(), first
        ends = began + int(seconds * 1e9)

        async def submit() -> None:
            nonlocal number
            while time.monotonic_ns() < ends:
                mine, number = number, number + 1
                await self._producer.submit(payload(mine))

        await asyncio.gather(*(submit() for _ in range(self._producer.under_way)))
        return {"began_ns": began, "tasks": number - first}

    async def do_trickle(self, tasks: int, rate: float, first: int) -> list[int]:
        """Submit at this rate, none waiting for another. When each was handed in."""
        begin, handed, under_way = time.monotonic(), list[int](), list[asyncio.Task[None]]()
        for number in range(tasks):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            handed.append(time.monotonic_ns())
            under_way.append(asyncio.create_task(self._producer.submit(payload(first + number))))
        await asyncio.gather(*under_way)
        return handed

    async def do_submit(self, number: int, seconds: float) -> None:
        """One task that takes so long."""
        await self._producer.submit(payload(number, seconds))

    async def do_cpu(self) -> float:
        """User and system seconds of this process so far."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime


def answer(value: Any) -> None:
    """One line."""
    print(json.dumps(value), flush=True)


async def produce(producer: Producer) -> None:
    """Connect, obey, disconnect."""
    await producer.start()
    try:
        await Orders(producer).obey()
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(produce(importlib.import_module(sys.argv[1]).producer()))
