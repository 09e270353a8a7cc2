"""Meshes that forget within seconds: the same runs as everywhere, with keys that are submitted again and again.

python -m tests.simulation.forgetting FIRST COUNT [near|far|all]...     runs so many seeds, and prints what was rare

near: nobody is away for long; far: they are; all: the same with work of every kind (`everything.py`).
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import actonce.upkeep
from actonce.settings import LAN, Settings
from actonce.sim.checkers import Checker
from actonce.sim.cluster import simulate
from actonce.sim.memory_checkers import all_forgotten, never_again, nothing_late
from actonce.sim.plan import Mix
from actonce.sim.run import Outcome, Run, Scenario, Work

from .planted import make_agent

RETENTION_S, FORGET_AFTER_S = 3.0, 6.0
SOON: Settings = replace(LAN, retention_s=RETENTION_S, forget_after_s=FORGET_AFTER_S)
WORK = (Work("reply", lambda number: {"n": number, "work_s": (number % 5) / 10, "connect_s": 0.01}),)
FAULTS = Mix().without("Skew", "DiskFull")

NEAR = Scenario(seconds=25.0, tasks=50, settings=SOON, work=WORK, mix=replace(FAULTS, down_s=(0.0, 3.0)))
"""Nobody is away for as long as `FORGET_AFTER_S`."""
FAR = replace(NEAR, seconds=40.0, mix=replace(FAULTS, down_s=(0.0, 25.0), pause_s=(0.05, 15.0)))
"""Replicas stay away longer than what they know is remembered by the others."""


class Forgetful(Run):
    """Submits each key again, on other replicas, while its outcome is remembered; then looks for leftovers."""

    checkers: tuple[Checker, ...] = ()
    leftovers: Checker = staticmethod(all_forgotten)
    rest_s = 0.0
    """After all is done and equal, before what is left is looked at."""

    def _submit(self, copies: int) -> None:
        super()._submit(copies)
        self._spawn(self._submit_again(self.numbers - 1))

    async def _submit_again(self, number: int) -> None:
        retention_s = self.cluster.settings.retention_s
        work = self.scenario.work[number % len(self.scenario.work)]
        key = f"{work.kind}/m{number}"
        for _ in range(4):
            await asyncio.sleep(self.rng.uniform(0.2, retention_s))
            known = self.cluster.history.outcomes.get(key)
            if self.healing or (known is not None and self.cluster.loop.time() - known[0] > retention_s * 0.9):
                return
            name = self.rng.choice(self.names)
            world = self.cluster.nodes[name].world
            if world is not None and not world.dead and not world.paused:
                self.cluster.submit(name, work.kind, work.payload(number), f"m{number}")

    async def outcome(self) -> Outcome:
        found = await super().outcome()
        settings = self.cluster.settings
        limit_s = settings.retention_s + 6 * settings.forget_after_s
        await asyncio.sleep(self.rest_s)
        await self.cluster.until(lambda: not any(self.leftovers(self.cluster)), limit_s)
        for checker in (*self.checkers, never_again, self.leftovers):
            found.violations += list(checker(self.cluster))
        found.violations += self.cluster.failures
        for engine in self.cluster.live():
            found.sometimes["late"] += len(engine.ledger.state.late)
            found.sometimes["passes"] += engine.upkeep.passes
            found.sometimes["forgotten"] += engine.upkeep.forgotten
        return found


class Never(Forgetful):
    checkers = (nothing_late,)


def run(seed: int, scenario: Scenario) -> Outcome:
    """Deterministic."""
    kind = Never if scenario is NEAR else Forgetful

    async def go() -> Outcome:
        return await kind(seed, scenario, make_agent, None).outcome()

    with small_steps():
        return simulate(go)


@contextmanager
def small_steps(pass_min: int = actonce.upkeep.PASS_MIN) -> Iterator[None]:
    """Logs are gone through in many turns, so that much happens between them; and already when they are this long."""
    before = actonce.upkeep.FRONT, actonce.upkeep.PASS_MIN
    actonce.upkeep.FRONT, actonce.upkeep.PASS_MIN = 16, pass_min
    try:
        yield
    finally:
        actonce.upkeep.FRONT, actonce.upkeep.PASS_MIN = before


def main() -> None:
    from .everything import run_everything

    first, count, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or ["near", "far", "all"]
    made: dict[str, Callable[[int], Outcome]] = {
        "near": lambda seed: run(seed, NEAR),
        "far": lambda seed: run(seed, FAR),
        "all": run_everything,
    }
    rare: Counter[str] = Counter()
    for seed in range(first, first + count):
        for name in names:
            found = made[name](seed)
            rare += found.sometimes
            for text in found.violations:
                print(f"{name} {seed}: {text}", flush=True)
    print(dict(sorted(rare.items())))


if __name__ == "__main__":
    main()
