"""Outcomes that are forgotten within seconds, and replicas that were away for longer.

ACTONCE_FORGETTING_SEEDS=N runs so many random seeds beside the scenarios (see `forgetting.py`).
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from actonce import upkeep
from actonce.engine import Engine
from actonce.sim.cluster import simulate
from actonce.sim.memory_checkers import all_forgotten
from actonce.troubles import troubles
from actonce_crdt import horizon

from .forgetting import FAR, FORGET_AFTER_S, NEAR, RETENTION_S, SOON, run
from .mesh import Mesh

SEEDS = int(os.environ.get("ACTONCE_FORGETTING_SEEDS", "1"))
SCENARIOS = (NEAR, FAR) if SEEDS > 1 else (replace(FAR, seconds=8.0, tasks=12),)
FORGOTTEN_S = RETENTION_S + 3 * FORGET_AFTER_S
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_begins_again_whoever_was_away(seed: int) -> None:
    for scenario in SCENARIOS:
        found = run(seed, scenario)
        assert not found.violations, (seed, found.violations[:5])


class Long:
    """`c` took `both` and `mine` while it was cut off, and was away until `both` was done and forgotten by a and b."""

    def __init__(self, seed: int) -> None:
        self.mesh = Mesh(seed, "abc", settings=SOON)

    async def make(self) -> None:
        mesh = self.mesh
        await mesh.form()
        for name in "ab":
            mesh.cut(name, "c")
            mesh.cut("c", name)
        mesh.ask("both", "c")
        mesh.ask("mine", "c")
        await asyncio.sleep(0.5)
        mesh.kill("c")
        mesh.ask("both", "a")
        assert await mesh.until(lambda: "reply/both" in mesh.history.outcomes, 10.0)
        assert await mesh.until(lambda: not any(all_forgotten(mesh)), FORGOTTEN_S), list(all_forgotten(mesh))
        for name in "ab":
            mesh.uncut(name, "c")
            mesh.uncut("c", name)
        mesh.start("c")
        assert await mesh.formed()
        await asyncio.sleep(2.0)

    def begun(self, key: str) -> int:
        return sum(start.task == f"reply/{key}" for start in self.mesh.started)


def after_long(check: Callable[[Long], None], seed: int = 1) -> None:
    async def scenario() -> None:
        long = Long(seed)
        await long.make()
        check(long)
        await asyncio.sleep(1.0)
        assert not long.mesh.failures

    simulate(scenario)


def test_what_was_forgotten_does_not_begin_again_when_its_copy_comes_back() -> None:
    def check(long: Long) -> None:
        assert long.begun("both") == 1
        assert long.begun("mine") == 0
        for engine in long.mesh.live():
            assert sorted(engine.ledger.state.late) == ["reply/both", "reply/mine"]
            done = engine.ledger.state.tasks["reply/mine"].done
            assert done is not None
            assert (done.ok, done.how) == (False, "late")
            told = [text for text in troubles(engine) if "2 tasks came to light too late" in text]
            assert len(told) == 1
            assert "submitted at c" in told[0]

    after_long(check)


def test_without_floors_it_would(monkeypatch: Patch) -> None:
    """The planted bug: what comes from below a floor counts like anything else."""
    monkeypatch.setattr(horizon, "passes", lambda task, stamp, reopened, floors: True)

    def check(long: Long) -> None:
        assert long.begun("both") == 2

    after_long(check)


def test_a_late_task_runs_when_a_person_says_so() -> None:
    async def scenario() -> None:
        long = Long(2)
        await long.make()
        engine: Engine = long.mesh.live()[0]
        assert engine.world is not None
        engine.orders.retry("reply/mine", lambda word: None)
        assert await long.mesh.until(lambda: long.begun("mine") == 1, 10.0)
        assert await long.mesh.until(lambda: "reply/mine" in long.mesh.history.outcomes, 10.0)
        assert long.begun("both") == 1

    simulate(scenario)


def test_the_log_of_a_replica_that_is_gone_is_looked_after() -> None:
    async def scenario() -> None:
        mesh = Mesh(3, "abc", settings=SOON)
        await mesh.form()
        for number in range(20):
            mesh.ask(f"m{number}")
        assert await mesh.until(lambda: len(mesh.history.outcomes) == 20, 20.0)
        mesh.kill("c")
        left = mesh.live()[0].ledger.document
        assert left.count("c") > 20
        assert await mesh.until(lambda: not any(all_forgotten(mesh)), 2 * FORGOTTEN_S), list(all_forgotten(mesh))
        assert await mesh.until(lambda: left.count("c") == 0, FORGOTTEN_S)
        assert not mesh.failures
        mesh.start("c")
        assert await mesh.formed()
        assert await mesh.until(mesh.converged, 5.0)

    simulate(scenario)


def test_a_log_that_grows_fast_is_shortened_as_fast(monkeypatch: Patch) -> None:
    """More comes in a turn than `FRONT`: a pass that took no more in a turn would end with a log that has grown."""
    monkeypatch.setattr(upkeep, "FRONT", 2)
    monkeypatch.setattr(upkeep, "PASS_MIN", 32)

    async def scenario() -> tuple[int, int]:
        mesh = Mesh(5, "ab", settings=replace(SOON, retention_s=0.5, forget_after_s=1.0))
        await mesh.form()
        for number in range(320):
            mesh.ask(f"m{number}", "ab"[number % 2])
            await asyncio.sleep(1 / 40)
        state, document = mesh.live()[0].ledger.state, mesh.live()[0].ledger.document
        return document.entry_count, len(state.tasks)

    entries, tasks = simulate(scenario)
    assert tasks < 160, "half of all that were done"
    assert entries < 960


def test_all_is_forgotten_wherever_passes_begin_and_end(monkeypatch: Patch) -> None:
    """The entries of a task, its effect among them, go in several turns, and some were written again in between."""
    monkeypatch.setattr(upkeep, "FRONT", 5)
    monkeypatch.setattr(upkeep, "PASS_MIN", 8)

    async def scenario() -> list[str]:
        mesh = Mesh(7, "abc", settings=replace(SOON, retention_s=0.5, forget_after_s=1.0))
        await mesh.form()
        for number in range(300):
            mesh.ask(f"m{number}", "abc"[number % 3])
            if number % 30 == 29:
                await asyncio.sleep(0.4)
        await mesh.until(lambda: not any(all_forgotten(mesh)), 20.0)
        return [*all_forgotten(mesh), *(task for engine in mesh.live() for task in engine.ledger.state.tasks)]

    assert simulate(scenario) == []


def test_a_key_is_new_again_after_its_retention_and_not_before() -> None:
    async def scenario() -> None:
        mesh = Mesh(4, "ab", settings=SOON)
        await mesh.form()
        mesh.ask("m")
        assert await mesh.until(lambda: len(mesh.history.outcomes) == 1, 10.0)
        await asyncio.sleep(RETENTION_S * 0.9)
        mesh.ask("m")
        await asyncio.sleep(FORGOTTEN_S)
        assert len(mesh.started) == 1
        mesh.ask("m")
        assert await mesh.until(lambda: len(mesh.started) == 2, 10.0)

    simulate(scenario)
