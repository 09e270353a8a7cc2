"""Agents whose handlers call a provider under a quota, and the scenarios that try to break it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actonce.agent import Agent
from actonce.context import Context
from actonce.settings import LAN
from actonce.sim.cluster import Feed, FeedSink
from actonce.sim.plan import Crash, Mix, Partition, Plan
from actonce.sim.run import MakeAgent, Scenario, Work
from actonce.sim.world import SimWorld
from actonce_crdt import Json

SETTINGS = replace(LAN, quota_clock_error=0.025, retry_wait_max_s=1.0)
"""The simulated clocks drift by up to 2 percent."""


def limited_agent(**quota: Any) -> MakeAgent:
    """Each task calls the provider with one request and the tokens that its payload says, estimated or used."""

    def make(world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.quota("llm", flight=0.5, **quota)
        agent.sink("room", FeedSink(feed, world))

        @agent.task("reply")
        async def reply(ctx: Context, payload: dict[str, Any]) -> Any:
            units = {"tokens": payload["tokens"]} if "tokens" in quota else {}
            async with ctx.quota("llm", **units) as spend:
                used = {"tokens": payload["used"]} if units else {}
                await feed.provider.call(world, "llm", requests=1, **used)
                spend.used(**used)
            await ctx.post("room", payload)
            return payload["n"]

        return agent

    return make


def payload(number: int) -> Json:
    tokens = 1 + (number * 7) % 40
    return {"n": number, "tokens": tokens, "used": max(1, tokens - number % 3 * 5)}


def scenario(seconds: float = 20.0, tasks: int = 120, **rest: Any) -> Scenario:
    return Scenario(seconds=seconds, tasks=tasks, settings=SETTINGS, work=(Work("reply", payload),), **rest)


TWO_LIMITS = limited_agent(limit=15, per=2.0, tokens=300)
ONE_LIMIT = limited_agent(limit=12, per=2.0)
BURSTS = limited_agent(limit=20, per=4.0, burst=5)
SECONDS = limited_agent(limit=5, per=0.5)

EVERYTHING = Mix(partition_s=(0.05, 6.0), between_s=(0.2, 2.0))
CRASHES = Mix(weights=(("Crash", 1),), between_s=(0.3, 1.0), down_s=(0.0, 0.5))
CHURN = Mix(weights=(("Crash", 2), ("Leave", 3)), between_s=(0.5, 2.0), down_s=(0.0, 1.0))
PARTED: Plan = (Crash(2.0, "b", 1.0), Partition(4.0, ("a",), 8.0), Crash(6.0, "c", 2.0))
