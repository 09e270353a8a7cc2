"""Plans that Hypothesis thinks up: every kind of fault, any mixture; and how small a plan shows a planted fault."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from actonce.errors import ConfigError
from actonce.sim import plan as faults
from actonce.sim.plan import KINDS, Fault, Plan, from_json, to_json
from actonce.sim.run import run_seed

from . import planted
from .planted import scenario

NAMES = ("a", "b", "c")
SECONDS = 6.0
FAULTS_MAX = 6
SHORT_S = 1.2
"""Cuts are shorter than suspicion and grace: nothing may double."""
SCENARIO = scenario(SECONDS, 30, (0.1, 1.5))
SMALL = scenario(4.0, 50, (0.1, 1.0), connect_s=1.0, delay_s=(0.05, 0.2))
NOT_HERE = {"Wipe", "Vote", "Damage", "Order"}
"""Drawn in `test_majority`, `test_disks`, `test_control`: two copies of a task do not survive the loss of two disks."""
PAUSE_S = 2.4
"""Just long enough to be given up."""

thousandths = st.integers(min_value=0, max_value=1000).map(lambda value: value / 1000)
names = st.sampled_from(NAMES)
pairs = st.permutations(NAMES).map(lambda order: (order[0], order[1]))


def seconds(low: float, high: float) -> st.SearchStrategy[float]:
    """A duration with at most four digits: it survives JSON, and is easy to read."""
    return thousandths.map(lambda part: round(low + part * (high - low), 3))


at = seconds(0.0, SECONDS)


def between(make: Callable[..., Fault], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Fault]:
    """A fault between two different replicas."""
    return st.builds(lambda pair, **rest: make(source=pair[0], target=pair[1], **rest), pairs, **fields)


STRATEGIES: dict[str, st.SearchStrategy[Fault]] = {
    "Crash": st.builds(faults.Crash, at, names, seconds(0.0, 3.0)),
    "Pause": st.builds(faults.Pause, at, names, seconds(0.05, 4.0)),
    "Suspend": st.builds(faults.Suspend, at, names, seconds(0.05, 4.0)),
    "Partition": st.builds(faults.Partition, at, names.map(lambda name: (name,)), seconds(0.05, SHORT_S)),
    "OneWay": between(faults.OneWay, at=at, for_s=seconds(0.05, SHORT_S)),
    "SlowLink": between(faults.SlowLink, at=at, delay_s=seconds(0.01, 0.3), for_s=seconds(0.5, 3.0)),
    "CutLink": between(faults.CutLink, at=at, for_s=seconds(0.05, SHORT_S)),
    "SlowPeer": st.builds(faults.SlowPeer, at, names, seconds(0.01, 0.3), seconds(0.5, 3.0)),
    "DropLink": between(faults.DropLink, at=at),
    "Skew": st.builds(faults.Skew, at, names, st.sampled_from([-3600.0, -10.0, 10.0, 3600.0])),
    "Drift": st.builds(faults.Drift, at, names, st.sampled_from([0.98, 0.99, 1.01, 1.02])),
    "SlowDisk": st.builds(faults.SlowDisk, at, names, seconds(0.005, 0.3), seconds(0.5, 3.0)),
    "DiskFull": st.builds(faults.DiskFull, at, names, seconds(0.0, 3.0)),
    "Leave": st.builds(faults.Leave, at, names, seconds(0.0, 3.0)),
    "Join": st.builds(faults.Join, at, st.just("c")),
    "Burst": st.builds(faults.Burst, at, st.integers(min_value=1, max_value=20)),
    "LockDown": st.builds(faults.LockDown, at, seconds(0.1, 3.0)),
    "LockCut": st.builds(faults.LockCut, at, names, seconds(0.1, 3.0)),
    "LockSlow": st.builds(faults.LockSlow, at, names, seconds(0.1, 1.0), seconds(0.5, 3.0)),
}


def in_order(plan: list[Fault]) -> Plan:
    return tuple(sorted(plan, key=lambda fault: fault.at))


plans = st.lists(st.one_of(*STRATEGIES.values()), max_size=FAULTS_MAX).map(in_order)


def command(plan: Plan, seed: int) -> str:
    """How to repeat a plan by hand."""
    options = f"--replicas {len(NAMES)} --seconds {SECONDS:g} --tasks {SCENARIO.tasks} --first {seed} --seeds 1"
    return f"actonce simulate MODULE:AGENT {options} --plan '{to_json(plan)}'"


def test_there_is_a_strategy_for_every_fault() -> None:
    assert set(STRATEGIES) == set(KINDS) - NOT_HERE


@given(plan=plans, seed=st.integers(min_value=1, max_value=10_000))
@settings(
    max_examples=int(os.environ.get("PLANS", "40")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate, Phase.shrink],
    print_blob=True,
)
def test_no_plan_breaks_a_rule(plan: Plan, seed: int) -> None:
    outcome = run_seed(seed, SCENARIO, planted.make_agent, plan)
    assert outcome.violations == [], f"seed {seed}; repeat it with: {command(plan, seed)}"


@given(plan=plans)
@settings(max_examples=100, derandomize=True, database=None, deadline=None)
def test_a_plan_survives_json(plan: Plan) -> None:
    assert from_json(to_json(plan)) == plan


@pytest.mark.parametrize(
    "text", ["", "[]x", "{}x", "[1]", '[["Crash"]]', '[["Crash", {}]]', '[["Earthquake", {}]]', '[["Crash", [1]]]']
)
def test_what_is_no_plan_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match=r"plan|fault"):
        from_json(text)


def test_a_planted_fault_shrinks_to_a_small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects that pass a gate which is always open: pauses alone show it."""
    pauses: st.SearchStrategy[Fault] = st.builds(faults.Pause, st.just(1.0), names, st.just(PAUSE_S))
    noise: st.SearchStrategy[Fault] = st.builds(faults.Burst, st.just(2.0), st.just(5))
    some = st.lists(st.one_of(pauses, noise), max_size=2).map(in_order)  # so few that each is run once at most

    @cache
    def breaks(plan: Plan) -> bool:
        return run_seed(1, SMALL, planted.make_agent, plan).violations != []

    planted.gate_open(monkeypatch)
    smallest = find(
        some,
        breaks,
        settings=settings(max_examples=20, derandomize=True, database=None, deadline=None),
    )
    monkeypatch.undo()
    breaks.cache_clear()
    assert [type(fault).__name__ for fault in smallest] == ["Pause"], command(smallest, 1)
    assert not breaks(smallest), f"without the fault: {command(smallest, 1)}"
