"""Sinks that cannot be asked, crashes, and a person who answers for them: everything is posted once, and all is over.

And sinks that refuse repeated keys, as agents of users declare them. PEOPLE_SEEDS in the environment runs more.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import Any

import anyio

from actonce.agent import Agent, OnDoubt
from actonce.context import Context
from actonce.sim.cluster import Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Outcome, Scenario, Work, run_seed
from actonce.sim.world import SimWorld

from .planted import only

SEEDS = int(os.environ.get("PEOPLE_SEEDS", "1"))
CRASHES = only((0.2, 0.6), Mix(down_s=(0.1, 1.5)), Crash=2, Pause=1)


def payload(number: int) -> int:
    return number


def outcome(seed: int, rule: OnDoubt, *, window_s: float = 0.0) -> Outcome:
    def make_agent(world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", FeedSink(feed, world, can_lookup=False, dedupe_window_s=window_s))
        feed.delay_s = (0.01, 0.08)

        @agent.task("reply", on_doubt=rule)
        async def reply(ctx: Context, number: Any) -> Any:
            await anyio.sleep(world.rng.uniform(0.0, 0.05))
            return await ctx.post("room", number)

        return agent

    play = Scenario(seconds=4.0, tasks=50, mix=CRASHES, work=(Work("reply", payload),))
    return run_seed(seed, play, make_agent)


def test_what_nobody_knows_a_person_looks_up() -> None:
    sometimes: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        found = outcome(seed, "ask")
        assert found.violations == [], f"seed {seed}"
        assert found.doubled == 0, f"seed {seed}"
        sometimes.update(found.sometimes)
    assert sometimes["a person said posted"], sometimes


def test_what_is_refused_again_is_sent_again() -> None:
    sometimes: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        found = outcome(seed, "resend", window_s=math.inf)
        assert (found.violations, found.doubled) == ([], 0), f"seed {seed}"
        sometimes.update(found.sometimes)
    assert sometimes["doubts resent"], sometimes
