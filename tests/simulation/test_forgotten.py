"""A task that was forgotten while its handler runs on: what does not end when it is told to may outlive every entry."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest

from actonce import Agent, Context
from actonce.errors import SinkRefused, SinkUnknown
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.world import SimWorld
from actonce_crdt import Json

from .forgetting import FORGET_AFTER_S, RETENTION_S, SOON

STUCK_S = RETENTION_S + 8 * FORGET_AFTER_S
SLEEPING = "stuck/m"


class Slow(FeedSink):
    """Answers long after the task has been forgotten: with a refusal, or so that nobody knows."""

    async def publish(self, body: Json, key: str, fence: int, gate: Any) -> Json:
        gate()
        await anyio.sleep(STUCK_S + 5.0)
        if body == "refuse":
            raise SinkRefused("no", permanent=True)
        if body == "unknown":
            raise SinkUnknown("no answer")
        return "posted"


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("kevin")
    agent.sink("room", Slow(feed, world, can_lookup=False))

    @agent.task("stuck", on_doubt="ask")
    async def stuck(ctx: Context, payload: Json) -> None:
        work = asyncio.ensure_future(anyio.sleep(STUCK_S + 5.0) if payload is None else ctx.post("room", payload))
        while not work.done():  # as a plain function in its thread, which nobody can stop
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        await work

    @agent.task("slow")
    async def slow(ctx: Context, payload: Json) -> None:
        await anyio.sleep(1.0)

    return agent


async def forgotten(body: Json) -> Cluster:
    """Everybody has forgotten a task whose handler runs on at one of three."""
    settings = replace(SOON, effect_attempts_max=1)
    cluster = Cluster(1, "abc", make_agent, settings)
    for name in "abc":
        cluster.start(name, new=name == "a")
    assert await cluster.until(lambda: all(len(one.membership.view.members) == 3 for one in cluster.live()), 10.0)
    cluster.submit("a", "stuck", body, "m")
    assert await cluster.until(lambda: any(one.executor.running for one in cluster.live()), 5.0)
    await asyncio.sleep(0.5)
    cluster.cancel("a", SLEEPING)
    await asyncio.sleep(0.5)
    for key in list(cluster.engine("a").ledger.state.effects):  # else somebody has to look, and it is remembered
        cluster.engine("a").doubts.resolve(key, "skip", lambda word: None)
    assert await cluster.until(
        lambda: all(SLEEPING not in one.ledger.state.tasks for one in cluster.live()), STUCK_S
    )
    assert sum(SLEEPING in one.executor.running for one in cluster.live()) == 1
    assert not any(one.ledger.state.effects for one in cluster.live())
    return cluster


def test_tasks_that_saw_a_process_die_begin_beside_it() -> None:
    async def scenario() -> None:
        cluster = await forgotten(None)
        here = next(one for one in cluster.live() if one.executor.running)
        gone = next(one for one in cluster.live() if one is not here)
        for number in range(12):
            cluster.submit(here.me.name, "slow", None, f"s{number}")
        await asyncio.sleep(0.3)
        cluster.kill(gone.me.name)
        assert await cluster.until(lambda: any(state.deaths for state in here.ledger.state.tasks.values()), 5.0)
        assert await cluster.until(lambda: not here.claims.open, 30.0)
        assert not cluster.failures

    simulate(scenario)


def test_who_was_removed_as_too_slow_gives_it_up_and_goes_on() -> None:
    async def scenario() -> None:
        cluster = await forgotten(None)
        here = next(one for one in cluster.live() if one.executor.running)
        here.claims.give_up()
        here.membership.version += 1
        here.wake()
        cluster.submit(here.me.name, "slow", None, "s")
        await asyncio.sleep(3.0)
        assert not cluster.failures
        assert not here.claims.open

    simulate(scenario)


@pytest.mark.parametrize("body", ["refuse", "unknown", "accept"])
def test_what_a_sink_says_of_it_is_nobody_s_business_any_more(body: str) -> None:
    async def scenario() -> None:
        cluster = await forgotten(body)
        assert await cluster.until(lambda: not any(one.executor.running for one in cluster.live()), 2 * STUCK_S)
        assert not cluster.failures
        assert all(effect.doubt is None for one in cluster.live() for effect in one.ledger.state.effects.values())

    simulate(scenario)
