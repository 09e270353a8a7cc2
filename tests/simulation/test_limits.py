"""Quotas hold in every split, crash, join and leave; and each deliberate fault is found in a stated number of seeds.

The provider's own log is checked by a sliding window and a token bucket that know nothing of rights; rights are counted
every 20 ms of virtual time and at each arrival. `LIMITS_SEEDS=400 pytest tests/simulation/test_limits.py` runs
12,000 seeds; `LIMITS_FIRST=40 LIMITS_SEEDS=20` the part of them that begins with the 41st of each kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import cycle, product
from typing import Any

import pytest

from actonce.sim.plan import Join, Mix, Plan
from actonce.sim.run import MakeAgent, Scenario, run_seed

from . import limited
from .limited import about_limits, scenario

FEW_SEEDS = 1
SEEDS = int(os.environ.get("LIMITS_SEEDS", FEW_SEEDS))
FIRST = int(os.environ.get("LIMITS_FIRST", 0))
"""Above the default: so many for each of all pairs of an agent and a scenario, together about thirty times as many."""

AGENTS = {
    "one": limited.ONE_LIMIT,
    "two": limited.TWO_LIMITS,
    "burst": limited.BURSTS,
    "seconds": limited.SECONDS,
    "far": limited.FAR,
    "budget": limited.BUDGET,
}
SCENARIOS: dict[str, tuple[Scenario, Plan | None]] = {
    "everything": (scenario(mix=limited.EVERYTHING, replicas=(2, 5)), None),
    "churn": (scenario(mix=limited.CHURN, replicas=(2, 4)), None),
    "slow disks": (scenario(mix=limited.SLOW_DISKS), None),
    "joins": (scenario(replicas=(4, 4)), (Join(2.0, "c"), Join(5.0, "d"), *limited.PARTED)),
    "split": (scenario(), limited.PARTED),
}


ALL = list(product(AGENTS, SCENARIOS))
FEW = list(zip(AGENTS, cycle(SCENARIOS), strict=False))


@pytest.mark.parametrize(("agent", "bad_days"), FEW if SEEDS == FEW_SEEDS else ALL)
def test_the_provider_never_sees_more_than_the_limit(
    agent: str, bad_days: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited.short_days(monkeypatch)
    made, plan = SCENARIOS[bad_days]
    first = 1 + FIRST + list(AGENTS).index(agent) * 1_000_000
    for seed in range(first, first + SEEDS):
        assert about_limits(run_seed(seed, made, AGENTS[agent], plan)) == []


def test_a_wall_clock_that_jumps_renews_no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    limited.short_days(monkeypatch)
    for seed in range(1 + FIRST, 1 + FIRST + SEEDS):
        assert about_limits(run_seed(seed, scenario(mix=limited.SKEWS), limited.BUDGET)) == []


FAULTS: tuple[tuple[str, int, MakeAgent, Mix, dict[str, Any]], ...] = (
    # name, seeds within which it is found, agent, faults that happen, what else
    ("opened_before_disk", 3, limited.BUDGET, limited.SLOW_DISKS, {}),
    ("given_twice", 1, limited.ONE_LIMIT, limited.EVERYTHING, {}),
    ("given_and_kept", 7, limited.SECONDS, limited.SLOW_DISKS, {}),
    ("minted_on_join", 1, limited.ONE_LIMIT, limited.CHURN, {}),
    ("used_too_early_after_a_crash", 2, limited.ONE_LIMIT, limited.CRASHES, {}),
    ("flight_forgotten", 3, limited.FAR, limited.FEW_CRASHES, {"replicas": (2, 2), "tasks": 300}),
    ("window_from_the_start", 2, limited.ONE_LIMIT, limited.EVERYTHING, {}),
    ("window_one_tick_short", 2, limited.ONE_LIMIT, limited.EVERYTHING, {}),
    ("late_taken_for_fresh", 2, limited.ONE_LIMIT, limited.CHURN, {}),
    ("estimate_given_back", 1, limited.TWO_LIMITS, limited.EVERYTHING, {}),
    ("jumps_believed", 2, limited.BUDGET, limited.SKEWS, {}),
)

RARE = {"given_and_kept": 5}
"""The first seeds do not show it, and are left out to save time."""


@pytest.mark.parametrize(("name", "seeds", "agent", "mix", "rest"), FAULTS, ids=[name for name, *_ in FAULTS])
def test_a_fault_is_found(
    name: str, seeds: int, agent: MakeAgent, mix: Mix, rest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited.short_days(monkeypatch)
    for seed in range(RARE.get(name, 1), seeds + 1):
        made = scenario(mix=mix, **rest)
        with pytest.MonkeyPatch.context() as patch:
            fault: Callable[[pytest.MonkeyPatch], None] = getattr(limited, name)
            fault(patch)
            found = run_seed(seed, made, agent).violations
        if any("llm/" in text for text in found):
            without = [text for text in run_seed(seed, made, agent).violations if "llm/" in text]
            assert without == [], "the faulty code is that of the runtime itself"
            return
    pytest.fail(f"{name} was not found in {seeds} seeds")
