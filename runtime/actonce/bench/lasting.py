"""The growth of a mesh of real processes: journals with fsync on this host's disk, sockets, threads, SQLite.

As `growth.py`, with a rate in real time. At the end every task is looked for among the posts: each was posted once.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from actonce.bench.crew import Crew, WorkerFailed
from actonce.bench.growth import Growth, Weight, judge, step
from actonce.bench.naive import measure_naive
from actonce.demo.driver import Narrator

REPLICAS = 3
RETENTION_S, FORGET_AFTER_S = 1.0, 3.0
END_LIMIT_S = 60.0
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of all tasks."""

    lost: int
    """Never posted."""
    doubled: int
    """Posts beyond the first of a task."""
    late: int
    """Tasks that came to light after `FORGET_AFTER_S`: a replica was held up for so long."""
    again: int
    """Submissions that were repeated, as no disk and peer had confirmed them in time."""


async def run_lasting(tasks: int, rate: float, narrator: Narrator) -> tuple[Growth, Checked]:
    """Start a mesh, do so many tasks a second, measure on the way, end it.

    Raises:
        ActonceError: a process ended on its own, or the mesh did not come to rest.
    """
    share = tasks // REPLICAS
    with tempfile.TemporaryDirectory(prefix="actonce-growth-") as folder:
        settings: dict[str, float] = {"retention_s": RETENTION_S, "forget_after_s": FORGET_AFTER_S}
        async with Crew(Path(folder), REPLICAS, module="actonce.bench.growing", settings=settings) as crew:
            weights, again = list[Weight](), 0
            each = max(1, step(tasks) // REPLICAS)
            for first in range(0, share - each + 1, each):
                narrator.progress(first, share)
                again += sum(await crew.all("grow", first=first, upto=first + each, rate=rate / REPLICAS))
                weights.append(heaviest((first + each) * REPLICAS, await crew.all("weigh")))
            narrator.progress(share, share)
            await until_idle(crew)
            late = max(one["late"] for one in await crew.all("weigh"))
            lost, doubled = count_posts(crew.posts, [hand.name for hand in crew.hands], weights[-1].tasks // REPLICAS)
    naive = await anyio.to_thread.run_sync(measure_naive, weights[-1].tasks, each * REPLICAS)
    return judge(weights, naive), Checked(lost, doubled, late, again)


def heaviest(tasks: int, found: Sequence[dict[str, Any]]) -> Weight:
    """Of three replicas."""

    def largest(name: str) -> int:
        return max(int(one[name]) for one in found)

    return Weight(
        tasks,
        largest("document_bytes"),
        largest("journal_bytes"),
        largest("entries"),
        largest("remembered"),
        sum(one["rss_bytes"] for one in found),
        round(sum(one["cpu_s"] for one in found), 2),
    )


async def until_idle(crew: Crew) -> None:
    """Nothing is open anywhere, and all hold the same.

    Raises:
        WorkerFailed: not within `END_LIMIT_S`.
    """
    ends = time.monotonic() + END_LIMIT_S
    while not all(await crew.all("idle")) or len({one["digest"] for one in await crew.all("facts")}) > 1:
        if time.monotonic() > ends:
            raise WorkerFailed(f"the replicas did not come to rest within {END_LIMIT_S:g} s")
        await asyncio.sleep(LOOK_S)


def count_posts(posts: Path, names: Sequence[str], each: int) -> tuple[int, int]:
    """How many of the tasks, so many of each replica, were never posted; how many posts there were beyond the first."""
    seen = {name: bytearray(each) for name in names}
    doubled = 0
    with posts.open() as lines:
        for key in lines:
            name, number = read_key(key)
            doubled += seen[name][number]
            seen[name][number] = 1
    return sum(numbers.count(0) for numbers in seen.values()), doubled


def read_key(key: str) -> tuple[str, int]:
    """The replica and the number in the key of an effect."""
    task = key.partition("post/")[2].partition("/")[0]
    return task[0], int(task[1:])
