"""Compaction under everything at once, beside a shadow that forgets nothing; and compactions that forget too much.

ACTONCE_FORGETTING_SEEDS=N runs so many seeds (see `everything.py`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import actonce_crdt.compaction
from actonce.sim import run as sim_run
from actonce_crdt import Cursor, Gift, Record, Rules, State, Tally, is_forgotten

from .everything import SCENARIO, SHORT, run_everything

SEEDS = int(os.environ.get("ACTONCE_FORGETTING_SEEDS", "1"))
RARE = ("late submits", "late writes: Cell", "late writes: Tally", "late", "passes", "forgotten")
Patch = pytest.MonkeyPatch


def test_what_lives_is_as_if_nothing_had_ever_been_forgotten() -> None:
    rare: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        found = run_everything(seed, SCENARIO if SEEDS > 1 else SHORT)
        assert not found.violations, (seed, found.violations[:5])
        rare += found.sometimes
    assert rare["forgotten"] > 20 * SEEDS
    assert rare["passes"] > 5 * SEEDS
    if SEEDS >= 20:
        assert [name for name in RARE if not rare[name]] == []


def forgets(*kinds: type[Record]) -> Callable[[Patch], None]:
    """What lives for ever of these kinds is forgotten once there is a floor."""

    def plant(patch: Patch) -> None:
        def hasty(state: State, record: Any, rules: Rules) -> bool:
            return (isinstance(record, kinds) and bool(state.floors)) or is_forgotten(state, record, rules)

        patch.setattr(actonce_crdt.compaction, "is_forgotten", hasty)

    plant.__name__ = f"forgets_{kinds[0].__name__.lower()}"
    return plant


@pytest.mark.parametrize(
    ("fault", "seeds", "says"),
    [
        (forgets(Cursor), 1, "cursor"),
        (forgets(Tally), 1, "counter"),
        (forgets(Gift), 1, "rights"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_is_found(fault: Callable[[Patch], None], seeds: int, says: str, monkeypatch: Patch) -> None:
    fault(monkeypatch)
    monkeypatch.setattr(sim_run, "LIVENESS_S", 5.0)
    found = [text for seed in range(1, seeds + 1) for text in run_everything(seed, SHORT).violations]
    assert any(says in text for text in found), found[:5]
