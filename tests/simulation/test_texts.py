"""Texts that are edited together: what was put in is there once, on all replicas, whatever is cut, crashes, or fails.

TEXTS_SEEDS in the environment runs more.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from actonce import Agent, Context, SyncContext
from actonce.memory import Memory, Revision
from actonce.messages import Edit, Push
from actonce.recall import Recall
from actonce.sim import run as sim_run
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work, run_seed
from actonce.sim.work_checkers import LIVENESS
from actonce.sim.world import SimWorld
from actonce.texting import Texting
from actonce.texts import Texts
from actonce_crdt import Done, State
from actonce_crdt.drafts import Track

from .planted import only

Patch = pytest.MonkeyPatch
SEEDS = int(os.environ.get("TEXTS_SEEDS", "1"))
PART = re.compile(r"\[[^]]*\]|.", re.DOTALL)


def editing_agent(world: SimWorld, feed: Feed) -> Agent:
    """Each task puts one run "[task@replica]" between two parts of a text, and adds and deletes filling."""
    agent = Agent("kevin")
    agent.sink("room", FeedSink(feed, world))

    def edit(memory: Recall, task: str) -> None:
        text = memory.text("notes" if world.rng.random() < 0.8 else "other")
        for new in ("~é😀"[world.rng.randrange(3)], f"[{task}@{world.name}]"):
            parts = PART.findall(str(text))
            at = world.rng.randint(0, len(parts))
            text.insert(sum(map(len, parts[:at])), new)
        parts = PART.findall(str(text))
        at = world.rng.randrange(len(parts))
        if len(parts[at]) == 1:
            start = sum(map(len, parts[:at]))
            text.delete(start, start + 1)

    @agent.task("note", retries=5)
    async def note(ctx: Context, payload: Any) -> None:
        str(ctx.memory.text("notes"))  # what it sees, and its positions, are of this moment
        await world.alive()
        await anyio.sleep(world.rng.uniform(0.0, 0.3))
        await world.alive()
        edit(ctx.memory, ctx.task)
        await anyio.sleep(world.rng.uniform(0.0, 0.1))
        await world.alive()
        if world.rng.random() < 0.2:
            raise RuntimeError("bad luck")  # what it wrote is gone
        await ctx.post("room", ctx.task)

    @agent.task("plain")
    def plain(ctx: SyncContext, payload: Any) -> None:
        edit(ctx.memory, ctx.task)

    return agent


def outcomes(state: State) -> Counter[str]:
    """The runs that count: of every side on which a task ran to its end."""
    found = [one for task in state.tasks for one in state.history(task) if isinstance(one, Done) and one.ok]
    return Counter(f"[{one.key}@{one.author}]" for one in found if one.key.startswith(("note/", "plain/")))


def whole(cluster: Cluster) -> bool:
    """All live replicas have the same texts."""
    return len({engine.memory.texts.document.digest for engine in cluster.live()}) <= 1


def texts_agree(cluster: Cluster) -> list[str]:
    """Checker: at the end, on every live replica."""
    wrong = [] if whole(cluster) else ["the texts of the replicas differ"]
    for engine in cluster.live():
        texts = [engine.memory.texts.read(name).text for name in ("notes", "other")]
        runs, due = Counter(re.findall(r"\[[^]]*\]", "".join(texts))), outcomes(engine.ledger.state)
        wrong += [f"{run} on {engine.me.name}: it was written and is not in the text" for run in due - runs]
        wrong += [f"{run} on {engine.me.name}: it is in the text and nobody wrote it" for run in runs - due]
    return wrong


@pytest.fixture(autouse=True)
def checked(monkeypatch: Patch) -> None:
    finished = sim_run.Run._finished
    monkeypatch.setattr(sim_run.Run, "_finished", lambda run: finished(run) and whole(run.cluster))
    monkeypatch.setattr(sim_run, "LIVENESS", (*LIVENESS, texts_agree))


WORK = (Work("note", lambda number: None), Work("plain", lambda number: None))
SPLITS = Scenario(replicas=(5, 5), seconds=12.0, tasks=50, mix=only((0.5, 3.0), Partition=4, DropLink=1), work=WORK)
CRASHES = Scenario(
    replicas=(2, 3),
    seconds=6.0,
    tasks=40,
    mix=only((0.1, 0.6), Mix(down_s=(0.0, 1.0)), Crash=4, SlowDisk=1, DropLink=1, Pause=1),
    delay_s=(0.001, 0.05),
    work=WORK,
)


@pytest.mark.parametrize("scenario", [SPLITS, CRASHES], ids=["splits", "crashes"])
def test_every_run_is_there_once_on_all_replicas(scenario: Scenario) -> None:
    for seed in range(1, SEEDS + 1):
        outcome = run_seed(seed, scenario, editing_agent)
        assert outcome.violations == [], f"seed {seed}: {outcome.plan}"


def test_a_seed_repeats() -> None:
    first, again = (run_seed(1, CRASHES, editing_agent) for _ in range(2))
    assert first.trace == again.trace


# Planted


def not_in_the_journal(patch: Patch) -> None:
    """The entries of an edit reach the disk, the edit itself does not: here, nor where it comes to."""
    patch.setattr(Texts, "_beside", lambda self, update: self._fresh.clear() or [])

    def integrate(self: Texts, update: bytes, text: bytes) -> None:
        delta = self.document.parse(text)
        self._ledger.integrate(update)
        self.document.take(delta)

    patch.setattr(Texts, "integrate", integrate)


def dropped_and_not_asked_for(patch: Patch) -> None:
    """What changed in the texts does not leave with the entries, and nobody asks for what it lacks."""
    message = Texts.message

    def without(self: Texts, update: bytes) -> Push | Edit:
        message(self, update)
        return Push(update)

    patch.setattr(Texts, "message", without)
    patch.setattr(Texting, "ask", lambda self, line: None)


def written_at_once(patch: Patch) -> None:
    """An edit does not wait for the outcome: a handler that fails, or dies, has edited."""
    check, write = Memory.check, Memory.write

    def hasty(self: Memory, writes: Any) -> None:
        check(self, writes)
        write(self, [one for one in writes[-1:] if isinstance(one, Revision)], "note/early")

    patch.setattr(Memory, "check", hasty)
    patch.setattr(Memory, "write", lambda self, writes, task: write(self, [], task))


def positions_as_they_were(patch: Patch) -> None:
    """An edit is made at the positions that its handler saw, whatever happened to the text since."""
    patch.setattr(Track, "follow", lambda self, delta: None)


@pytest.mark.parametrize(
    ("fault", "scenario", "says"),
    [
        (not_in_the_journal, CRASHES, "is not in the text"),
        (dropped_and_not_asked_for, SPLITS, "is not in the text"),
        (positions_as_they_were, SPLITS, "is not in the text"),
        (written_at_once, CRASHES, "nobody wrote it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_is_found(
    fault: Callable[[Patch], None], scenario: Scenario, says: str, monkeypatch: Patch
) -> None:
    fault(monkeypatch)
    monkeypatch.setattr(sim_run, "LIVENESS_S", 5.0)
    found = (text for seed in range(1, 4) for text in run_seed(seed, scenario, editing_agent).violations)
    assert any(says in text for text in found)
