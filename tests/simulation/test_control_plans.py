"""Orders among crashes, pauses and cuts; and planted bugs that must be found."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from actonce.settings import LAN
from actonce.sim.plan import Burst, Mix, Order, Plan, SlowLink
from actonce.sim.run import Work, run_seed

from . import planted_control
from .planted import Patch, only
from .planted_control import ORDERS, make_agent, payload

SEEDS = int(os.environ.get("CONTROL_SEEDS", "3"))


@pytest.mark.parametrize("seed", range(1, 1 + SEEDS))
def test_orders_on_bad_days(seed: int) -> None:
    outcome = run_seed(seed, ORDERS, make_agent)
    assert outcome.violations == [], outcome.plan


GUARDED = replace(ORDERS, work=(Work("pays", payload), Work("talks", payload)), seconds=6.0, tasks=30)


LEAVES = replace(ORDERS, settings=LAN, mix=only((0.2, 0.8), Mix(down_s=(0.0, 1.0)), Order=3, Leave=2))


@pytest.mark.parametrize("seed", range(1, 1 + max(1, SEEDS // 3)))
def test_orders_while_replicas_come_and_go(seed: int) -> None:
    outcome = run_seed(seed, LEAVES, make_agent)
    assert outcome.violations == [], outcome.plan


@pytest.mark.parametrize("seed", range(1, 1 + max(1, SEEDS // 3)))
def test_orders_for_guarded_tasks_on_bad_days(seed: int) -> None:
    outcome = run_seed(seed, GUARDED, make_agent)
    assert outcome.violations == [], outcome.plan


HALTS = (Burst(0.8, 40), Order(1.2, "a", "halt", "agent", 1.0))
SLOWLY = (SlowLink(0.1, "a", "c", 0.3, 9.0), SlowLink(0.1, "b", "c", 0.3, 9.0), Burst(0.8, 40), HALTS[1])
BUSY = replace(ORDERS, replicas=(3, 3), seconds=3.0, tasks=3)


@pytest.mark.parametrize(
    ("fault", "plan", "words"),
    [
        (None, HALTS, ""),
        (None, SLOWLY, ""),
        (planted_control.gate_left_open, HALTS, "after it had read to stop agent"),
        (planted_control.confirmed_before_obeyed, HALTS, "was told at .* that all had stopped agent"),
        (planted_control.acknowledged_by_oneself, SLOWLY, "was told at .* that all had stopped agent"),
    ],
)
def test_planted_bugs_are_found(
    fault: Callable[[Patch], None] | None, plan: Plan, words: str, monkeypatch: Patch
) -> None:
    if fault is not None:
        fault(monkeypatch)
    found = run_seed(1, BUSY, make_agent, plan).violations
    assert any(re.search(words, text) for text in found) if fault is not None else found == [], found[:5]
