"""State transfer under the ordinary faults: with bounds so low that nearly every answer is offered, and taken in parts.

ACTONCE_TRANSFER_SEEDS=N runs so many seeds of each scenario instead of one.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

import actonce.state_transfer
from actonce.comparing import CLIENTS_FEW, NEWS_MAX
from actonce.sim.run import Outcome, Scenario
from actonce.state_transfer import StateTransfer

from .incarnations import FAR_DROPS, FEW, NEWS, SCENARIOS, run

SEEDS = int(os.environ.get("ACTONCE_TRANSFER_SEEDS", "1"))
Patch = pytest.MonkeyPatch


def transferred(patch: Patch, seed: int, scenario: Scenario, *, by_digest: bool = False) -> Outcome:
    """One seed. `by_digest`: links begin by digest, too."""
    patch.setattr(actonce.state_transfer, "OFFER_BYTES_MIN", 300)
    patch.setattr(actonce.state_transfer, "PART_BYTES", 100)
    patch.setattr(actonce.state_transfer, "FIRST_BYTES", 200)
    few, news = (FEW, NEWS) if by_digest else (CLIENTS_FEW, NEWS_MAX)
    return run(seed, scenario, few=few, news=news)


@pytest.mark.parametrize("bad", SCENARIOS if SEEDS > 1 else ["far drops"])
@pytest.mark.parametrize("by_digest", [False, True])
def test_what_comes_in_parts_is_all_there(bad: str, by_digest: bool, monkeypatch: Patch) -> None:
    rare: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        found = transferred(monkeypatch, seed, SCENARIOS[bad], by_digest=by_digest)
        assert not found.violations, (seed, found.violations[:5])
        rare.update(found.sometimes)
    assert min(rare[f"said {word}"] for word in ("Offer", "Take", "Part")) > 10
    if SEEDS >= 20:
        assert rare["state_transfers_resumed"] > 0


def nobody_else_is_asked(patch: Patch) -> None:
    """Whoever began to take something waits for the rest of it, whatever becomes of who gives it."""
    patch.setattr(StateTransfer, "busy", property(lambda self: bool(self._coming)))
    patch.setattr(StateTransfer, "_drop_later", lambda *args: None)


def test_a_transfer_that_nobody_else_may_take_over_is_found(monkeypatch: Patch) -> None:
    nobody_else_is_asked(monkeypatch)
    found = (transferred(monkeypatch, seed, FAR_DROPS) for seed in range(1, 4))
    assert any("without an outcome" in text for outcome in found for text in outcome.violations)
