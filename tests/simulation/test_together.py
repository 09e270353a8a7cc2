"""What single rules promise must hold where they meet: guards and retries, guards and steps, delegation and waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from actonce.agent import Agent, GuardName
from actonce.context import Context
from actonce.majority import Majority
from actonce.ownership import Member, owner
from actonce.placement import Traits
from actonce.settings import LAN, Settings
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.plan import Burst, Crash, Mix, Partition, Plan
from actonce.sim.run import Run, Scenario, Work
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld
from actonce.task_locks import TaskLocks

from .mesh import run
from .planted import only

STEPS = ("read", "draft", "send")


class Guarded(Cluster):
    """Replicas of an agent with a guarded kind that fails until it is told not to, and a kind for delegation."""

    def __init__(
        self, names: str, guard: GuardName = "available", settings: Settings = LAN, roster: tuple[str, ...] = ()
    ) -> None:
        super().__init__(1, names, self._agent, settings, roster)
        self.guard, self.fails, self.kills = guard, True, 0

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin", locks="etcd://simulated")
        agent.sink("room", FeedSink(feed, world))

        @agent.task("tries", guard=self.guard, retries=0)
        async def tries(ctx: Context, payload: Any) -> str:
            await world.alive()
            if self.fails:
                raise ValueError("not yet")
            await anyio.sleep(0.2)
            await world.alive()
            await ctx.post("room", payload)
            return world.name

        @agent.task("thinks")
        async def thinks(ctx: Context, think_s: float) -> None:
            await world.alive()
            await anyio.sleep(think_s)
            await world.alive()

        @agent.task("kills")
        async def kills(ctx: Context, payload: Any) -> None:
            await world.alive()
            self.kills += 1
            world.kill()
            await world.alive()

        return agent

    async def form(self, names: str) -> None:
        for index, name in enumerate(names):
            self.start(name, new=index == 0)
        assert await self.whole(len(names))

    async def whole(self, size: int) -> bool:
        return await self.until(lambda: all(len(e.membership.view.members) == size for e in self.live()), 10.0)

    async def over(self, task: str, timeout_s: float = 30.0) -> bool:
        def known() -> bool:
            states = [engine.ledger.state.tasks.get(task) for engine in self.live()]
            return all(state is not None and state.done is not None for state in states)

        return await self.until(known, timeout_s)


def broken(cluster: Cluster) -> list[str]:
    return [violation for checker in (*SAFETY, *LIVENESS) for violation in checker(cluster)]


def first_of(task: str, names: str) -> str:
    first = owner(task, [Member(name, 1) for name in names], lambda member: True)
    assert first is not None
    return first.name


async def tried_again_by_another(guard: GuardName, timeout_s: float) -> bool:
    """A task fails on one replica, and its next owner is another one, while the first lives on."""
    roster = ("a", "b", "c") if guard == "majority" else ()
    cluster = Guarded("abcd", guard, roster=roster)
    key = next(f"k{n}" for n in range(1000) if first_of(f"tries/k{n}", "abcd") == "d")
    task = f"tries/{key}"
    await cluster.form("abc")
    cluster.submit("a", "tries", "hello", key)
    assert await cluster.over(task)
    assert cluster.feed.posts == []
    cluster.fails = False
    cluster.start("d")
    assert await cluster.whole(4)
    await asyncio.sleep(1.0)  # by now the lock service has been told as well
    cluster.engine("b").orders.retry(task, lambda word: None)
    if not await cluster.until(lambda: len(cluster.feed.posts) == 1, timeout_s):
        return False
    assert await cluster.over(task)
    assert cluster.feed.posts[0].replica == "d"
    await asyncio.sleep(1.0)
    assert broken(cluster) == []
    return True


@pytest.mark.parametrize("guard", ["available", "majority", "fenced"])
def test_a_guarded_task_that_failed_is_tried_again_by_another(guard: GuardName) -> None:
    assert run(tried_again_by_another, guard, 10.0)


def test_without_its_word_the_first_holder_keeps_a_reopened_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Majority, "_release_void", lambda self, task: None)
    assert not run(tried_again_by_another, "majority", 30.0)


def test_without_its_epoch_the_service_calls_a_reopened_task_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actonce.task_locks._is_void", lambda record, hold: False)
    assert not run(tried_again_by_another, "fenced", 30.0)


def test_what_was_done_after_a_retry_stays_done_at_the_service() -> None:
    """A retry voids the record of the attempt that failed, never that of a later one."""

    async def scenario(patch: Callable[[], None]) -> int:
        cluster = Guarded("ab", "fenced")
        key = next(f"k{n}" for n in range(1000) if first_of(f"tries/k{n}", "ab") == "a")
        task = f"tries/{key}"
        await cluster.form("ab")
        cluster.submit("a", "tries", "hello", key)
        assert await cluster.over(task)
        cluster.fails = False
        patch()
        await asyncio.sleep(1.0)
        read = cluster.engine("a").ledger.state.tasks
        cluster.engine("b").orders.retry(task, lambda word: None)
        assert await cluster.until(lambda: read[task].reopen is not None, 1.0)
        cluster.cut("a", "b")  # what a does now, b is not to hear of
        cluster.cut("b", "a")
        await asyncio.sleep(12.0)
        return sum(1 for _ in cluster.history.of("begin"))

    def forget() -> None:
        patch.setattr(TaskLocks, "_given_back", stale)

    given_back = TaskLocks._given_back

    def stale(self: TaskLocks, hold: Any, record: Any, revision: int, state: Any) -> Any:
        return replace(given_back(self, hold, record, revision, state), epoch=1)

    assert run(scenario, lambda: None) == 2
    with pytest.MonkeyPatch.context() as patch:
        assert run(scenario, forget) > 2


def stepwise(guard: GuardName) -> Callable[[SimWorld, Feed], Agent]:
    """Three steps, a post after each."""

    def make_agent(world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin", locks="etcd://simulated")
        agent.sink("room", FeedSink(feed, world))

        async def model(prompt: str) -> str:
            await world.alive()
            await anyio.sleep(world.rng.uniform(0.0, 0.4))
            await world.alive()
            return f"{prompt} by {world.name}"

        @agent.task("write", guard=guard)
        async def write(ctx: Context, payload: Any) -> Any:
            for name in STEPS:
                await ctx.post("room", await ctx.step(name, model, name))
            return payload

        return agent

    return make_agent


SIDES = Mix(partition_s=(1.0, 5.0))
STEPWISE = Scenario(
    seconds=8.0,
    tasks=40,
    work=(Work("write", lambda number: number),),
    mix=only((0.3, 1.2), SIDES, Partition=3, Crash=2, Pause=1),
)


CUT: Plan = (Burst(1.0, 40), Partition(1.3, ("c",), 5.0))


async def run_again(seed: int, plan: Plan | None) -> list[str]:
    """Steps that began after they were finished, or were finished by two, and whatever the checkers say."""
    course = Run(seed, STEPWISE, stepwise("majority"), plan)
    outcome = await course.outcome()
    finished: dict[tuple[object, object], tuple[int, float]] = {}
    ran: set[tuple[object, object, int]] = set()
    found = outcome.violations
    for event in course.cluster.history.events:
        if not event.what.startswith("step "):
            continue
        label = (event.facts[1], event.facts[3])
        first = finished.get(label)
        if event.what == "step ran":
            ran.add((*label, event.pid))
        elif event.what == "step begun" and first is not None:
            found.append(f"{label} began again at {event.at}: finished at {first[1]}")
        elif event.what == "step finished" and (*label, event.pid) in ran:
            if first is not None and first[0] != event.pid:
                found.append(f"{label} was finished again at {event.at}: first at {first[1]}")
            finished.setdefault(label, (event.pid, event.at))
    assert len({task for task, _ in finished}) >= 30
    return found


@pytest.mark.parametrize("seed", range(1, 7))
def test_under_majority_a_finished_step_is_never_run_again(seed: int) -> None:
    """Also not on the other side of a long partition: what was finished, whoever is granted the task has read."""
    assert run(run_again, seed, None) == []


def test_steps_that_a_majority_need_not_keep_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(run_again, 1, CUT) == []
    monkeypatch.setattr(Majority, "kept", lambda self, run, clock, others: True)
    assert any(" again at " in text for text in run(run_again, 1, CUT))


@pytest.mark.parametrize("seed", range(1, 4))
def test_steps_of_fenced_tasks(seed: int) -> None:
    async def steps() -> list[str]:
        plan: Plan = (Burst(1.0, 10), Partition(2.0, ("a",), 5.0), Crash(3.0, "b", 1.0), Burst(5.0, 10))
        return (await Run(seed, STEPWISE, stepwise("fenced"), plan).outcome()).violations

    assert run(steps) == []


def test_a_delegated_task_waits_for_what_it_comes_after() -> None:
    async def scenario() -> None:
        cluster = Guarded("abc", settings=replace(LAN, slots=2))
        cluster.nodes["a"].traits = Traits(weight=100)
        await cluster.form("abc")
        for number in range(12):
            cluster.submit("a", "thinks", 0.3, f"k{number}")
            after = [f"thinks/k{number}"]
            cluster.submit("a", "thinks", 0.3, f"then{number}", after=after, delay=0.5, priority=number % 2)
        submitted = cluster.loop.time()
        assert await cluster.until(lambda: all(not engine.claims.open for engine in cluster.live()), 30.0)
        ends = {event.facts[1]: event.at for event in cluster.history.of("end")}
        begins = {str(event.facts[1]): event for event in cluster.history.of("begin")}
        for number in range(12):
            begin = begins[f"thinks/then{number}"]
            assert begin.at >= ends[f"thinks/k{number}"]
            assert begin.at >= submitted + 0.5
        ran = Counter(str(begin.facts[0]) for task, begin in begins.items() if "then" in task)
        assert ran["b"] + ran["c"] > 0, f"none was delegated: {ran}"
        assert broken(cluster) == []

    run(scenario)


def test_the_death_of_a_delegate_counts_and_what_kills_is_not_handed_round() -> None:
    async def scenario() -> None:
        cluster = Guarded("abc", settings=replace(LAN, slots=1))
        cluster.nodes["a"].traits = Traits(weight=100)
        await cluster.form("abc")
        cluster.submit("a", "thinks", 4.0, "long")
        await cluster.until(lambda: bool(cluster.history.of("begin")), 1.0)
        cluster.submit("a", "kills", None, "k")
        assert await cluster.until(lambda: cluster.kills == 1, 2.0)
        assert cluster.engine("a") in cluster.live(), "it ran on a delegate"
        state = cluster.engine("a").ledger.state.tasks["kills/k"]
        claim = state.claim
        assert claim is not None
        assert claim.holder
        await asyncio.sleep(2.0)
        state = cluster.engine("a").ledger.state.tasks["kills/k"]
        assert cluster.kills == 1, "it was handed to the next one"
        assert state.done is None
        assert cluster.engine("a").poison.deaths(state) == 1

    run(scenario)
