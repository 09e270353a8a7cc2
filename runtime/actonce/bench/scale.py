"""What it costs a replica when there are many: three members and any number of followers, as simulated replicas.

The unchanged engine in virtual time, so the figures are of messages, bytes and network delays, not of processors: the
same seed gives the same figures on any machine. `measure` does one size, `rows` and `plot` show several.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actonce.agent import Agent
from actonce.context import Context
from actonce.engine import Engine
from actonce.errors import ConfigError
from actonce.overlay import ACTIVE_MIN
from actonce.settings import Settings
from actonce.sim.cluster import Cluster, Feed, simulate
from actonce.sim.world import SimWorld

MEMBERS = 3
JOIN_S = 5.0
"""Followers begin one after the other within this time."""
CALM_S = 12.0
"""For views and trees to form, before anything is measured."""
IDLE_S = 10.0
TASKS = 20
FORMING = 5
RATE = 2.0
CRASHED = 0.2
"""Share of the followers that crash at once, and come back after `DOWN_S`."""
DOWN_S = 3.0
LIMIT_S = 60.0
LOOK_S = 0.05
PACE = Settings(tick_s=0.25, heartbeat_s=0.5, contact_window_s=3.0, suspicion_s=3.0, grace_s=2.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """One size. Messages and bytes (without headers of the transport) are those that a replica *sends*; a
    follower's are the mean over all of them."""

    replicas: int
    reached: bool
    """Everything reached everybody, and after the crashes all digests were equal."""
    joined_s: float
    """From the start of the last follower until every one has a word of a member and `ACTIVE_MIN` neighbours."""
    neighbours: float
    hops_max: int
    """Links between the farthest follower and a member."""
    spread_p50_s: float
    spread_max_s: float
    """From the submission of a task until a follower holds it, and until the last one does. The first tasks of all find
    no tree yet: they make it."""
    formed_max_s: float
    """The latest of the tasks after those, `FORMING` of them."""
    idle_messages_per_s: float
    idle_bytes_per_s: float
    pushes_per_update: float
    """Copies that a replica sends on of one update; one each would do. An answer to a question counts as one copy."""
    doubles_per_update: float
    """Copies that a replica gets of what it had."""
    messages_per_task: float
    """All that a follower sends more than when idle, for one task (three updates)."""
    bytes_per_task: float
    member_messages_per_s: float
    """To followers, under load, of the busiest member."""
    member_messages_per_task: float
    heal_s: float
    """A fifth of the followers crash and come back, while tasks come in: from their return until all digests agree."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(replicas: int, seed: int = 1) -> Scale:
    """Measure a mesh of three members, the rest followers.

    Raises:
        ConfigError: fewer than four replicas.
    """
    if replicas <= MEMBERS:
        raise ConfigError(f"{replicas} replicas: {MEMBERS} are members, so give at least {MEMBERS + 1}")

    async def run() -> Scale:
        return await _Scene(replicas, seed).run()

    return simulate(run)


class _Scene:
    """One measurement. Made and used inside a virtual loop."""

    def __init__(self, replicas: int, seed: int) -> None:
        self.replicas, self.dice = replicas, random.Random(f"{seed}/scale")
        self.members = [f"m{index}" for index in range(MEMBERS)]
        self.followers = [f"f{index:04d}" for index in range(replicas - MEMBERS)]
        self.cluster = Cluster(seed, [*self.members, *self.followers], _make_agent, PACE)
        for name in self.followers:
            self.cluster.nodes[name].follow = True
        self.submitted: dict[str, float] = {}
        self.arrived: dict[tuple[str, str], float] = {}
        """(follower, task) -> when."""

    async def run(self) -> Scale:
        cluster, joined_s = self.cluster, await self._form()
        await asyncio.sleep(CALM_S)
        self._reset()
        await asyncio.sleep(IDLE_S)
        idle = self._sent(self.followers)
        idle_members = self._sent(self.members)
        self._reset()
        began = cluster.loop.time()
        await self._work()
        reached = await cluster.until(self._all_arrived, LIMIT_S)
        work_s = cluster.loop.time() - began
        busy, count = self._sent(self.followers), len(self.followers)
        home = [self._sent([name])["frames_sent"] for name in self.members]
        fresh = 3 * TASKS * count
        more = {key: (busy[key] - idle[key] * work_s / IDLE_S) / TASKS / count for key in ("frames_sent", "bytes_sent")}
        more_home = sum(home) - idle_members["frames_sent"] * work_s / IDLE_S
        formed = list(self.submitted)[FORMING:]
        late = [at - self.submitted[task] for (_, task), at in self.arrived.items() if task in formed]
        waits = sorted(at - self.submitted[task] for (_, task), at in self.arrived.items())
        views = [self.cluster.engine(name).spread.views for name in self.followers]
        hops = [engine.spread.views.hops(engine.world.now()) or 0 for engine in map(cluster.engine, self.followers)]
        pushes = busy["sent Push"] + self._sent(self.members)["sent Push"]
        neighbours = sum(len(view.active) for view in views) / count
        heal_s = await self._crash()
        return Scale(
            self.replicas,
            reached and heal_s is not None,
            round(joined_s, 3),
            round(neighbours, 2),
            max(hops),
            round(waits[len(waits) // 2], 4) if waits else math.inf,
            round(waits[-1], 4) if waits else math.inf,
            round(max(late, default=math.inf), 4),
            round(idle["frames_sent"] / IDLE_S / count, 2),
            round(idle["bytes_sent"] / IDLE_S / count, 1),
            round(pushes / fresh, 3),
            round(busy["doubles"] / fresh, 3),
            round(more["frames_sent"], 2),
            round(more["bytes_sent"], 1),
            round(max(home) / work_s, 2),
            round(more_home / TASKS / MEMBERS, 2),
            round(heal_s, 3) if heal_s is not None else math.inf,
        )

    async def _form(self) -> float:
        cluster = self.cluster
        for name in self.members:
            cluster.start(name, new=name == self.members[0])
        await cluster.until(lambda: all(len(e.membership.view.members) == MEMBERS for e in cluster.live()), LIMIT_S)
        for name in self.followers:
            self._start(name)
            await asyncio.sleep(JOIN_S / len(self.followers))
        began, most = cluster.loop.time(), min(ACTIVE_MIN, self.replicas - 1)
        await cluster.until(lambda: all(_is_in(cluster.engine(name), most) for name in self.followers), LIMIT_S)
        return cluster.loop.time() - began

    def _start(self, name: str) -> None:
        engine = self.cluster.start(name)
        spread = engine.ledger.on_fresh

        def fresh(update: bytes, clients: tuple[int, ...]) -> None:
            for task in self.submitted:
                if (name, task) not in self.arrived and task in engine.ledger.state.tasks:
                    self.arrived[name, task] = self.cluster.loop.time()
            spread(update, clients)

        engine.ledger.on_fresh = fresh

    async def _work(self) -> None:
        for number in range(TASKS):
            self.submitted[f"reply/k{number}"] = self.cluster.loop.time()
            self.cluster.submit(self.dice.choice(self.members), "reply", number, f"k{number}")
            await asyncio.sleep(1 / RATE)

    def _all_arrived(self) -> bool:
        return len(self.arrived) == TASKS * len(self.followers)

    async def _crash(self) -> float | None:
        cluster = self.cluster
        fallen = self.dice.sample(self.followers, max(1, int(CRASHED * len(self.followers))))
        for name in fallen:
            cluster.kill(name)
        for number in range(int(DOWN_S * RATE)):
            cluster.submit(self.members[0], "reply", number, f"late{number}")
            await asyncio.sleep(1 / RATE)
        for name in fallen:
            cluster.start(name)
        began = cluster.loop.time()
        while not cluster.converged():
            if cluster.loop.time() - began > LIMIT_S or cluster.failures:
                return None
            await asyncio.sleep(LOOK_S)
        return cluster.loop.time() - began

    def _reset(self) -> None:
        for name in (*self.members, *self.followers):
            self.cluster.engine(name).spread.counts.clear()

    def _sent(self, names: Sequence[str]) -> Counter[str]:
        return sum((self.cluster.engine(name).spread.counts for name in names), Counter[str]())


def _is_in(engine: Engine, neighbours: int) -> bool:
    return engine.spread.in_touch and len(engine.spread.views.active) >= min(neighbours, 2)


def _make_agent(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("scale")

    @agent.task("reply")
    async def reply(ctx: Context, payload: Any) -> Any:
        return payload

    return agent


COLUMNS = {
    "replicas": "replicas",
    "joined s": "joined_s",
    "links": "neighbours",
    "hops": "hops_max",
    "spread p50 s": "spread_p50_s",
    "first tasks, last s": "spread_max_s",
    "later, last s": "formed_max_s",
    "idle msg/s": "idle_messages_per_s",
    "idle B/s": "idle_bytes_per_s",
    "pushes/update": "pushes_per_update",
    "doubles/update": "doubles_per_update",
    "msg/task": "messages_per_task",
    "B/task": "bytes_per_task",
    "member msg/task": "member_messages_per_task",
    "heal s": "heal_s",
}
HEADS = tuple(COLUMNS)


def rows(scales: Sequence[Scale]) -> list[tuple[str, ...]]:
    """A line for each size, under `HEADS`."""
    return [tuple(str(getattr(one, name)) for name in COLUMNS.values()) for one in scales]


def plot(path: Path, scales: Sequence[Scale], figure_of: Callable[[], Any] | None = None) -> None:
    """Left: messages of a replica; right: how long, and how far. By the number of replicas, on a log axis.

    Raises:
        ConfigError: matplotlib is missing, or the file cannot be written there.
    """
    figure = (figure_of or load_figure)()
    left, right = figure.subplots(1, 2)
    sizes = [one.replicas for one in scales]
    for key, label in (
        ("messages_per_task", "a follower, for a task"),
        ("member_messages_per_task", "a member to followers, for a task"),
        ("idle_messages_per_s", "a follower, idle, each second"),
    ):
        left.plot(sizes, [getattr(one, key) for one in scales], "o-", label=label)
    left.plot(sizes, [math.log2(size) for size in sizes], "k--", label="log2 of the replicas")
    right.plot(sizes, [one.formed_max_s for one in scales], "o-", label="until the last follower has a task, s")
    right.plot(sizes, [one.heal_s for one in scales], "o-", label="heal after a fifth crashed, s")
    right.plot(sizes, [one.hops_max for one in scales], "o-", label="links to a member, at most")
    for axis, name in ((left, "messages that a replica sends"), (right, "")):
        axis.set(xlabel="replicas", xscale="log", ylabel=name, ylim=(0, None))
        axis.legend()
    figure.suptitle("three members, the rest followers (simulated)")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: {error}") from None


def load_figure() -> Any:
    """An empty figure of matplotlib.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        module = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise ConfigError("--plot needs matplotlib, which is not installed: pip install 'actonce[bench]'") from None
    return module.Figure(figsize=(11.0, 4.5), layout="constrained")
