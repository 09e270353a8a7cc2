"""Throughput, CPU and latency of three real replicas on this host, journal with fsync: the figures to improve on.

    python -m benchmarks.baseline [--tasks 6000] [--json]

Throughput: each of three processes submits a third of the tasks of a no-op handler, 64 submissions under way at once,
while all three drain; the clock stops when every process has seen every outcome. CPU: user + system seconds of the
three processes over that time. Latency: 250 tasks at 50 a second, submitted on one replica; the time from before
`submit` to the first line of the handler, wherever it runs (one host, one clock). Every submission waits for a disk
and a live peer. Machines are noisy: compare medians of several runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from actonce import Agent, Context, Replica

NAMES = ("a", "b", "c")
PAYLOAD = "x" * 80
UNDER_WAY = 64
LATENCY_TASKS = 250
LATENCY_RATE = 50.0
JOB_TIMEOUT_S = 300.0

agent = Agent("baseline")


@agent.task("noop", retries=0)
async def noop(ctx: Context, payload: dict[str, Any]) -> float:
    """Do nothing; the result is the time since the payload was made, in seconds."""
    return time.time() - float(payload["at"])


# A worker: one replica, told what to do by lines on its standard input


async def work(name: str, ports: list[int], data: str) -> None:
    """Run one replica and obey JSON lines: {"do": "flood"|"await"|"trickle"|"cpu"|"stop", ...}."""
    listen = f"127.0.0.1:{ports[NAMES.index(name)]}"
    join = [f"127.0.0.1:{port}" for port in ports if not listen.endswith(f":{port}")]
    async with Replica(agent, name=name, data=Path(data) / name, listen=listen, join=join, new=name == "a") as replica:
        await replica.settled()
        answer("settled")
        while True:
            order = json.loads(await asyncio.to_thread(sys.stdin.readline) or '{"do": "stop"}')
            match order["do"]:
                case "flood":
                    await flood(replica, name, order["tasks"])
                    answer("submitted")
                case "await":
                    await asyncio.gather(*(replica.handle(task).result(JOB_TIMEOUT_S) for task in order["tasks"]))
                    answer("seen")
                case "trickle":
                    answer(await trickle(replica))
                case "cpu":
                    usage = resource.getrusage(resource.RUSAGE_SELF)
                    answer(usage.ru_utime + usage.ru_stime)
                case "stop":
                    return


def answer(value: object) -> None:
    print(json.dumps(value), flush=True)


async def flood(replica: Replica, name: str, tasks: int) -> None:
    todo = iter(range(tasks))

    async def submit() -> None:
        for number in todo:
            await replica.submit("noop", {"at": time.time(), "text": PAYLOAD}, key=f"{name}{number}")

    await asyncio.gather(*(submit() for _ in range(UNDER_WAY)))


async def trickle(replica: Replica) -> list[float]:
    waits = []
    begin = time.monotonic()
    for number in range(LATENCY_TASKS):
        await asyncio.sleep(max(0.0, begin + number / LATENCY_RATE - time.monotonic()))
        handle = await replica.submit("noop", {"at": time.time(), "text": PAYLOAD}, key=f"t{number}")
        waits.append(asyncio.ensure_future(handle.result(JOB_TIMEOUT_S)))
    return [float(str(result)) for result in await asyncio.gather(*waits)]


# The measurement: starts the workers, gives the orders, keeps the time


class Worker:
    """One worker process, from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), JOB_TIMEOUT_S)
        if not line:
            raise SystemExit("a worker process ended early; its error is above")
        return json.loads(line)

    async def tell(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self.read()

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def workers() -> AsyncIterator[list[Worker]]:
    """Three settled replicas in three processes."""
    with tempfile.TemporaryDirectory(prefix="actonce-baseline-") as data:
        ports = free_ports(len(NAMES))
        command = [sys.executable, "-m", "benchmarks.baseline", "--data", data, "--ports", *map(str, ports)]
        pipe = asyncio.subprocess.PIPE
        started = [
            Worker(
                await asyncio.create_subprocess_exec(
                    *command, "--worker", name, stdin=pipe, stdout=pipe, limit=16 * 1024 * 1024
                )
            )
            for name in NAMES
        ]
        try:
            for worker in started:
                await worker.read()
            yield started
        finally:
            await asyncio.gather(*(worker.stop() for worker in started))


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


async def measure(tasks: int) -> dict[str, float]:
    """All figures of one run."""
    share = tasks // len(NAMES)
    everything = [f"noop/{name}{number}" for name in NAMES for number in range(share)]
    async with workers() as running:
        cpu_before = [await worker.tell(do="cpu") for worker in running]
        begin = time.monotonic()
        await asyncio.gather(*(worker.tell(do="flood", tasks=share) for worker in running))
        await asyncio.gather(*(worker.tell(do="await", tasks=everything) for worker in running))
        took_s = time.monotonic() - begin
        cpu_s = sum([await worker.tell(do="cpu") for worker in running]) - sum(cpu_before)
        delays = sorted(await running[0].tell(do="trickle"))
    done = share * len(NAMES)
    return {
        "tasks": done,
        "tasks_per_s": round(done / took_s, 1),
        "cpu_s_per_1000": round(cpu_s / done * 1000, 4),
        "start_p50_ms": round(statistics.median(delays) * 1000, 3),
        "start_p99_ms": round(delays[int(len(delays) * 0.99)] * 1000, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=6000, help="tasks in the throughput part (default 6000)")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--ports", type=int, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(work(options.worker, options.ports, options.data))
        return
    figures = asyncio.run(measure(options.tasks))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:16} {value:>12,}")


if __name__ == "__main__":
    main()
