"""Members and followers as simulated replicas, and the check that a scenario ends with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from actonce.agent import Agent
from actonce.context import Context
from actonce.overlay import ACTIVE_MAX, CROWD_MAX
from actonce.settings import LAN, Settings
from actonce.sim.checkers import SAFETY
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.world import SimWorld

MEMBERS = ("a", "b", "c")


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("kevin")
    agent.sink("room", FeedSink(feed, world))
    agent.quota("llm", 10, "1m")
    agent.cron("*/5 * * * *", name="often")(tick)

    @agent.task("note")
    async def note(ctx: Context, payload: Any) -> None:
        ctx.memory.text("notes").insert(0, payload)

    @agent.task("reply")
    async def reply(ctx: Context, payload: Any) -> Any:
        await ctx.post("room", payload)
        return payload

    return agent


async def tick(ctx: Context, slot: Any) -> None:
    """Does nothing."""


class Flock(Cluster):
    """Members and followers."""

    def __init__(
        self, seed: int, followers: int, members: tuple[str, ...] = MEMBERS, settings: Settings = LAN
    ) -> None:
        self.followers = [f"f{index:03d}" for index in range(followers)]
        super().__init__(seed, [*members, *self.followers], make_agent, settings)
        self.members = members
        self.dice = random.Random(f"{seed}/flock test")
        for name in self.followers:
            self.nodes[name].follow = True
        self.keys: list[str] = []

    async def form(self) -> None:
        for name in self.members:
            self.start(name, new=name == self.members[0])
        acting = lambda: all(len(e.membership.view.members) == len(self.members) for e in self.live())  # noqa: E731
        assert await self.until(acting, 10.0)
        for name in self.followers:
            self.start(name)
            await asyncio.sleep(0.05)
        assert await self.until(self.linked, 20.0)

    def linked(self) -> bool:
        """Every follower had a word of a member."""
        live = [self.engine(name) for name in self.followers if not self.down(name)]
        return all(engine.spread.in_touch and len(engine.spread.views.active) > 0 for engine in live)

    def down(self, name: str) -> bool:
        world = self.nodes[name].world
        return world is None or world.dead

    def ask(self, count: int = 1) -> None:
        for _ in range(count):
            key = f"k{len(self.keys)}"
            self.keys.append(key)
            for name in self.members:
                if not self.down(name):
                    self.submit(name, "reply", key, key)

    async def check(self) -> None:
        """Everything was done once, all hold the same, nobody was anybody's member who is none, none wrote."""
        assert await self.until(self.converged, 30.0), self.states()
        assert await self.until(lambda: not any(e.claims.open for e in self.live() if not e.follow), 30.0)
        assert await self.until(self.converged, 30.0), self.states()
        assert sorted(self.feed.keys()) == sorted(f"reply/{key}/#1" for key in self.keys)
        assert [text for checker in SAFETY for text in checker(self)] == []
        assert self.failures == []
        self.check_apart()

    def check_apart(self) -> None:
        for engine in self.live():
            assert not set(engine.membership.peers) & set(self.followers)
            assert not set(engine.ledger.document.logs()) & set(self.followers)
            if engine.follow:
                assert engine.membership.settled is None
                assert not engine.gossip.lines
            assert len(engine.spread.views.active) <= CROWD_MAX + ACTIVE_MAX

    def states(self) -> list[Any]:
        return [(e.me.name, e.ledger.document.entry_count, sorted(e.spread.views.active)) for e in self.live()]


def run(scenario: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    return simulate(lambda: scenario(*args))
