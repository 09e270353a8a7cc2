"""One replica process of a measurement: obeys orders, a line of JSON each, on its standard input; answers likewise.

    python -m actonce.bench.worker '{"name": "a", "listen": "127.0.0.1:7421", "join": [], "data": "...", "new": true}'

It ends when its input does, so it never outlives whoever started it. Its sink appends what is posted to a file, which
all workers share, throws nothing away, and can be asked. Times in answers are of the monotonic clock, which all
processes of a host share.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from actonce.agent import Agent
from actonce.context import Context
from actonce.handle import Handle
from actonce.replica import Replica
from actonce.settings import LAN
from actonce.sinks import CallableSink
from actonce_crdt import Json

UNDER_WAY = 64
"""Submissions at once, while flooding."""
PAYLOAD = "x" * 80
RESULT_LIMIT_S = 300.0
END_LIMIT_S = 10.0
LOOK_S = 0.002
"""Between two looks at the digest, while watching."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is told on its command line."""

    name: str
    listen: str
    join: list[str]
    data: str
    new: bool
    posts: str = os.devnull
    """File that gets a line for each post: its key."""
    retention_s: float = LAN.retention_s
    forget_after_s: float = LAN.forget_after_s

    def encode(self) -> str:
        return json.dumps(asdict(self))


def make_agent(posts: Path) -> Agent:
    """`noop` does nothing and returns the seconds since its payload was made, `heard` where and when it began; `post`
    posts once."""
    agent = Agent("bench")
    file = os.open(posts, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def publish(body: Json, key: str) -> None:
        os.write(file, f"{key}\n".encode())  # one write, so that the lines of several processes do not mix

    async def find(key: str) -> Json | None:
        return {"found": True} if key in await asyncio.to_thread(read) else None

    def read() -> list[str]:
        return posts.read_text().split() if posts.is_file() else []

    agent.sink("room", CallableSink(publish, lookup=find))

    @agent.task("noop", retries=0)
    async def noop(ctx: Context, payload: dict[str, Any]) -> float:
        return time.time() - float(payload["at"])

    @agent.task("heard", retries=0)
    async def heard(ctx: Context, payload: Json) -> tuple[int, float]:
        return os.getpid(), time.monotonic()

    @agent.task("post")
    async def post(ctx: Context, payload: Json) -> None:
        await ctx.post("room", payload)

    return agent


class Worker:
    """A replica and what it is told to do with it."""

    def __init__(self, start: Start, replica: Replica) -> None:
        self._name, self._replica = start.name, replica
        self._orders: dict[str, Callable[..., Awaitable[Any]]] = {
            "flood": self._flood,
            "await": self._await,
            "trickle": self._trickle,
            "hear": self._hear,
            "cpu": self._cpu,
            "load": self._load,
            "rest": self._rest,
            "facts": self._facts,
            "tasks": self._tasks,
            "size": self._size,
            "dump": self._dump,
            "watch": self._watch,
            "seen": self._seen,
        }
        self._loading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._digests: list[tuple[float, str]] = []
        self._submitted: list[str] = []

    async def obey(self) -> None:
        """Until the input ends."""
        answer("settled")
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            answer(await self._orders[order.pop("do")](**order))
        # Nobody is left to kill us, should leaving take long: the others may be gone for good.
        asyncio.get_running_loop().call_later(END_LIMIT_S, os._exit, 1)

    # Throughput and latency

    async def _flood(self, tasks: int, prefix: str) -> None:
        """Submit so many tasks, as fast as it goes."""
        todo = iter(range(tasks))

        async def submit() -> None:
            for number in todo:
                payload: Json = {"at": time.time(), "text": PAYLOAD}
                await self._replica.submit("noop", payload, key=f"{prefix}{self._name}{number}")

        await asyncio.gather(*(submit() for _ in range(UNDER_WAY)))

    async def _await(self, tasks: list[str]) -> None:
        """Until this replica knows all these outcomes."""
        await asyncio.gather(*(self._replica.handle(task).result(RESULT_LIMIT_S) for task in tasks))

    async def _trickle(self, tasks: int, rate: float, prefix: str) -> dict[str, list[float]]:
        """Submit at this rate. Seconds from before `submit` to the first line of the handler, and to its return."""
        waits, returned = list[asyncio.Future[Json]](), list[float]()
        begin = time.monotonic()
        for number in range(tasks):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            at = time.time()
            handle = await self._replica.submit("noop", {"at": at, "text": PAYLOAD}, key=f"{prefix}{number}")
            returned.append(time.time() - at)
            waits.append(asyncio.ensure_future(handle.result(RESULT_LIMIT_S)))
        return {"started": [float(str(result)) for result in await asyncio.gather(*waits)], "returned": returned}

    async def _hear(self, tasks: int, rate: float, prefix: str, begin: float) -> dict[str, Any]:
        """Submit at this rate from this moment on, waiting for nothing, what all others submit at the same moments with
        the same keys: the outside told every replica. When we did so, and in which process each began, and when."""
        submitted, waits = list[float](), list[asyncio.Task[Handle]]()
        for number in range(tasks):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            submitted.append(time.monotonic())
            submit = self._replica.submit("heard", {"text": PAYLOAD}, key=f"{prefix}{number}")
            waits.append(asyncio.create_task(submit))
        began = [await handle.result(RESULT_LIMIT_S) for handle in await asyncio.gather(*waits)]
        return {"pid": os.getpid(), "submitted": submitted, "began": began}

    async def _cpu(self) -> float:
        """User and system seconds of this process so far."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    # Convergence

    async def _load(self, rate: float, prefix: str) -> None:
        """From now on submit `post` tasks at this rate, each known by a number that all workers count alike."""

        async def run() -> None:
            begin, number = time.monotonic(), 0
            while True:
                await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                handle = await self._replica.submit("post", {"n": number}, key=f"{prefix}{number}")
                self._submitted.append(handle.id)
                number += 1

        self._loading = asyncio.get_running_loop().create_task(run())

    async def _rest(self) -> list[str]:
        """Submit no more. The ids of all that was acknowledged."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        return self._submitted

    async def _facts(self) -> dict[str, Any]:
        """What is known about the replica right now."""
        return await self._replica.inspect(
            lambda engine: {
                "members": len(engine.membership.view.members),
                "digest": engine.ledger.document.digest.hex(),
                "entries": engine.ledger.document.entry_count,
                "open": len(engine.claims.open),
                "sent": [engine.gossip.counts["frames_sent"], engine.gossip.counts["bytes_sent"]],
            }
        )

    async def _tasks(self) -> dict[str, bool]:
        """All tasks that are known; whether they are over."""
        return await self._replica.inspect(
            lambda engine: {task: state.done is not None for task, state in engine.ledger.state.tasks.items()}
        )

    async def _size(self) -> int:
        """Bytes of all entries, as msgpack."""
        return await self._replica.inspect(
            lambda engine: sum(len(entry.data) for entry in engine.ledger.document.entries())
        )

    async def _dump(self, file: str) -> None:
        """Write the whole document to a file, as one update."""
        update = await self._replica.inspect(lambda engine: engine.ledger.document.diff({}))
        await asyncio.to_thread(Path(file).write_bytes, update)

    async def _watch(self) -> None:
        """From now on note each change of the digest."""
        self._digests = []

        async def run() -> None:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_S)

        self._watching = asyncio.get_running_loop().create_task(run())

    async def _seen(self) -> list[tuple[float, str]]:
        """Watch no more. When which digest was seen first."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            await self._look()  # whoever asks may know a digest by now that was not looked at
        return self._digests

    async def _look(self) -> None:
        digest = await self._replica.inspect(lambda engine: engine.ledger.document.digest.hex())
        if not self._digests or self._digests[-1][1] != digest:
            self._digests.append((time.monotonic(), digest))


def answer(value: object) -> None:
    """One line."""
    print(json.dumps(value), flush=True)


async def work(start: Start, make: Callable[[Start, Replica], Worker] = Worker) -> None:
    """Run the replica, settle, obey."""
    agent = make_agent(Path(start.posts))
    settings = replace(LAN, retention_s=start.retention_s, forget_after_s=start.forget_after_s)
    options = {"name": start.name, "data": start.data, "listen": start.listen, "join": start.join, "new": start.new}
    async with Replica(agent, advertise="", settings=settings, **options) as replica:  # type: ignore[arg-type]
        gc.freeze()  # as `actonce run` does
        await replica.settled()
        await make(start, replica).obey()


if __name__ == "__main__":
    asyncio.run(work(Start(**json.loads(sys.argv[1]))))
