"""Memory: what a handler writes counts once, with its outcome; concurrent writes stay until somebody saw them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from actonce import memory_report
from actonce.agent import Agent
from actonce.context import Context, SyncContext
from actonce.memory import Memory
from actonce.recall import Recall
from actonce.sim import run as sim_run
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work, run_seed
from actonce.sim.work_checkers import LIVENESS
from actonce.sim.world import SimWorld
from actonce_crdt import Cell, CellState, Done, State, Tally, place

from .planted import only


def remembering_agent(world: SimWorld, feed: Feed) -> Agent:
    """Each task adds one to a counter, its id to a set, a map and a list, and writes a register that it has read."""
    agent = Agent("kevin")
    agent.sink("room", FeedSink(feed, world))

    def note(memory: Recall, task: str) -> None:
        memory.counter("done").add()
        memory.set("seen").add(task)
        memory.map("by task")[task] = memory.get("last")
        memory.list("log").append(task)
        memory["last"] = task

    @agent.task("note", retries=5)
    async def write(ctx: Context, payload: Any) -> None:
        note(ctx.memory, ctx.task)
        await world.alive()
        await anyio.sleep(world.rng.uniform(0.0, 0.1))
        await world.alive()
        if world.rng.random() < 0.2:
            raise RuntimeError("bad luck")  # what it wrote is gone
        await ctx.post("room", ctx.task)

    @agent.task("plain")
    def plain(ctx: SyncContext, payload: Any) -> None:
        note(ctx.memory, ctx.task)

    return agent


def wrong(state: State) -> Iterator[str]:
    """What memory says, against the outcomes: one for each side on which a task ran to its end."""
    outcomes = [
        one
        for task in state.tasks
        for one in state.history(task)
        if isinstance(one, Done) and one.ok and task.startswith(("note/", "plain/"))
    ]
    tasks = {one.key for one in outcomes}
    counted = state.tallies[place("c", "done")].value if outcomes else 0
    if counted != len(outcomes):
        yield f"the counter says {counted}, outcomes are {len(outcomes)}"
    for name in ("seen", "by task"):
        found = memory_report.recall(state, name, 0) if outcomes else {"value": []}
        assert found is not None
        if set(found["value"]) != tasks:
            yield f"{name!r} is {sorted(found['value'])}, outcomes are of {sorted(tasks)}"
    log = [row["value"] for row in memory_report.history(state, "log")]
    if Counter(log) != Counter(one.key for one in outcomes):
        yield "the list has other items than there are outcomes"
    written = [one for one in state.writes("last") if isinstance(one, Cell)]
    if Counter(one.task for one in written) != Counter(one.key for one in outcomes):
        yield "an acknowledged write disappeared from the history of 'last'"
    replaced = {pair for one in written for pair in one.seen}
    for one in written:
        gone = one not in state.cells[one.key].live
        if gone and not any(author == one.author and stamp >= one.stamp for author, stamp in replaced):
            yield f"the write of {one.task} is neither read, nor a conflict, nor replaced"
    read = {(row["member"], row["replica"]): row["value"] for row in memory_report.history(state, "by task")}
    for one in written:
        before = read.get((one.task, one.author))
        newest = max((other.stamp for other in written if other.task == before), default=0)
        if any(stamp > newest for _, stamp in one.seen):
            yield f"{one.task} read {before}, and replaced what came later"


def memory_agrees(cluster: Cluster) -> list[str]:
    """Checker: at the end, on every live replica."""
    return [f"memory on {engine.me.name}: {text}" for engine in cluster.live() for text in wrong(engine.ledger.state)]


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_run, "LIVENESS", (*LIVENESS, memory_agrees))


WORK = (Work("note", lambda number: None), Work("plain", lambda number: None))
CRASHES = Scenario(
    replicas=(2, 4),
    seconds=8.0,
    tasks=40,
    mix=only((0.1, 0.6), Mix(down_s=(0.0, 1.0)), Crash=3, SlowDisk=1, DropLink=1, Pause=1),
    delay_s=(0.001, 0.05),
    work=WORK,
)
SPLITS = Scenario(replicas=(5, 5), seconds=15.0, tasks=60, mix=only((0.5, 4.0), Partition=3, Crash=1), work=WORK)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("scenario", [CRASHES, SPLITS], ids=["crashes", "splits"])
def test_no_write_disappears_and_none_counts_twice(scenario: Scenario, seed: int) -> None:
    outcome = run_seed(seed, scenario, remembering_agent)
    assert outcome.violations == [], outcome.plan


def written_at_once(patch: pytest.MonkeyPatch) -> None:
    """A write does not wait for the outcome: a handler that fails, or dies, has written, and writes again."""
    check, engines = Memory.check, Memory.write

    def hasty(self: Memory, writes: Any) -> None:
        check(self, writes)
        engines(self, writes[-1:], "note/early")

    patch.setattr(Memory, "check", hasty)
    patch.setattr(Memory, "write", lambda self, writes, task: engines(self, [], task))


def outcome_first(patch: pytest.MonkeyPatch) -> None:
    """The writes follow in a later turn, hence in another update than the outcome."""
    engines = Memory.write

    def late(self: Memory, writes: Any, task: str) -> int:
        def write() -> None:
            engines(self, list(writes), task)

        self._ledger._world.call_later(0.1, write)
        return 0

    patch.setattr(Memory, "write", late)


def all_is_replaced(patch: pytest.MonkeyPatch) -> None:
    """A write replaces what its replica knows when it is written, not what its handler had seen."""
    engines = Memory._record

    def record(self: Memory, write: Any, task: str) -> Cell | Tally:
        made = engines(self, write, task)
        seen = self.cells.get(made.key, CellState()).context()
        return replace(made, seen=seen) if isinstance(made, Cell) else made

    patch.setattr(Memory, "_record", record)


def counted_by_name(patch: pytest.MonkeyPatch) -> None:
    """A replica's count begins anew with each of its starts."""

    def record(self: Memory, write: Any, task: str) -> Cell | Tally:
        made = engines(self, write, task)
        if isinstance(made, Cell):
            return made
        self.mine = getattr(self, "mine", 0) + 1  # type: ignore[attr-defined]
        return Tally(made.key, made.stamp, made.author, made.journal, self.mine, self.mine, 0, task)  # type: ignore[attr-defined]

    engines = Memory._record
    patch.setattr(Memory, "_record", record)


@pytest.mark.parametrize(
    ("fault", "seeds", "says"),
    [
        (written_at_once, 1, "counter says"),
        (outcome_first, 2, "counter says"),
        (all_is_replaced, 1, "replaced what came later"),
        (counted_by_name, 2, "counter says"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], seeds: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    found = (text for seed in range(1, seeds + 1) for text in run_seed(seed, CRASHES, remembering_agent).violations)
    assert any(re.search(says, text) for text in found), f"{fault.__name__} was not found in {seeds} seeds"
