"""What people build themselves: every worker reads every task, the first `SET NX PX` wins it; losers look again."""

from __future__ import annotations

import asyncio
import os

import redis.asyncio as redis

from benchmarks.rivals.record import FAST, URL, WORKER, work_async

TTL_MS, LOOK_S = (3_000, 0.5) if FAST else (10_000, 1.0)
AT_ONCE, READ, TOGETHER = 100, 100, 20
DONE_S = 3_600


class Submitting:
    """`XADD` of a task."""

    under_way = 64

    async def start(self) -> None:
        self._redis = redis.Redis.from_url(URL)

    async def submit(self, text: str) -> None:
        await self._redis.xadd("tasks", {"p": text})

    async def stop(self) -> None:
        await self._redis.aclose()


def producer() -> Submitting:
    return Submitting()


class Worker:
    """Claims by a lock with a time to live, which it renews at a third of it."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(URL)
        self._name = f"w{WORKER}-{os.getpid()}"
        self._free = asyncio.Semaphore(AT_ONCE)
        self._lost: dict[str, str] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        self._looking = asyncio.create_task(self._look())
        last: str | bytes = "0"
        while True:
            for _, entries in await self._redis.xread({"tasks": last}, count=READ, block=2_000):
                tasks = [(name.decode(), fields[b"p"].decode()) for name, fields in entries]
                for first in range(0, len(tasks), TOGETHER):
                    await asyncio.gather(*(self._claim(*task) for task in tasks[first : first + TOGETHER]))
                last = entries[-1][0]

    async def _claim(self, name: str, text: str) -> None:
        await self._free.acquire()
        if await self._redis.set(f"l:{name}", self._name, nx=True, px=TTL_MS):
            self._lost.pop(name, None)
            task = asyncio.create_task(self._work(name, text))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            self._free.release()
            self._lost[name] = text

    async def _work(self, name: str, text: str) -> None:
        renewing = asyncio.create_task(self._renew(name))
        try:
            await work_async(text)
            await self._redis.set(f"l:{name}", "done", ex=DONE_S)
        finally:
            renewing.cancel()
            self._free.release()

    async def _renew(self, name: str) -> None:
        while True:
            await asyncio.sleep(TTL_MS / 3_000)
            await self._redis.pexpire(f"l:{name}", TTL_MS)

    async def _look(self) -> None:
        """Whether somebody who won has ended without a word."""
        while True:
            await asyncio.sleep(LOOK_S)
            names = list(self._lost)
            for first in range(0, len(names), READ):
                some = names[first : first + READ]
                for name, holder in zip(some, await self._redis.mget([f"l:{name}" for name in some]), strict=True):
                    if holder == b"done":
                        self._lost.pop(name, None)
                    elif holder is None and name in self._lost:
                        await self._claim(name, self._lost[name])


async def main() -> None:
    await Worker().run()


if __name__ == "__main__":
    asyncio.run(main())
