"""Throughput, CPU and latency of real replicas on this host, journal with fsync.

Throughput: each process submits an equal share of the tasks of a no-op handler, 64 submissions under way at once, while
all drain; the clock stops when every process has seen every outcome. CPU: user + system seconds of all processes over
that time. Latency: tasks at a steady rate; the time from before `submit` to the first line of the handler, wherever it
runs (one host, one clock).

Every `submit` returns after a disk and one live peer have the task. No handler waits for that, only its effects do. So
there are two latencies: of a task that one replica was given; whoever is to run it has to hear of it, which is once it
is on the first one's disk. And of a message that all replicas heard, as by `@agent.source`: whose it is begins it at
once, while it is on its way to the disks.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actonce.bench.crew import Crew
from actonce.bench.figures import rank
from actonce.demo.driver import Narrator
from actonce.inbox import task_id

WARM_UP = 100
"""Tasks before anything counts."""
HEAR_AFTER_S = 0.5
"""By then the order has come to every process."""


async def run_throughput(tasks: int, replicas: int, runs: int, narrator: Narrator) -> dict[str, Any]:
    """Medians over the runs, each in a mesh of its own, and the least and largest."""
    found = []
    for run in range(runs):
        narrator.progress(run, runs)
        with tempfile.TemporaryDirectory(prefix="actonce-throughput-") as folder:
            async with Crew(Path(folder), replicas) as crew:
                await _drain(crew, WARM_UP, "w")
                found.append(await _drain(crew, tasks, "f"))
    narrator.progress(runs, runs)
    return {"tasks": tasks // replicas * replicas, "replicas": replicas, **spreads(found)}


async def _drain(crew: Crew, tasks: int, prefix: str) -> dict[str, float]:
    share = max(1, tasks // len(crew.hands))
    everything = [task_id("noop", f"{prefix}{hand.name}{number}") for hand in crew.hands for number in range(share)]
    cpu = sum(await crew.all("cpu"))
    began = time.monotonic()
    await crew.all("flood", tasks=share, prefix=prefix)
    await crew.all("await", tasks=everything)
    took_s = time.monotonic() - began
    cpu_s = sum(await crew.all("cpu")) - cpu
    return {"tasks_per_s": len(everything) / took_s, "cpu_s_per_1000": cpu_s / len(everything) * 1000}


async def run_latency(tasks: int, rate: float, replicas: int, runs: int, narrator: Narrator) -> dict[str, Any]:
    """Percentiles of each run, each in a mesh of its own; medians, least and largest of those over the runs."""
    found = []
    for run in range(runs):
        narrator.progress(run, runs)
        with tempfile.TemporaryDirectory(prefix="actonce-latency-") as folder:
            async with Crew(Path(folder), replicas) as crew:
                await crew.hands[0].tell("trickle", tasks=WARM_UP, rate=2 * rate, prefix="w")
                waits = await crew.hands[0].tell("trickle", tasks=tasks, rate=rate, prefix="t")
                await _hear(crew, WARM_UP, 2 * rate, "v")
                found.append(percentiles({**waits, "heard": await _hear(crew, tasks, rate, "h")}))
    narrator.progress(runs, runs)
    return {"tasks": tasks, "rate": rate, "replicas": replicas, **spreads(found)}


async def _hear(crew: Crew, tasks: int, rate: float, prefix: str) -> list[float]:
    """All replicas submit the same tasks at the same moments, under the same keys."""
    begin = time.monotonic() + HEAR_AFTER_S
    return heard_waits(await crew.all("hear", tasks=tasks, rate=rate, prefix=prefix, begin=begin))


def heard_waits(found: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds from before `submit` in the process where the handler ran to its first line there; from the first
    `submit` anywhere, if that process had heard of it from another replica before."""
    submitted: dict[int, list[float]] = {one["pid"]: one["submitted"] for one in found}
    waits = []
    for number, (pid, began) in enumerate(found[0]["began"]):
        here = submitted[pid][number]
        waits.append(began - (here if here <= began else min(times[number] for times in submitted.values())))
    return waits


def percentiles(waits: dict[str, list[float]]) -> dict[str, float]:
    """p50 and p99 of each sort of wait, in milliseconds."""
    shares = (("p50", 0.5), ("p99", 0.99))
    return {
        f"{name}_{part}_ms": rank(values, share) * 1000 for name, values in waits.items() for part, share in shares
    }


def spreads(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The median of each figure, and in `spread` its least and largest."""
    made: dict[str, Any] = {name: round(rank([run[name] for run in runs], 0.5), 4) for name in runs[0]}
    ends = {name: [round(one([run[name] for run in runs]), 4) for one in (min, max)] for name in runs[0]}
    return {**made, "runs": len(runs), "spread": ends}
