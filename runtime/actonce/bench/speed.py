"""Throughput, CPU and latency of real replicas on this host, journal with fsync.

Throughput: each process submits an equal share of the tasks of a no-op handler, 64 submissions under way at once, while
all drain; the clock stops when every process has seen every outcome. CPU: user + system seconds of all processes over
that time. Latency: tasks at a steady rate, submitted at one replica; the time from before `submit` to the first line of
the handler, wherever it runs (one host, one clock). Every submission waits for a disk and one live peer: there is no
submission that waits for less.
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
                found.append(percentiles(await crew.hands[0].tell("trickle", tasks=tasks, rate=rate, prefix="t")))
    narrator.progress(runs, runs)
    return {"tasks": tasks, "rate": rate, "replicas": replicas, **spreads(found)}


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
