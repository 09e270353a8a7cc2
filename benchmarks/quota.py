"""Quotas on real processes: three replicas against an HTTP server that answers 429 above its limit.

    python -m benchmarks.quota [--limit 60] [--per 2] [--seconds 20] [--over 3] [--json]
    python -m benchmarks.quota --acquire          microseconds to take and return a right that is held here

The first form runs twice, with the quota and without it, with callers that want `over` times the limit, and prints for
each: calls that the server took, answers 429, the share of the limit that was used, transfers of rights. The server
counts in a sliding window of its own clock and knows nothing of us. Exit status 1 if it answered 429 with the quota.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from actonce import Agent, Context, Replica
from actonce.demo.mesh import free_port
from actonce_crdt import order

REPLICAS = "abc"
CALLERS_A_RIGHT = 1.0
"""Callers of each replica, for each right of the limit: so that the wait is for rights, not for callers."""
START_S = 60.0
ROUNDS, ACQUIRES = 30, 1_000


class Limited:
    """An HTTP server that takes `limit` requests in any `per` seconds, and answers 429 to the rest."""

    def __init__(self, limit: int, per: float) -> None:
        self.limit, self.per = limit, per
        self.taken: list[float] = []
        self.refused: list[float] = []
        self._inside: deque[float] = deque()
        self._server: asyncio.Server

    async def __aenter__(self) -> Limited:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                head = b"200 OK" if self._take() else b"429 Too Many Requests"
                writer.write(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _take(self) -> bool:
        now = time.monotonic()
        while self._inside and self._inside[0] <= now - self.per:
            self._inside.popleft()
        if len(self._inside) >= self.limit:
            self.refused.append(now)
            return False
        self._inside.append(now)
        self.taken.append(now)
        return True


def make_agent(limit: int, per: float, *, limited: bool) -> Agent:
    """One kind of task: calls a URL again and again for a while, as fast as it may, or as often as it wants."""
    agent = Agent("caller")
    if limited:
        agent.quota("llm", limit, per)

    @agent.task("call", timeout=None)
    async def call(ctx: Context, work: dict[str, Any]) -> dict[str, int]:
        answers = {"200": 0, "429": 0}
        ends, limits = time.monotonic() + work["seconds"], httpx.Limits(max_connections=work["callers"])

        async def caller(client: httpx.AsyncClient) -> None:
            while time.monotonic() < ends:
                began = time.monotonic()
                if limited:
                    async with ctx.quota("llm") as spend:
                        status = (await client.get(work["url"])).status_code
                        spend.answered(status, {})
                else:
                    status = (await client.get(work["url"])).status_code
                answers[str(status)] += 1
                # Each caller alone would make so many calls in a window that all together want `over` times the limit.
                await asyncio.sleep(max(0.0, work["every_s"] - (time.monotonic() - began)))

        async with httpx.AsyncClient(limits=limits, timeout=30.0, trust_env=False) as client:
            await asyncio.gather(*(caller(client) for _ in range(work["callers"])))
        return answers

    return agent


async def measure(limit: int, per: float, seconds: float, over: float, *, limited: bool) -> dict[str, Any]:
    """Three replica processes, a server here."""
    ports = random.Random()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="actonce-quota-"))
        server = await stack.enter_async_context(Limited(limit, per))
        callers = max(1, int(limit * CALLERS_A_RIGHT))
        every_s = per * callers * len(REPLICAS) / (over * limit)
        work = {"url": server.url, "seconds": seconds, "callers": callers, "every_s": every_s}
        listens = [f"127.0.0.1:{free_port(ports)}" for _ in REPLICAS]
        children = []
        for number, name in enumerate(REPLICAS):
            start = Start(name, str(Path(folder) / name), listens[number], listens[:number], limit, per, limited, work)
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.quota", "--replica", json.dumps(asdict(start))),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(ended, child)
            children.append(child)
        async with asyncio.timeout(START_S):
            for child in children:
                assert child.stdout is not None
                assert await child.stdout.readline() == b"ready\n", "a replica did not start"
        began = time.monotonic()
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"go\n")
        async with asyncio.timeout(START_S + seconds + 10 * per):
            found = [json.loads(await child.stdout.readline()) for child in children if child.stdout is not None]
        possible = limit * (1 + int((time.monotonic() - began) / per))
        taken = len([at for at in server.taken if at >= began])
    assert sum(facts["200"] for facts in found) == taken
    assert sum(facts["429"] for facts in found) == len(server.refused)
    return {
        "wanted": round(over * limit * seconds / per),
        "taken": taken,
        "refused_429": len(server.refused),
        "possible": possible,
        "share_of_possible": round(taken / possible, 3),
        "transfers": sum(facts["transfers"] for facts in found),
        "by_replica": [facts["200"] for facts in found],
    }


async def ended(child: asyncio.subprocess.Process) -> None:
    if child.stdin is not None:
        child.stdin.close()  # it waits for that
    try:
        await asyncio.wait_for(child.wait(), START_S)
    except TimeoutError:
        child.kill()
        await child.wait()


@dataclass(frozen=True, slots=True)
class Start:
    """What a replica process is told."""

    name: str
    data: str
    listen: str
    join: list[str]
    limit: int
    per: float
    limited: bool
    work: dict[str, Any]


async def replica(start: Start) -> None:
    """One replica process: says when it is ready, works at "go", prints its figures, ends when its input does."""
    agent, line = make_agent(start.limit, start.per, limited=start.limited), asyncio.get_running_loop().run_in_executor
    first = start.name == REPLICAS[0]
    async with Replica(
        agent, name=start.name, data=start.data, listen=start.listen, join=start.join, new=first
    ) as running:
        await running.settled()
        while await running.inspect(count_members) < len(REPLICAS):  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.05)
        print("ready", flush=True)
        await line(None, sys.stdin.readline)
        handle = await running.submit("call", start.work, key=key_of(start.name))
        answers = await handle.result()
        assert isinstance(answers, dict)
        print(json.dumps({**answers, "transfers": await running.inspect(count_transfers)}), flush=True)
        await line(None, sys.stdin.readline)


def count_members(engine: Any) -> int:
    return len(engine.membership.view.members)


def key_of(name: str) -> str:
    """A key of a task that this replica will own."""
    keys = (str(number) for number in range(10_000))
    return next(key for key in keys if max(REPLICAS, key=lambda one: order(f"call/{key}", one)) == name)


def count_transfers(engine: Any) -> int:
    return sum(slot.account.transfers for slot in engine.quotas.slots.values())


async def acquire() -> dict[str, Any]:
    """Microseconds to enter and leave `ctx.quota` with rights that are held here; median and p99 of rounds."""
    agent, took = Agent("caller"), list[float]()
    agent.quota("llm", 10_000_000, "1m", tokens=1_000_000_000)

    @agent.task("spend", timeout=None)
    async def spend(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", tokens=1000):
            pass  # opens a block
        for _ in range(ROUNDS * ACQUIRES):
            began = time.perf_counter()
            async with ctx.quota("llm", tokens=1000) as one:
                one.used(tokens=950)
            took.append((time.perf_counter() - began) * 1e6)

    with tempfile.TemporaryDirectory(prefix="actonce-quota-") as folder:
        async with Replica(agent, name="a", data=folder, listen="127.0.0.1:0", new=True) as replica:
            await (await replica.submit("spend", None, key="k")).result()
    took.sort()
    median_us, p99_us = statistics.median(took), took[-len(took) // 100]
    return {"acquires": len(took), "median_us": round(median_us, 1), "p99_us": round(p99_us, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--per", type=float, default=2.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--over", type=float, default=3.0, help="demand, in limits")
    parser.add_argument("--replica", help=argparse.SUPPRESS)
    parser.add_argument("--acquire", action="store_true", help="measure one acquire instead")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args()
    if options.replica:
        asyncio.run(replica(Start(**json.loads(options.replica))))
        return
    if options.acquire:
        figures = {"": asyncio.run(acquire())}
    else:
        run = (options.limit, options.per, options.seconds, options.over)
        figures = {
            "with the quota": asyncio.run(measure(*run, limited=True)),
            "without": asyncio.run(measure(*run, limited=False)),
        }
    for what, found in figures.items():
        print(json.dumps({"run": what, **found}) if options.json else f"{what}\n" + lines(found))
    if "with the quota" in figures and figures["with the quota"]["refused_429"]:
        sys.exit(1)


def lines(found: dict[str, Any]) -> str:
    return "\n".join(f"  {name:18} {value!s:>12}" for name, value in found.items())


if __name__ == "__main__":
    main()
