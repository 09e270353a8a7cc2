"""Sinks that do not answer for a while, in the simulator: who waits for them, and who does not. Virtual seconds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import actonce.endpoints
from actonce.agent import Agent
from actonce.breaker import REST_S_MAX, Breaker
from actonce.context import Context
from actonce.endpoints import Endpoint
from actonce.errors import SinkRefused
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld
from actonce.sinks import Sink
from actonce_crdt import Json

SECONDS = 8.0
"""For so long some of the sinks answer nobody, or not everybody."""
TASKS = 30
PROMPT_S = 1.0
"""A task whose sink answers is over after so long."""


class Absent(FeedSink):
    """Refuses every connection for the first `SECONDS`."""

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        if self._world.loop.time() < SECONDS:
            await anyio.sleep(0.001)
            raise SinkRefused("nobody is there")
        return await super().publish(body, key, fence, gate)


class Sinks(Cluster):
    """Kinds `ill` and `well`, each with a sink of its own name; `ill_at` says where the former does not answer."""

    def __init__(self, seed: int, ill_at: str) -> None:
        super().__init__(seed, "abc", self._agent)
        self.ill_at = ill_at

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("well", FeedSink(feed, world))
        agent.sink("ill", (Absent if world.name in self.ill_at else FeedSink)(feed, world))

        async def work(ctx: Context, sink: str) -> Any:
            return await ctx.post(sink, ctx.task)

        for kind in ("ill", "well"):
            agent.task(kind, retries=99)(work)
        return agent

    async def play(self, drain_s: float) -> None:
        """Tasks of both kinds, all the time, and then so long for all to end."""
        for name in "abc":
            self.start(name, new=name == "a")
        assert await self.until(lambda: all(len(e.membership.view.members) == 3 for e in self.live()), 5.0)
        dice = random.Random(f"breakers/{self.seed}")
        for number in range(TASKS):
            kind = ("ill", "well")[number % 2]
            self.submit(dice.choice("abc"), kind, kind, f"k{number}")
            await anyio.sleep(SECONDS / TASKS)
        await self.until(lambda: not any(e.claims.open for e in self.live()), drain_s)


def late(cluster: Cluster, is_well: Callable[[str, str], bool]) -> Iterator[str]:
    """Tasks whose sink answered all the time, where they ran, and that were not over at once."""
    asked = {str(event.facts[1]): event.at for event in cluster.history.of("acknowledged")}
    for event in cluster.history.of("end"):
        name, task = str(event.facts[0]), str(event.facts[1])
        if is_well(name, task) and event.at - asked.get(task, event.at) > PROMPT_S:
            yield f"{task}: over on {name} {event.at - asked[task]:.1f} s after it was submitted"


def played(seed: int, ill_at: str, drain_s: float = 2 * REST_S_MAX) -> list[str]:
    """What the checkers say; the last of them is `late`."""

    async def scenario() -> list[str]:
        cluster = Sinks(seed, ill_at)
        await cluster.play(drain_s)
        violations = [text for checker in (*SAFETY, *LIVENESS) for text in checker(cluster)]
        return [*violations, *late(cluster, lambda name, task: task.startswith("well/") or name not in ill_at)]

    return simulate(scenario)


ILL_AT = ["abc", "a"]
SEEDS = range(int(os.environ.get("BREAKER_SEEDS", "1")))


@pytest.mark.parametrize("ill_at", ILL_AT)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_sink_that_is_gone_delays_nobody_elses_effects(seed: int, ill_at: str) -> None:
    assert played(seed, ill_at) == []


@pytest.mark.parametrize("ill_at", ILL_AT)
def test_a_breaker_that_is_shared_is_found(ill_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By all sinks, or by all replicas: each shows where the other may not."""
    shared: dict[str, Breaker] = {}

    def endpoint(sink: Sink) -> Endpoint:
        assert isinstance(sink, FeedSink)
        what = sink._world.name if ill_at == "abc" else "all"
        return Endpoint(sink, shared.setdefault(what, Breaker()))

    monkeypatch.setattr(actonce.endpoints, "Endpoint", endpoint)
    assert any("after it was submitted" in text for text in played(0, ill_at, drain_s=3.0))
