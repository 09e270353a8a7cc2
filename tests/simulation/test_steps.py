"""Steps: a finished one never runs again, whoever dies; a handler goes on after the last one."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from actonce.agent import Agent
from actonce.context import Context, SyncContext
from actonce.outbox import Outbox
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work, run_seed
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld
from actonce.stepping import Stepping
from actonce_crdt import Json

from .mesh import run
from .planted import only

STEPS = ["read", "plan", "draft", "check", "send"]
MODEL_S = 0.05
"""How long a call of the model takes."""


def stepwise_agent(world: SimWorld, feed: Feed) -> Agent:
    """Calls a model in each of its steps, two of them at once, and posts after each."""
    agent = Agent("kevin")
    agent.sink("room", FeedSink(feed, world))

    async def model(prompt: str) -> str:
        await world.alive()
        await anyio.sleep(world.rng.uniform(0.0, 2 * MODEL_S))
        await world.alive()
        return f"{prompt} by {world.name}"

    @agent.task("write")
    async def write(ctx: Context, payload: Any) -> Any:
        said: list[Json] = []
        for name in STEPS[:3]:
            said.append(await ctx.step(name, model, name))
            await world.alive()
            await ctx.post("room", said[-1])
        said += await asyncio.gather(*(ctx.step(name, model, name) for name in STEPS[3:]))
        await world.alive()
        await ctx.post("room", said)
        return said

    @agent.task("plain")
    def plain(ctx: SyncContext, payload: Any) -> Any:
        return [ctx.step(name, str.upper, name) for name in STEPS]

    return agent


def broken(cluster: Cluster) -> list[str]:
    return [violation for checker in (*SAFETY, *LIVENESS) for violation in checker(cluster)]


class Writers(Cluster):
    """Replicas of the agent above."""

    async def form(self) -> None:
        for index, name in enumerate(self.nodes):
            self.start(name, new=index == 0)
        size = len(self.nodes)
        assert await self.until(lambda: all(len(e.membership.view.members) == size for e in self.live()), 10.0)

    async def done(self) -> bool:
        return await self.until(
            lambda: all(not engine.claims.open for engine in self.live()) and self.converged(), 60.0
        )

    def count(self, what: str) -> Counter[str]:  # type: ignore[override]
        """By label: how often that was seen of a step."""
        return Counter(str(event.facts[3]) for event in self.history.of(what))


async def killed_after_each_step(seed: int, names: str) -> Writers:
    """Whoever finishes a step is killed at that moment, and comes back a second later."""
    cluster, killed = Writers(seed, names, stepwise_agent), set[str]()
    await cluster.form()
    cluster.submit(names[0], "write", None, "k")
    watched = 0
    while len(killed) < len(STEPS) and cluster.loop.time() < 60.0:
        await asyncio.sleep(0)
        events = [event for event in cluster.history.events[watched:] if event.what == "step finished"]
        watched = len(cluster.history.events)
        for event in events:
            if event.facts[3] not in killed:
                killed.add(str(event.facts[3]))
                name = str(event.facts[0])
                cluster.kill(name)
                cluster.loop.call_later(1.0, partial(cluster.start, name))
                break
        if not events:
            await asyncio.sleep(0.001)
    assert killed == set(STEPS)
    await asyncio.sleep(1.5)
    assert await cluster.done()
    return cluster


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
@pytest.mark.parametrize("seed", range(5))
def test_killed_after_each_step_no_finished_step_runs_again(seed: int, names: str) -> None:
    cluster = run(killed_after_each_step, seed, names)
    assert broken(cluster) == []
    begun = cluster.count("step begun")
    assert {name: begun[name] for name in STEPS[:3]} == dict.fromkeys(STEPS[:3], 1), (seed, begun)
    # The last two run at once: the one that was under way when the other was finished is cut off, and runs again.
    assert all(1 <= begun[name] <= 2 for name in STEPS[3:])
    assert sorted(cluster.feed.keys()) == [f"write/k/#{n}" for n in range(1, 5)]


CRASHES = Scenario(
    replicas=(2, 4),
    seconds=8.0,
    tasks=40,
    mix=only((0.1, 0.6), Mix(down_s=(0.0, 1.0)), Crash=3, SlowDisk=1, DropLink=1),
    delay_s=(0.001, 0.05),
    work=(Work("write", lambda number: None), Work("plain", lambda number: None)),
)
MIXED = Scenario(replicas=(3, 5), seconds=15.0, tasks=40, work=CRASHES.work)


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("scenario", [CRASHES, MIXED], ids=["crashes", "mixed"])
def test_steps_on_bad_days(scenario: Scenario, seed: int) -> None:
    outcome = run_seed(seed, scenario, stepwise_agent)
    assert outcome.violations == [], outcome.plan


def recorded_before_it_ran(patch: pytest.MonkeyPatch) -> None:
    """The step is remembered when it begins, so that a crash leaves a result that nobody computed."""
    known = Stepping.known

    async def hasty(self: Stepping, label: str, before: str) -> Any:
        found = await known(self, label, before)
        if found is None:
            await self.desk.wait(lambda reply: self.desk.steps.finish(self.run, label, before, b"\xc0", reply))
        return found

    patch.setattr(Stepping, "known", hasty)


def not_acknowledged(patch: pytest.MonkeyPatch) -> None:
    """A step counts as finished at once."""
    patch.setattr(Outbox, "when_safe", lambda self, run, reply: reply())


def on_own_disk_only(patch: pytest.MonkeyPatch) -> None:
    """A step counts as finished when it is on the disk here: no other replica need know of it."""
    patch.setattr(Outbox, "when_safe", lambda self, run, reply: self._ledger.when_durable(reply))


@pytest.mark.parametrize(
    ("fault", "seeds", "says"),
    [
        (recorded_before_it_ran, 2, "where it never ran"),
        (not_acknowledged, 3, "step '.*' began on"),
        (on_own_disk_only, 9, "step '.*' began on"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], seeds: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    found = (text for seed in range(1, seeds + 1) for text in run_seed(seed, CRASHES, stepwise_agent).violations)
    assert any(re.search(says, text) for text in found), f"{fault.__name__} was not found in {seeds} seeds"
