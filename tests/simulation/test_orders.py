"""Tasks that kill their process, are called off, wait for a time or for others, ask for further tasks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.executor import Executor
from actonce.poison import DEATHS_MAX, Poison
from actonce.settings import LAN, Settings
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work, run_seed
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld
from actonce_crdt import unpack_value

from .mesh import dice, run
from .planted import only

BACK_S = 0.3
"""A killed process is started again after this long."""
UNHEARD = 1
"""Deaths that may go uncounted: of the first process, which may die before anybody heard of its claim."""


class Office(Cluster):
    """Replicas of an agent with a kind of task for each scenario. Killed processes come back."""

    def __init__(self, seed: int, names: str, settings: Settings = LAN) -> None:
        super().__init__(seed, names, self._agent, settings)
        self.suicides: list[str] = []

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", FeedSink(feed, world))

        @agent.task("kills")
        async def kills(ctx: Context, after_s: float) -> None:
            await world.alive()
            if after_s:
                await anyio.sleep(after_s)
                await world.alive()
            self.suicides.append(ctx.task)
            world.kill()
            self.loop.call_later(BACK_S, lambda: self.start(world.name))
            await world.alive()

        @agent.task("works")
        async def works(ctx: Context, work_s: float) -> str:
            await world.alive()
            for _ in range(5):
                await anyio.sleep(work_s / 5)
                await world.alive()
                await ctx.post("room", "working")
            return "worked"

        @agent.task("thinks")
        async def thinks(ctx: Context, think_s: float) -> str:
            await world.alive()
            await anyio.sleep(think_s)
            await world.alive()
            return "thought"

        @agent.task("sums")
        async def sums(ctx: Context, depth: int) -> int:
            await world.alive()
            if not depth:
                return 1
            children = [await ctx.spawn("sums", depth - 1) for _ in range(2)]
            found = await ctx.gather(*children)
            await world.alive()
            await ctx.post("room", found)
            return sum(int(str(value)) for value in found)

        return agent

    async def form(self) -> None:
        for index, name in enumerate(self.nodes):
            self.start(name, new=index == 0)
        size = len(self.nodes)
        assert await self.until(lambda: all(len(e.membership.view.members) == size for e in self.live()), 10.0)

    async def done(self, timeout_s: float = 120.0) -> bool:
        def all_done() -> bool:
            whole = len(self.live()) == len(self.nodes)
            return whole and all(not engine.claims.open for engine in self.live()) and self.converged()

        return await self.until(all_done, timeout_s)

    def outcome(self, task: str) -> tuple[str, Any]:
        """How a task ended, and with what."""
        done = self.live()[0].ledger.state.tasks[task].done
        assert done is not None
        return ("done" if done.ok else done.how or "failed"), unpack_value(done.result)

    def begun_at(self, task: str) -> float:
        return next(event.at for event in self.history.of("begin") if event.facts[1] == task)


def broken(cluster: Cluster) -> list[str]:
    return [violation for checker in (*SAFETY, *LIVENESS) for violation in checker(cluster)]


async def poisoned(seed: int, names: str, after_s: float, innocents: int) -> Office:
    """One task that kills whoever runs it, among others that do not."""
    cluster = Office(seed, names)
    await cluster.form()
    for number in range(innocents):
        cluster.submit(names[number % len(names)], "thinks", 1.5, f"i{number}")
    assert await cluster.until(lambda: len(cluster.acknowledged) == innocents, 1.0)
    while "kills/k" not in cluster.acknowledged:
        for name in names:
            cluster.submit(name, "kills", after_s, "k")
            await cluster.until(lambda: "kills/k" in cluster.acknowledged, 0.1)
    assert await cluster.done(), [list(engine.notes)[-5:] for engine in cluster.live()]
    return cluster


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcde"])
@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_a_task_that_kills_its_process_is_set_aside(seed: int, after_s: float, names: str) -> None:
    cluster = run(poisoned, seed, names, after_s, 6)
    assert cluster.outcome("kills/k") == ("aside", f"set aside: it ended its process {DEATHS_MAX} times")
    assert DEATHS_MAX <= len(cluster.suicides) <= DEATHS_MAX + UNHEARD
    for number in range(6):
        assert cluster.outcome(f"thinks/i{number}") == ("done", "thought"), "an innocent task was given up"
    assert broken(cluster) == []


def test_processes_that_leave_in_good_order_are_no_deaths() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc", Settings(drain_s=0.2))
        await cluster.form()
        cluster.submit("a", "thinks", 9.0, "k")
        for round_ in range(2 * DEATHS_MAX):
            await asyncio.sleep(1.0)
            claim = cluster.live()[0].ledger.state.tasks["thinks/k"].claim
            assert claim is not None
            await cluster.leave(claim.author)
            await asyncio.sleep(BACK_S)
            cluster.start(claim.author)
            assert await cluster.until(lambda: all(e.membership.settled for e in cluster.live()), 5.0), round_
        assert await cluster.done()
        assert cluster.outcome("thinks/k") == ("done", "thought")
        assert cluster.live()[0].ledger.state.tasks["thinks/k"].deaths == 0

    run(scenario)


def test_a_task_that_gets_on_is_not_set_aside_whatever_dies() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        cluster.submit("a", "works", 10.0, "k")
        for _ in range(4):
            posts = len(cluster.feed.posts)
            assert await cluster.until(lambda posts=posts: len(cluster.feed.posts) > posts, 9.0)  # type: ignore[misc]
            claim = cluster.live()[0].ledger.state.tasks["works/k"].claim
            assert claim is not None
            cluster.kill(claim.author)
            await asyncio.sleep(BACK_S)
            cluster.start(claim.author)
        assert await cluster.done()
        assert cluster.outcome("works/k") == ("done", "worked")

    run(scenario)


def test_what_was_set_aside_can_be_tried_again_and_dropped() -> None:
    async def scenario() -> None:
        cluster = await poisoned(2, "abc", 0.1, 0)
        before = len(cluster.suicides)
        answers: list[str] = []
        cluster.live()[0].orders.retry("kills/k", answers.append)
        await asyncio.sleep(0.1)
        assert await cluster.done()
        assert answers == ["retried"]
        assert len(cluster.suicides) == before + DEATHS_MAX, "now every death is counted"
        assert cluster.outcome("kills/k")[0] == "aside"
        cluster.live()[1].orders.drop("kills/k", answers.append)
        assert await cluster.until(lambda: len(answers) == 2, 5.0)
        assert await cluster.done()
        assert cluster.outcome("kills/k")[0] == "dropped"

    run(scenario)


async def cancelled(seed: int) -> Office:
    """Ten tasks of five posts each; every other one is cancelled, at any replica and at any time."""
    cluster, random = Office(seed, "abc"), dice(seed, "cancel")
    await cluster.form()
    for number in range(10):
        cluster.submit(random.choice("abc"), "works", 1.0, f"k{number}")
    for number in range(0, 10, 2):
        await asyncio.sleep(random.uniform(0.0, 0.3))
        cluster.cancel(random.choice("abc"), f"works/k{number}")
    assert await cluster.done()
    return cluster


@pytest.mark.parametrize("seed", range(10))
def test_a_cancelled_task_ends_and_posts_no_more(seed: int) -> None:
    cluster = run(cancelled, seed)
    assert broken(cluster) == []
    for number in range(1, 10, 2):
        assert cluster.outcome(f"works/k{number}") == ("done", "worked")
    called_off = [cluster.outcome(f"works/k{number}") for number in range(0, 10, 2)]
    assert set(called_off) <= {("cancelled", "it was cancelled"), ("done", "worked")}
    assert ("cancelled", "it was cancelled") in called_off


MIXED = Scenario(
    replicas=(2, 5),
    seconds=12.0,
    tasks=60,
    cancels=0.3,
    work=(Work("works", lambda number: 0.5), Work("sums", lambda number: number % 3)),
)


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    return Office._agent(Office.__new__(Office), world, feed)


@pytest.mark.parametrize("seed", range(1, 9))
def test_cancellations_and_children_on_bad_days(seed: int) -> None:
    outcome = run_seed(seed, MIXED, make_agent)
    assert outcome.violations == [], outcome.plan
    assert outcome.sometimes["cancelled"] > 0


def test_a_task_begins_when_its_time_has_come_and_after_those_that_it_waits_for() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        wall_s = cluster.engine("a").world.wall()
        at = cluster.loop.time()
        cluster.submit("a", "works", 1.0, "first")
        cluster.submit("b", "works", 0.1, "second", after=["works/first"])
        cluster.submit("c", "works", 0.1, "third", after=["works/second", "works/first"], priority=9)
        cluster.submit("c", "works", 0.1, "late", not_before=wall_s + 5.0)
        cluster.submit("c", "works", 0.1, "orphan", after=["works/nobody"])
        await cluster.until(lambda: len(cluster.acknowledged) == 5, 2.0)
        await cluster.until(lambda: all(set(e.claims.open) == {"works/orphan"} for e in cluster.live()), 20.0)
        times = [cluster.begun_at(f"works/{name}") - at for name in ("first", "second", "third", "late")]
        assert times[0] < 0.1
        assert times[1] >= 1.0
        assert times[2] >= times[1] + 0.1
        assert 5.0 <= times[3] < 5.2
        cluster.submit("a", "works", 0.1, "nobody")
        assert await cluster.done()
        assert cluster.outcome("works/orphan") == ("done", "worked")

    run(scenario)


def test_a_task_fails_with_what_it_waits_for() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        cluster.submit("a", "works", 9.0, "first")
        cluster.submit("b", "works", 0.1, "second", after=["works/first"])
        cluster.submit("c", "works", 0.1, "third", after=["works/second"])
        await cluster.until(lambda: len(cluster.acknowledged) == 3, 2.0)
        cluster.cancel("b", "works/first")
        assert await cluster.done()
        assert cluster.outcome("works/second") == ("failed", "works/first, which it comes after, failed")
        assert cluster.outcome("works/third") == ("failed", "works/second, which it comes after, failed")

    run(scenario)


def test_the_highest_priority_goes_first() -> None:
    async def scenario() -> None:
        cluster = Office(1, "a", Settings(slots=1))
        await cluster.form()
        cluster.submit("a", "works", 0.5, "first")
        await asyncio.sleep(0.1)
        for number, priority in enumerate([0, -5, 7, 0, 7]):
            cluster.submit("a", "works", 0.1, f"k{number}", priority=priority)
        assert await cluster.done()
        order = sorted(range(5), key=lambda number: cluster.begun_at(f"works/k{number}"))
        assert order == [2, 4, 0, 3, 1]

    run(scenario)


@pytest.mark.parametrize("slots", [1, 2, 32])
@pytest.mark.parametrize("names", ["a", "abc"])
def test_parents_that_wait_leave_their_slots_to_their_children(names: str, slots: int) -> None:
    async def scenario() -> None:
        cluster = Office(1, names, Settings(slots=slots))
        await cluster.form()
        cluster.submit("a", "sums", 4, "k")
        assert await cluster.done()
        assert cluster.outcome("sums/k") == ("done", 16)
        assert len(cluster.live()[0].ledger.state.tasks) == 31
        assert broken(cluster) == []

    run(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_a_parent_that_runs_again_has_the_same_children(seed: int) -> None:
    async def scenario() -> None:
        cluster = Office(seed, "abc")
        await cluster.form()
        cluster.submit("a", "sums", 5, "k")
        for _ in range(3):
            await asyncio.sleep(dice(seed, "kill").uniform(0.01, 0.05))
            victim = dice(seed, "victim").choice("abc")
            cluster.kill(victim)
            await asyncio.sleep(BACK_S)
            cluster.start(victim)
        assert await cluster.done()
        assert cluster.outcome("sums/k") == ("done", 32)
        assert len(cluster.live()[0].ledger.state.tasks) == 63
        assert broken(cluster) == []

    run(scenario)


# Planted bugs


def attempt_not_replicated(patch: pytest.MonkeyPatch) -> None:
    """Every handler starts before anybody knows of its claim."""
    patch.setattr(Poison, "is_suspect", lambda self, task: False)


def death_not_counted(patch: pytest.MonkeyPatch) -> None:
    """Attempts are counted by their recorded failures alone."""
    patch.setattr(Poison, "_died", lambda self, member: False)


def deaths_of_the_innocent(patch: pytest.MonkeyPatch) -> None:
    """Tasks that saw processes die run together, again and again."""
    patch.setattr(Executor, "must_wait", lambda self, state: False)


@pytest.mark.parametrize("fault", [attempt_not_replicated, death_not_counted], ids=lambda fault: fault.__name__)
def test_a_poison_task_goes_round_for_ever_without_the_rule(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)

    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        for name in "abc":
            cluster.submit(name, "kills", 0.0, "k")
        await cluster.until(lambda: len(cluster.suicides) > DEATHS_MAX + UNHEARD, 60.0)
        assert len(cluster.suicides) > DEATHS_MAX + UNHEARD

    run(scenario)


def test_the_innocent_are_given_up_without_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths_of_the_innocent(monkeypatch)

    async def scenario() -> None:
        cluster = Office(1, "a")
        await cluster.form()
        for number in range(6):
            cluster.submit("a", "thinks", 1.5, f"i{number}")
        cluster.submit("a", "kills", 0.5, "k")
        assert await cluster.done()
        assert "aside" in {cluster.outcome(f"thinks/i{number}")[0] for number in range(6)}

    run(scenario)


def cancelled_effects_leave(patch: pytest.MonkeyPatch) -> None:
    """A cancelled task has its outcome, and its handler goes on."""
    patch.setattr(Executor, "revoke", lambda self, task: None)


def test_a_cancelled_effect_that_leaves_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled_effects_leave(monkeypatch)
    found = (text for seed in range(2) for text in broken(run(cancelled, seed)))
    assert any(re.search("left .* after .* had read that it was cancelled", text) for text in found)


CRASHES = Scenario(seconds=6.0, tasks=10, mix=only((0.1, 0.4), Mix(down_s=(0.0, 0.3)), Crash=1), work=MIXED.work)


@pytest.mark.parametrize("seed", range(1, 5))
def test_crashes_of_others_do_not_set_tasks_aside_for_ever(seed: int) -> None:
    """Many crashes may give up a long task; whatever happens, every task has an outcome."""
    assert run_seed(seed, CRASHES, make_agent).violations == []
