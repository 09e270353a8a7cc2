"""How large a mesh gets with the number of tasks that it ever did, beside the layout that everybody writes first.

Three replicas, each the whole engine on a simulated host in virtual time, so that years of work fit into minutes; a
task is submitted, claimed, posts once and returns. Outcomes are remembered for `RETENTION_S`, so what is alive at any
moment is about a thousand tasks, and whatever grows with the number of tasks done shows. All three live in one process,
whose resident memory is measured (what the simulation itself notes down is thrown away as it comes). `lasting.py` does
the same with real processes.

The naive layout (`naive.py`) is fed with as many tasks, in the same run, in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from actonce.agent import Agent
from actonce.bench.naive import Size, measure_naive, rss_bytes
from actonce.context import Context
from actonce.settings import LAN
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.world import SimWorld
from actonce_crdt import Json

RETENTION_S, FORGET_AFTER_S = 1.0, 2.0
TASKS_A_SECOND = 200
"""Of virtual time."""
BURST = 60
"""Tasks that come at once."""
ROWS = 40
NAMES = "abc"
FORGET_EACH = 500
"""Tasks after which what the simulation has noted down is thrown away."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Of a mesh after so many tasks: sizes of the largest of its three replicas."""

    tasks: int
    document_bytes: int
    journal_bytes: int
    entries: int
    remembered: int
    """Tasks of which anything is known."""
    rss_bytes: int
    """Of all three together."""
    cpu_s: float
    """User and system time so far, of all three together."""


@dataclass(frozen=True, slots=True)
class Row(Weight):
    """The naive layout beside it, after as many tasks."""

    naive_bytes: int
    naive_rss_bytes: int


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
    cpu_ms_per_task: tuple[float, float]
    """In the first half and in the second, of all three replicas together."""
    naive_document_bytes: int
    naive_rss_slope_bytes_per_task: float
    """Likewise of three documents in one process."""
    rows: tuple[Row, ...]


def run_growth(tasks: int) -> Growth:
    """Do so many tasks in a simulation, and measure on the way. Deterministic but for memory and CPU."""

    async def go() -> list[Weight]:
        return await _work(tasks)

    return judge(simulate(go), measure_naive(tasks, step(tasks)))


def step(tasks: int) -> int:
    """Tasks from one measurement to the next."""
    return max(1, tasks // ROWS)


def judge(weights: Sequence[Weight], naive: Sequence[Size]) -> Growth:
    """What was measured of both, after equal numbers of tasks."""
    rows = [
        Row(**asdict(weight), naive_bytes=size.document_bytes, naive_rss_bytes=size.rss_bytes)
        for weight, size in zip(weights, naive, strict=True)
    ]
    middle = len(rows) // 2
    half, last = rows[middle:], rows[-1]
    done = [float(row.tasks) for row in half]
    slope, error = line(done, [float(row.rss_bytes) for row in half])
    before = (rows[0], rows[middle], last)
    cpu = [(b.cpu_s - a.cpu_s) / max(1, b.tasks - a.tasks) * 1000 for a, b in pairwise(before)]
    return Growth(
        last.tasks,
        max(row.document_bytes for row in half),
        max(row.journal_bytes for row in half),
        round(slope, 2),
        round(2 * error, 2),
        (round(cpu[0], 3), round(cpu[1], 3)),
        last.naive_bytes,
        round(line(done, [float(row.naive_rss_bytes) for row in half])[0], 2),
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


async def _work(tasks: int) -> list[Weight]:
    settings = replace(LAN, retention_s=RETENTION_S, forget_after_s=FORGET_AFTER_S)
    cluster = Cluster(1, NAMES, make_agent, settings)
    for name in NAMES:
        cluster.start(name, new=name == "a")
    await cluster.until(lambda: all(len(one.membership.view.members) == len(NAMES) for one in cluster.live()), 10.0)
    found: list[Weight] = []
    for number in range(1, tasks + 1):
        cluster.submit(NAMES[number % len(NAMES)], "reply", {"n": number}, f"m{number}")
        if number % BURST == 0:
            await asyncio.sleep(BURST / TASKS_A_SECOND)
        if number % FORGET_EACH == 0:
            forget(cluster)
        if number % step(tasks) == 0:
            found.append(measure(cluster, number))
    if cluster.failures:
        raise RuntimeError(cluster.failures[0])
    return found


def forget(cluster: Cluster) -> None:
    """What the simulation notes down for its checkers."""
    for notes in (cluster.history.events, cluster.feed.posts, cluster.acknowledged, cluster.history.outcomes):
        notes.clear()


def measure(cluster: Cluster, tasks: int) -> Weight:
    engines = cluster.live()
    gc.collect()
    return Weight(
        tasks,
        max(len(engine.ledger.document.diff({})) for engine in engines),
        max(node.disk.bytes for node in cluster.nodes.values()),
        max(engine.ledger.document.entry_count for engine in engines),
        max(len(engine.ledger.state.tasks) for engine in engines),
        rss_bytes(),
        round(time.process_time(), 2),
    )


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
