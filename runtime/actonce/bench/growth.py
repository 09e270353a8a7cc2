"""How large a mesh gets with the number of tasks that it ever did, beside the layout that everybody writes first.

Three replicas, each the whole engine on a simulated host in virtual time, so that years of work fit into minutes; a
task is submitted, claimed, posts once and returns. Outcomes are remembered for `RETENTION_S`, so what is alive at any
moment is a few hundred tasks, and whatever grows with the number of tasks done shows. All three live in one process,
whose resident memory is measured (what the simulation itself notes down is thrown away as it comes).

The naive layout is one key for each task in a shared map, written by the replicas in turn, and deleted when the task is
over: fed with as many tasks, in the same run.
"""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import dataclass, replace
from pathlib import Path

from pycrdt import Doc, Map

from actonce.agent import Agent
from actonce.context import Context
from actonce.settings import LAN
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.world import SimWorld
from actonce_crdt import Json

RETENTION_S, FORGET_AFTER_S = 1.0, 2.0
TASKS_A_SECOND = 200
"""Of virtual time."""
ROWS = 20
NAMES = "abc"


@dataclass(frozen=True, slots=True)
class Row:
    """The largest of the three replicas, after so many tasks."""

    tasks: int
    document_bytes: int
    journal_bytes: int
    entries: int
    remembered: int
    """Tasks of which anything is known."""
    rss_bytes: int
    """Of all three together."""
    naive_bytes: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What was found. Sizes are the largest of the second half."""

    tasks: int
    document_bytes: int
    journal_bytes: int
    rss_slope_bytes_per_task: float
    """Of a line through the resident memory of the second half: for all three replicas together."""
    rss_noise_bytes_per_task: float
    """What that slope may be off by: two standard errors."""
    naive_document_bytes: int
    rows: tuple[Row, ...]


def run_growth(tasks: int) -> Growth:
    """Do so many tasks, and measure on the way. Deterministic but for the memory."""
    naive = Naive()

    async def go() -> list[Row]:
        return await _work(tasks, naive)

    rows = simulate(go)
    half = rows[len(rows) // 2 :]
    slope, error = line([float(row.tasks) for row in half], [float(row.rss_bytes) for row in half])
    return Growth(
        rows[-1].tasks,
        max(row.document_bytes for row in half),
        max(row.journal_bytes for row in half),
        round(slope, 2),
        round(2 * error, 2),
        rows[-1].naive_bytes,
        tuple(rows),
    )


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("growth")
    agent.sink("room", FeedSink(feed, world))

    @agent.task("reply")
    async def reply(ctx: Context, payload: Json) -> Json:
        await ctx.post("room", payload)
        return payload

    return agent


async def _work(tasks: int, naive: Naive) -> list[Row]:
    settings = replace(LAN, retention_s=RETENTION_S, forget_after_s=FORGET_AFTER_S)
    cluster = Cluster(1, NAMES, make_agent, settings)
    for name in NAMES:
        cluster.start(name, new=name == "a")
    await cluster.until(lambda: all(len(one.membership.view.members) == len(NAMES) for one in cluster.live()), 10.0)
    rows: list[Row] = []
    every = max(1, tasks // ROWS)
    for number in range(1, tasks + 1):
        cluster.submit(NAMES[number % len(NAMES)], "reply", {"n": number}, f"m{number}")
        naive.task(number)
        await asyncio.sleep(1 / TASKS_A_SECOND)
        if number % every == 0:
            forget(cluster)
            rows.append(measure(cluster, number, naive))
    if cluster.failures:
        raise RuntimeError(cluster.failures[0])
    return rows


def forget(cluster: Cluster) -> None:
    """What the simulation notes down for its checkers."""
    for notes in (cluster.history.events, cluster.feed.posts, cluster.acknowledged, cluster.history.outcomes):
        notes.clear()


def measure(cluster: Cluster, tasks: int, naive: Naive) -> Row:
    engines = cluster.live()
    gc.collect()
    return Row(
        tasks,
        max(len(engine.ledger.document.diff({})) for engine in engines),
        max(node.disk.bytes for node in cluster.nodes.values()),
        max(engine.ledger.document.entry_count for engine in engines),
        max(len(engine.ledger.state.tasks) for engine in engines),
        rss_bytes(),
        naive.bytes,
    )


class Naive:
    """One map, one key for each task: set, claimed, deleted, each by a replica in turn."""

    def __init__(self) -> None:
        self._docs = [Doc[Map[str]](client_id=number) for number in (1, 2, 3)]
        self._maps = [doc.get("tasks", type=Map) for doc in self._docs]

    def task(self, number: int) -> None:
        writer = number % len(self._docs)
        doc, tasks = self._docs[writer], self._maps[writer]
        before = doc.get_state()
        tasks[f"reply/m{number}"] = "open"
        tasks[f"reply/m{number}"] = "claimed"
        del tasks[f"reply/m{number}"]
        update = doc.get_update(before)
        for other in self._docs:
            if other is not doc:
                other.apply_update(update)

    @property
    def bytes(self) -> int:
        return len(self._docs[0].get_update())


def rss_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def line(x: list[float], y: list[float]) -> tuple[float, float]:
    """Slope of the least-squares line, and its standard error."""
    count = len(x)
    if count < 3:
        return 0.0, 0.0
    mean_x, mean_y = sum(x) / count, sum(y) / count
    spread = sum((one - mean_x) ** 2 for one in x)
    slope = sum((one - mean_x) * (other - mean_y) for one, other in zip(x, y, strict=True)) / spread
    rest = sum((other - mean_y - slope * (one - mean_x)) ** 2 for one, other in zip(x, y, strict=True))
    return slope, (rest / (count - 2) / spread) ** 0.5
