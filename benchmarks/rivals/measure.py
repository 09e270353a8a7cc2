"""The figures of one rival: throughput and CPU, latency, takeover. Taken from the records of its handlers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

from actonce.bench.crew import Hand
from actonce.bench.figures import rank
from actonce.bench.speed import spreads
from benchmarks.rivals.catalog import Rival
from benchmarks.rivals.record import BEGAN, ENDED, Record
from benchmarks.rivals.stage import Stage

DRAIN_LIMIT_S = 60.0
RUN_NUMBERS = 10_000_000
"""Of one producer in one run."""
LONG_TASK_S, AT_WORK_S = 2.0, 0.5
KILLED_TASK, TRAFFIC_NUMBER = 999_999_999, 600_000_000
TRAFFIC_EVERY_S = 0.1


async def measure_speed(rival: Rival, *, runs: int, seconds: float, tasks: int, rate: float) -> dict[str, Any]:
    """Throughput and latency, so many times on one stage: medians, least and largest.

    Throughput: three producers submit for `seconds`, as fast as they can, while three workers drain; from the first
    submission to the end of the last handler. CPU: of server, workers and producers in that time. Latency: one producer
    submits at `rate`; from before the call to the first line of the handler.

    Raises:
        Missing, Failed: it is not installed, or did not do what was asked of it.
    """
    found = []
    async with Stage(rival) as stage:
        for run in range(runs):
            fast = await _flood(stage, run, seconds)
            found.append(fast | await _trickle(stage, run, tasks, rate))
    return spreads(found)


async def _flood(stage: Stage, run: int, seconds: float) -> dict[str, float]:
    before, cpu = stage.ended(), await asyncio.to_thread(stage.cpu_s)
    firsts = [(run * len(stage.producers) + number) * RUN_NUMBERS for number in range(len(stage.producers))]
    orders = zip(stage.producers, firsts, strict=True)
    told = await asyncio.gather(*(one.tell("flood", seconds=seconds, first=first) for one, first in orders))
    tasks = sum(one["tasks"] for one in told)
    await stage.until_ended(before + tasks, DRAIN_LIMIT_S)
    cpu = await asyncio.to_thread(stage.cpu_s) - cpu
    began_ns = min(one["began_ns"] for one in told)
    return throughput(stage.reader.read(), began_ns, tasks) | {"cpu_s_per_1000": cpu / tasks * 1000}


def throughput(records: Sequence[Record], since_ns: int, tasks: int) -> dict[str, float]:
    """Tasks a second from `since_ns` to the last end, and how often a task ran once more."""
    later = [record for record in records if record.at_ns >= since_ns]
    last_ns = max(record.at_ns for record in later if record.what == ENDED)
    began = [record.number for record in later if record.what == BEGAN]
    return {"tasks_per_s": tasks / ((last_ns - since_ns) / 1e9), "ran_again": float(len(began) - len(set(began)))}


async def _trickle(stage: Stage, run: int, tasks: int, rate: float) -> dict[str, float]:
    first, before = 500_000_000 + run * 1_000_000, stage.ended()
    handed = await stage.producers[0].tell("trickle", tasks=tasks, rate=rate, first=first)
    await stage.until_ended(before + tasks, DRAIN_LIMIT_S)
    waits = start_waits(stage.reader.read(), {first + number: at_ns for number, at_ns in enumerate(handed)})
    return {"start_p50_ms": rank(waits, 0.5) * 1000, "start_p99_ms": rank(waits, 0.99) * 1000}


def start_waits(records: Sequence[Record], handed_ns: dict[int, int]) -> list[float]:
    """Seconds from when each task was handed in to its first begin."""
    first: dict[int, int] = {}
    for record in records:
        if record.what == BEGAN and record.number in handed_ns:
            first[record.number] = min(record.at_ns, first.get(record.number, record.at_ns))
    return [(at_ns - handed_ns[number]) / 1e9 for number, at_ns in first.items()]


async def measure_takeover(rival: Rival, *, fast: bool, limit_s: float) -> dict[str, Any]:
    """Kill the worker of a two-second task after half a second: seconds until another begins it, None if not in time.

    Meanwhile ten short tasks a second come in: some systems look for what others left behind only beside other work.

    Raises:
        Missing, Failed: it is not installed, or the task never began.
    """
    async with Stage(rival, fast=fast, producers=1) as stage:
        since = time.monotonic_ns()
        await stage.producers[-1].tell("submit", number=KILLED_TASK, seconds=LONG_TASK_S)
        began = await stage.until_began(KILLED_TASK, since, DRAIN_LIMIT_S)
        if began is None:
            return {"takeover_s": None, "limit_s": limit_s, "fast": fast}
        await asyncio.sleep(AT_WORK_S)
        killed_ns = time.monotonic_ns()
        await asyncio.to_thread(stage.kill, began.worker)
        killed = began.worker if rival.command is None else -1  # of the producers
        others = [one for number, one in enumerate(stage.producers) if number != killed]
        traffic = asyncio.create_task(keep_busy(others[0])) if others else None
        again = await stage.until_began(KILLED_TASK, killed_ns, limit_s)
        if traffic is not None:
            traffic.cancel()
            await asyncio.gather(traffic, return_exceptions=True)
    took_s = round((again.at_ns - killed_ns) / 1e9, 3) if again is not None else None
    return {"takeover_s": took_s, "limit_s": limit_s, "fast": fast}


async def keep_busy(producer: Hand) -> None:
    """Submit short tasks, until cancelled."""
    for number in itertools.count(TRAFFIC_NUMBER):
        await producer.tell("submit", number=number, seconds=0.0)
        await asyncio.sleep(TRAFFIC_EVERY_S)
