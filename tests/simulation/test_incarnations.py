"""Anti-entropy by digest first, under the ordinary faults: nothing is lost, done twice, or believed without reason.

ACTONCE_INCARNATIONS_SEEDS=N runs so many seeds of each scenario instead of one.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest

from actonce.comparing import CLIENTS_FEW, NEWS_MAX
from actonce.sim.run import Scenario

from . import incarnations
from .incarnations import BAD_DAYS, FAR_DROPS, SCENARIOS, run

SEEDS = int(os.environ.get("ACTONCE_INCARNATIONS_SEEDS", "1"))


@pytest.mark.parametrize("bad", SCENARIOS if SEEDS > 1 else ["bad days"])
def test_nobody_is_thought_to_have_read_what_it_has_not(bad: str) -> None:
    words: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        found = run(seed, SCENARIOS[bad])
        assert not found.violations, (seed, found.violations[:5])
        words.update(found.sometimes)
    assert min(words[f"said {word}"] for word in ("Sums", "Rows", "Push")) > 10


def test_a_mesh_with_thousands_of_dead_processes() -> None:
    """With the bounds of the runtime, on documents that hold thousands of client ids."""
    scenario = replace(BAD_DAYS, seconds=3.0, tasks=20, replicas=(3, 3))
    for seed in range(1, SEEDS + 1):
        found = run(seed, scenario, clients=2_000, few=CLIENTS_FEW, news=NEWS_MAX)
        assert not found.violations, (seed, found.violations[:5])
        assert found.sometimes["said Rows"]
        assert not found.sometimes["said Ask"]


FAULTS = [
    ("as_of_now", FAR_DROPS, 1, "which it has not"),
    ("statement_not_needed", BAD_DAYS, 1, "has not read what that one had"),
    ("another_moment", BAD_DAYS, 2, "which it has not"),
    ("removals_left_out", BAD_DAYS, 1, "not converged"),
]
FAULTS_AT_ONCE = 2
"""The others are found with more seeds only, to save time."""


@pytest.mark.parametrize(("fault", "scenario", "seed", "says"), FAULTS[: FAULTS_AT_ONCE if SEEDS == 1 else None])
def test_a_fault_is_found(
    fault: str, scenario: Scenario, seed: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    getattr(incarnations, fault)(monkeypatch)
    assert any(says in text for text in run(seed, scenario).violations)
