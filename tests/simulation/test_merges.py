"""Conflicts that the agent has a function for: merged once, by one replica, and nothing that was written is lost.

MERGES_SEEDS in the environment runs more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from actonce import Agent, Conflict, Context, memory_report, resolving
from actonce.context import SyncContext
from actonce.memory import Put, pack_memory
from actonce.merges import Dispute, Merges
from actonce.recall import Recall
from actonce.sim import run as sim_run
from actonce.sim.cluster import Cluster, Feed, simulate
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work, run_seed
from actonce.sim.work_checkers import LIVENESS
from actonce.sim.world import SimWorld
from actonce_crdt import Cell, CellState, Done, State, place, unpack_value

from .planted import only

SEEDS = int(os.environ.get("MERGES_SEEDS", "2"))
PLACE = place("r", "tags/x")


class Merging:
    """The agent of all replicas of one run, and what its merge was shown."""

    def __init__(self, work_s: float = 0.05) -> None:
        self.work_s = work_s
        self.shown: list[tuple[str, str, list[Any]]] = []

    def agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")

        @agent.merge("tags/*", name="tags")
        async def union(ctx: Context, conflict: Conflict) -> Any:
            self.shown.append((world.name, ctx.task, [one.value for one in conflict.values]))
            await world.alive()
            await anyio.sleep(self.work_s)
            await world.alive()
            values: list[Any] = [one.value for one in conflict.values]
            return sorted({tag for value in values for tag in value})

        @agent.task("note", retries=5)
        async def note(ctx: Context, payload: Any) -> None:
            await world.alive()
            tags = ctx.memory.get("tags/x", [])
            await anyio.sleep(world.rng.uniform(0.0, 0.1))
            await world.alive()
            ctx.memory["tags/x"] = sorted([*tags, ctx.task])

        return agent


def written(state: State) -> set[str]:
    """Tasks that ran to their end on some side."""
    found = [one for task in state.tasks if task.startswith("note/") for one in state.history(task)]
    return {one.key for one in found if isinstance(one, Done) and one.ok}


def all_are_merged(cluster: Cluster) -> list[str]:
    """Checker: at the end, on every live replica."""
    wrong = []
    for engine in cluster.live():
        state = engine.ledger.state
        cells = state.cells.get(PLACE, CellState()).values(0)
        read = set(unpack_value(cells[0].value)) if cells else set()
        if len(cells) > 1:
            wrong.append(f"memory on {engine.me.name}: {len(cells)} values are still in conflict")
        if read != written(state):
            wrong.append(f"memory on {engine.me.name}: {sorted(written(state) - read)} were written and are lost")
        for task in state.tasks:
            outcomes = [one for one in state.history(task) if isinstance(one, Done) and not one.ok]
            wrong += [f"{task} on {engine.me.name}: {unpack_value(one.result)}" for one in outcomes]
    return wrong


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = sim_run.Run._finished

    def merged(run: sim_run.Run) -> bool:
        places = [engine.ledger.state.cells.get(PLACE, CellState()) for engine in run.cluster.live()]
        return finished(run) and all(len(cell.values(0)) <= 1 for cell in places)

    monkeypatch.setattr(sim_run.Run, "_finished", merged)
    monkeypatch.setattr(sim_run, "LIVENESS", (*LIVENESS, all_are_merged))


WORK = (Work("note", lambda number: None),)
SPLITS = Scenario(replicas=(3, 5), seconds=10.0, tasks=25, mix=only((0.5, 4.0), Partition=3, Crash=1), work=WORK)
CRASHES = Scenario(
    replicas=(3, 3), seconds=6.0, tasks=30, mix=only((0.1, 0.8), Mix(down_s=(0.0, 1.0)), Crash=3, DropLink=1), work=WORK
)


@pytest.mark.parametrize("scenario", [SPLITS, CRASHES], ids=["splits", "crashes"])
def test_whatever_is_cut_or_crashes_all_that_was_written_is_merged(scenario: Scenario) -> None:
    made = Merging()
    for seed in range(1, SEEDS + 1):
        outcome = run_seed(seed, scenario, made.agent)
        assert outcome.violations == [], f"seed {seed}: {outcome.plan}"
    assert made.shown


# One conflict, step by step


async def formed(made: Merging, names: str = "abc", seed: int = 1) -> Cluster:
    cluster = Cluster(seed, names, made.agent)
    for index, name in enumerate(names):
        cluster.start(name, new=index == 0)
    size = len(names)
    assert await cluster.until(lambda: all(len(one.membership.view.members) == size for one in cluster.live()), 10)
    return cluster


def write(cluster: Cluster, name: str, tags: Any, field: str = "") -> None:
    """As a person does, at this replica, over what it knows."""
    memory = cluster.engine(name).memory
    key = place("m" if field else "r", "tags/x", field)
    seen = memory.cells.get(key, CellState()).context()
    memory.write([Put("m" if field else "r", "tags/x", field, pack_memory(tags), seen)], "")


def values(cluster: Cluster) -> list[Any]:
    """What is read under the name on each live replica; equal ones once."""
    found: list[Any] = []
    for engine in cluster.live():
        recalled = memory_report.recall(engine.ledger.state, "tags/x", 0)
        value = recalled["value"] if recalled is not None and not recalled["conflicts"] else "conflict"
        found += [value] if value not in found else []
    return found


def two_cut_off_writers(seed: int = 1, field: str = "") -> tuple[Merging, list[Any]]:
    made = Merging()

    async def scenario() -> list[Any]:
        cluster = await formed(made, seed=seed)
        write(cluster, "a", ["old"], field)
        await cluster.until(cluster.converged, 5)
        for other in "ab":
            cluster.cut("c", other)
            cluster.cut(other, "c")
        await anyio.sleep(6.0)
        write(cluster, "a", ["left"], field)
        write(cluster, "c", ["right"], field)
        await anyio.sleep(2.0)
        assert made.shown == []
        for other in "ab":
            cluster.uncut("c", other)
            cluster.uncut(other, "c")
        merged = [{field: ["left", "right"]}] if field else [["left", "right"]]
        await cluster.until(lambda: values(cluster) == merged, 20)
        await anyio.sleep(3.0)
        return values(cluster)

    return made, simulate(scenario)


@pytest.mark.parametrize("field", ["", "f"], ids=["register", "field of a map"])
def test_two_cut_off_writers_are_merged_once_and_all_read_it(field: str) -> None:
    made, read = two_cut_off_writers(field=field)
    assert read == ([{"f": ["left", "right"]}] if field else [["left", "right"]])
    assert [sorted(shown) for _, _, shown in made.shown] == [[["left"], ["right"]]]


def third_write_during_the_merge() -> tuple[Merging, list[Any]]:
    made = Merging(work_s=1.0)

    async def scenario() -> list[Any]:
        cluster = await formed(made)
        write(cluster, "a", ["one"])
        write(cluster, "b", ["two"])  # in one turn: neither has seen the other
        await cluster.until(lambda: bool(made.shown), 10)
        await anyio.sleep(0.3)
        memory = cluster.engine("c").memory
        one = next(cell for cell in memory.cells[PLACE].live if unpack_value(cell.value) == ["one"])
        memory.write([Put("r", "tags/x", "", pack_memory(["three"]), ((one.author, one.stamp),))], "")
        await cluster.until(lambda: len(made.shown) > 1, 10)
        await cluster.until(lambda: values(cluster) == [["one", "three", "two"]], 10)
        return values(cluster)

    return made, simulate(scenario)


def test_what_is_written_during_a_merge_is_the_next_conflict() -> None:
    made, read = third_write_during_the_merge()
    assert [sorted(shown) for _, _, shown in made.shown] == [[["one"], ["two"]], [["one", "two"], ["three"]]]
    assert read == [["one", "three", "two"]]


def test_whoever_takes_the_merge_over_sees_the_same_and_it_counts_once() -> None:
    made = Merging(work_s=1.0)

    async def scenario() -> list[Any]:
        cluster = await formed(made)
        write(cluster, "a", ["one"])
        write(cluster, "b", ["two"])
        await cluster.until(lambda: bool(made.shown), 10)
        await anyio.sleep(0.3)
        cluster.kill(made.shown[0][0])
        await cluster.until(lambda: values(cluster) == [["one", "two"]], 20)
        return values(cluster)

    assert simulate(scenario) == [["one", "two"]]
    (first, task, shown), (second, again, seen) = made.shown
    assert (first != second, task, shown) == (True, again, seen)


def test_a_plain_function_may_merge_and_one_that_fails_leaves_the_conflict() -> None:
    def make_agent(world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")

        @agent.merge("tags/*", retries=1)
        def longest(ctx: SyncContext, conflict: Conflict) -> Any:
            if conflict.field == "bad":
                raise ValueError("no")
            return max((str(one.value) for one in conflict.values), key=len)

        return agent

    made = Merging()
    made.agent = make_agent  # type: ignore[method-assign]

    async def scenario() -> None:
        cluster = await formed(made, "ab")
        for field in ("bad", "good"):
            write(cluster, "a", ["x"], field)
            write(cluster, "b", ["xyz"], field)
        state = cluster.engine("a").ledger.state
        await cluster.until(lambda: sum(task.done is not None for task in state.tasks.values()) == 2, 30)
        assert sorted((key.partition("/")[0], task.done.ok) for key, task in state.tasks.items() if task.done) == [
            ("merge:longest", False),
            ("merge:longest", True),
        ]
        recalled = memory_report.recall(state, "tags/x", 0)
        assert recalled is not None
        assert recalled["value"]["good"] == "['xyz']"
        assert [clash["member"] for clash in recalled["conflicts"]] == ["bad"]

    simulate(scenario)


def replaces_all(patch: pytest.MonkeyPatch) -> None:
    """The merged value replaces whatever is there when it is written."""
    from actonce.memory import Memory

    record = Memory._record

    def greedy(self: Memory, put: Any, task: str) -> Any:
        made = record(self, put, task)
        merged = task.startswith("merge:")
        seen = self.cells.get(made.key, CellState()).context()
        return replace(made, seen=seen) if merged and isinstance(made, Cell) else made

    patch.setattr(Memory, "_record", greedy)


def read_is_seen(patch: pytest.MonkeyPatch) -> None:
    """A handler that reads one of the values in conflict, and writes, replaces all of them."""
    init = Recall.__init__
    patch.setattr(Recall, "__init__", lambda self, memory, run, wall, merges: init(self, memory, run, wall, None))


def replaces_nothing(patch: pytest.MonkeyPatch) -> None:
    """The merged value stands beside what it was made of."""
    patch.setattr(resolving, "seen_by", lambda dispute: ())


def merged_by_all(patch: pytest.MonkeyPatch) -> None:
    """Each replica merges for itself."""
    task, begin = Dispute.task, Merges._is_over

    def own(self: Merges, where: str) -> bool:
        name = self._membership.me.name
        patch.setattr(Dispute, "task", lambda dispute, merge: f"{task(dispute, merge)}@{name}")
        patch.setattr("actonce.merges.owner", lambda *args: self._membership.me)
        return begin(self, where)

    patch.setattr(Merges, "_is_over", own)
    patch.setattr(Merges, "_follow", lambda self, task, at: None)


def test_planted_replaced_by_all_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    replaces_all(monkeypatch)
    made, read = third_write_during_the_merge()
    assert read == [["one", "two"]]  # "three" is lost
    assert len(made.shown) == 1


def test_planted_merged_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    merged_by_all(monkeypatch)
    assert len(two_cut_off_writers()[0].shown) > 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [(replaces_all, "are lost"), (replaces_nothing, "still in conflict"), (read_is_seen, "are lost")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_planted_faults_are_found_by_seeds(
    fault: Callable[[pytest.MonkeyPatch], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    monkeypatch.setattr(sim_run, "LIVENESS_S", 5.0)
    found = (text for seed in (1, 2, 3) for text in run_seed(seed, SPLITS, Merging(0.5).agent).violations)
    assert any(says in text for text in found)
