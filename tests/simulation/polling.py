"""A mesh that polls an outside source, the scenarios in which its poller goes away, and the check at the end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from actonce import Agent, Context, Item, Polled, SourceContext
from actonce.agent import GuardName
from actonce.engine import Engine
from actonce.reporting import status
from actonce.settings import LAN, Settings
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld

from .mesh import dice

PERIOD_S = 0.5
BATCH = 4


@dataclass(frozen=True, slots=True)
class Called:
    """One call of the user's function. (A replica that falls asleep in it may reach the outside when it wakes.)"""

    at: float
    replica: str
    pid: int
    cursor: int


class Polling(Cluster):
    """Replicas that poll an outside which numbers its items, and forgets those before the cursor that it is shown."""

    def __init__(
        self,
        seed: int,
        names: str,
        *,
        forgets: bool = True,
        guard: GuardName = "available",
        settings: Settings = LAN,
    ) -> None:
        super().__init__(seed, names, self._agent, settings, roster=tuple(names) if guard == "majority" else ())
        self.guard = guard
        self.forgets = forgets
        self.dice = dice(seed, "outside")
        self.items = 0
        """So many there were so far, numbered from 0."""
        self.forgotten = 0
        self.calls: list[Called] = []
        self.busy = self.most_busy = 0
        self.cursors: dict[int, list[tuple[int, int]]] = {}
        """Process -> (epoch, number) of the cursor as it came to know them."""
        self.wrong: list[str] = []
        self.is_quiet = False
        self.answer: Callable[[SourceContext, Any], Any] | None = None

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", FeedSink(feed, world))

        @agent.poll(PERIOD_S, kind="entry", guard=self.guard)
        async def feed_of(ctx: SourceContext, cursor: Any) -> Any:
            await world.alive()
            if self.answer is not None:
                return self.answer(ctx, cursor)
            return await self._read(world, cursor or 0)

        @agent.task("entry")
        async def entry(ctx: Context, item: int) -> None:
            await anyio.sleep(world.rng.uniform(0.0, 0.1))
            await world.alive()
            await ctx.post("room", item)

        return agent

    async def _read(self, world: SimWorld, cursor: int) -> Polled:
        self.calls.append(Called(self.loop.time(), world.name, world.process.pid, cursor))
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await anyio.sleep(self.dice.uniform(0.0, 0.1))
            await world.alive()
            if self.forgets:
                self.forgotten = max(self.forgotten, cursor)
            found = range(max(cursor, self.forgotten), self.items)[:BATCH]
            await anyio.sleep(self.dice.uniform(0.0, 0.1))
            await world.alive()
        finally:
            self.busy -= 1
        end = found[-1] + 1 if found else cursor
        return Polled([Item(f"item-{number}", number) for number in found], end, end < self.items)

    def start(self, name: str, *, new: bool = False) -> Engine:
        engine = super().start(name, new=new)
        changed, known = engine.claims.changed, self.cursors.setdefault(engine.world.process.pid, [])

        def looked(keys: Iterable[str]) -> None:
            changed(keys)
            cursor = engine.ledger.state.cursors.get("feed_of")
            if cursor is not None and known[-1:] != [(cursor.epoch, cursor.number)]:
                known.append((cursor.epoch, cursor.number))

        engine.claims.changed = looked  # type: ignore[method-assign]
        return engine

    async def form(self) -> None:
        for index, name in enumerate(self.nodes):
            self.start(name, new=index == 0)
        assert await self.whole()

    async def whole(self) -> bool:
        def is_whole() -> bool:
            live = {engine.me for engine in self.live()}
            return len(live) == len(self.nodes) and all(
                engine.membership.view.members == live and engine.membership.act_until() > engine.world.now()
                for engine in self.live()
            )

        return await self.until(is_whole, 30.0)

    def poller(self) -> str:
        """Who polls, as the first live replica knows."""
        return str(status(self.live()[0])["sources"]["feed_of"]["poller"])

    async def feed_items(self, seconds: float) -> None:
        """The outside goes on, one item after the other."""
        ends = self.loop.time() + seconds
        while self.loop.time() < ends:
            await asyncio.sleep(self.dice.uniform(0.0, 0.4))
            self.items += 1

    async def rest(self) -> None:
        """Until all that there is was handled, and all are equal."""

        def is_quiet() -> bool:
            engines = self.live()
            done = {number for number, at in self.handled().items() if at}
            open_tasks = {task for engine in engines for task in engine.claims.open} - {"poll:feed_of"}
            return len(done) == self.items and not open_tasks and self.converged()

        self.is_quiet = await self.until(is_quiet, 60.0)
        self.wrong = self._wrong()  # now: when the simulation ends, polls are cancelled, and replicas would write that

    def handled(self) -> Counter[int]:
        return Counter(int(str(post.body)) for post in self.feed.posts)

    def _wrong(self) -> list[str]:
        """All that must not be."""
        found = [violation for checker in (*SAFETY, *LIVENESS) for violation in checker(self)]
        handled = self.handled()
        found += [f"item {number} was lost" for number in range(self.items) if number not in handled]
        found += [f"item {number} was handled {count} times" for number, count in handled.items() if count > 1]
        for pid, known in self.cursors.items():
            found += [
                f"process {pid}: cursor {later} after {earlier}"
                for earlier, later in itertools.pairwise(known)
                if later < earlier
            ]
        for earlier, later in zip(self.calls, self.calls[1:], strict=False):
            if later.cursor < earlier.cursor:
                found.append(f"{later.replica} polled from {later.cursor} at {later.at:.3f}, after {earlier}")
        values = {engine.ledger.state.cursors["feed_of"] for engine in self.live()}
        if len(values) != 1:
            found.append(f"replicas differ in the cursor: {sorted(values, key=repr)}")
        return found


async def killed(seed: int, kills: int, *, before: float = 3.0) -> Polling:
    """The poller is killed again and again, at any of the points where something of it becomes visible."""
    cluster, random = Polling(seed, "abc"), dice(seed, "kills")
    await cluster.form()
    feeding = asyncio.ensure_future(cluster.feed_items(kills * before))
    for _ in range(kills):
        await asyncio.sleep(random.uniform(0.0, before / 2))
        name = cluster.poller()
        if name != "None" and random.random() < 0.7:
            world = cluster.nodes[name].world
            assert world is not None
            world.crash_at = world.points + random.randrange(1, 30)
            assert await cluster.until(partial(_is_dead, world), 20.0)
        elif name != "None":
            cluster.kill(name)
        await asyncio.sleep(random.uniform(0.0, before / 4))
        for other in cluster.nodes:
            if _is_dead(cluster.nodes[other].world):
                cluster.start(other)
    await feeding
    await cluster.rest()
    return cluster


def _is_dead(world: SimWorld | None) -> bool:
    return world is None or world.dead


async def away(seed: int, how: str, guard: GuardName = "available") -> Polling:
    """The poller sleeps, or is cut off, for longer than the grace: another polls, and then it is back."""
    cluster, random = Polling(seed, "abc", guard=guard), dice(seed, how)
    await cluster.form()
    feeding = asyncio.ensure_future(cluster.feed_items(20.0))
    for _ in range(2):
        await asyncio.sleep(random.uniform(2.0, 3.0))
        assert await cluster.until(lambda: cluster.poller() != "None", 10.0)
        name, away_s = cluster.poller(), LAN.suspicion_s + LAN.grace_s + random.uniform(0.5, 2.0)
        if how == "pause":
            cluster.pause(name)
            await asyncio.sleep(away_s)
            cluster.resume(name)
        else:
            for other in cluster.nodes:
                if other != name:
                    cluster.cut(name, other)
                    cluster.cut(other, name)
            await asyncio.sleep(away_s)
            for other in cluster.nodes:
                if other != name:
                    cluster.uncut(name, other)
                    cluster.uncut(other, name)
        assert await cluster.whole()
    await feeding
    await cluster.rest()
    return cluster
