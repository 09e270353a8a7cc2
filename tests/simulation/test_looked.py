"""Open tasks that are not looked at when something about the replicas has changed: a look would have done nothing.

LOOKED_SEEDS in the environment runs more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from actonce.agent import Agent
from actonce.claims import Claims
from actonce.context import Context
from actonce.looked import Looked
from actonce.sim.cluster import Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work, run_seed
from actonce.sim.world import SimWorld

SEEDS = int(os.environ.get("LOOKED_SEEDS", "2"))
WORK = (Work("post", lambda number: {"n": number}),)
SCENARIO = Scenario(replicas=(3, 5), seconds=8.0, tasks=30, mix=Mix(between_s=(0.2, 1.0)), work=WORK, cancels=0.1)


def agent(world: SimWorld, feed: Feed) -> Agent:
    made = Agent("kevin")
    made.sink("room", FeedSink(feed, world))

    @made.task("post")
    async def post(ctx: Context, payload: Any) -> None:
        await ctx.spawn("later", payload, delay=payload["n"] % 3, priority=payload["n"] % 3)
        await ctx.post("room", payload)

    @made.task("later")
    async def later(ctx: Context, payload: Any) -> None:
        await anyio.sleep(0.3)

    return made


class Audit:
    """Looks at each task that would not have been looked at, and whether that changes anything."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        pump = Claims.pump

        def audited(claims: Claims) -> None:
            if claims._seen_version != claims._membership.version:
                self.check(claims)
            pump(claims)

        patch.setattr(Claims, "pump", audited)

    def check(self, claims: Claims) -> None:
        states = claims._ledger.state.tasks
        stale = set(claims._looked.stale(claims.open, claims._world.wall() * 1000))
        skipped = [task for task in claims.open if task not in stale]
        self.counts["looked at"] += len(stale)
        self.counts["skipped"] += len(skipped)
        before = facts(claims)
        for task in skipped:
            claims._look(task, states[task])
        if facts(claims) != before:
            self.wrong.append(f"{claims._membership.me.name}: one of {skipped}")


def facts(claims: Claims) -> tuple[Any, ...]:
    """All that a look can change."""
    ready, executor = claims._ready, claims._executor
    own: tuple[Mapping[str, Any], ...] = (
        *(claims.open, claims._delegated, claims._granted, claims._given_up, claims._barred, claims._apart),
    )
    runs = {task: run.revoked for task, run in executor.running.items()}
    runs_not = (list(executor._retries), list(executor._due))
    timed = sorted(ready._timers), dict(ready._far)
    waiting = (list(ready._ready.items()), timed, [(on, list(who)) for on, who in ready._on.items()])
    return [dict(one) for one in own], runs, runs_not, waiting, claims._ledger.next_clock


def test_a_look_would_have_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    audit = Audit(monkeypatch)
    for seed in range(1, SEEDS + 1):
        run_seed(seed, SCENARIO, agent)
        assert audit.wrong == [], f"seed {seed}"
    assert min(audit.counts["skipped"], audit.counts["looked at"]) > 100


def blind_to_replicas(patch: pytest.MonkeyPatch) -> None:
    """Whoever comes or goes, what was found counts."""
    patch.setattr(Looked, "_who", lambda self: None)


def blind_to_time(patch: pytest.MonkeyPatch) -> None:
    """What once had to wait is not looked at before its timer, whatever the clock was set to."""
    stale = Looked.stale
    patch.setattr(Looked, "stale", lambda self, tasks, wall_ms: stale(self, tasks, self._last_ms))


def blind_to_what_was_between(patch: pytest.MonkeyPatch) -> None:
    """What was found while others were there counts again once the replicas are as they were before."""
    found = Looked.sorted

    def sorted_(self: Looked, task: str, since_ms: int) -> None:
        self._version = self._membership.version
        found(self, task, since_ms)

    patch.setattr(Looked, "sorted", sorted_)


def blind_to_what_was_taken(patch: pytest.MonkeyPatch) -> None:
    """A ready task that was taken from its place and could not begin is left alone."""
    patch.setattr(Looked, "loosen", lambda self, task: None)


PLANTED = ((blind_to_replicas, 3), (blind_to_time, 1), (blind_to_what_was_between, 4), (blind_to_what_was_taken, 1))


@pytest.mark.parametrize(("plant", "seed"), PLANTED)
def test_planted(plant: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    audit = Audit(monkeypatch)
    run_seed(seed, SCENARIO, agent)
    assert audit.wrong != []
