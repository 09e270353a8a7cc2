"""Short days with little to share: limits hold, and the evidence can fail.

`python -m tests.simulation.scarce --first 1 --seeds 10000 --json` is the long run, `--plant FAULT` finds a fault.
"""

from __future__ import annotations

from actonce.sim.plan import Crash, CutLink, Leave, OneWay, Partition, SlowDisk

from . import limited, scarce
from .limited import Patch

SEEDS = range(1, 9)


def test_the_provider_never_sees_more_than_the_limit() -> None:
    totals, wrong = scarce.totals_of(SEEDS)
    assert wrong == []
    for name in ("Crash", "Leave", "Partition", "transfers", "quota waits", "rights moved late"):
        assert totals[name], f"no seed had any {name}: this proves nothing"


def test_a_fault_is_found() -> None:
    """The others, and the seeds that find them: see tests/README.md."""
    found = scarce.first_found("given_twice", [1])
    assert found is not None


MIDNIGHT = (
    *(Leave(0.622, "b", 0.218), SlowDisk(0.787, "a", 0.266, 2.931), Partition(0.924, ("a",), 2.357)),
    *(Crash(1.187, "a", 0.043), SlowDisk(1.738, "b", 0.09, 0.99), SlowDisk(1.84, "b", 0.062, 2.088)),
    *(SlowDisk(2.152, "a", 0.257, 2.59), Crash(2.511, "b", 0.921), Leave(3.089, "b", 0.317)),
    *(Partition(3.487, ("b",), 1.558), Partition(3.822, ("a",), 0.642)),
)


def test_a_call_under_way_at_midnight_counts_for_both_days(monkeypatch: Patch) -> None:
    """Seed 376: it was sent before, arrived after, and was answered before the new day was on the disk."""
    limited.short_days(monkeypatch, scarce.DAY_S, scarce.SKEW_S)
    outcome, day = scarce.run_day(376, MIDNIGHT, limits="budget", kind="slow disks")
    assert scarce.violations(outcome, day) == []


LOST_WORD = (
    *(Partition(0.553, ("b", "c"), 0.652), Crash(1.186, "c", 0.121), Leave(1.493, "c", 0.88)),
    *(CutLink(1.915, "b", "a", 2.346), CutLink(2.841, "b", "c", 2.627), Crash(3.313, "c", 0.473)),
    *(Partition(3.687, ("b",), 3.066), OneWay(3.968, "a", "b", 3.159)),
)


def test_a_view_that_was_lost_with_a_relay_is_told_again(monkeypatch: Patch) -> None:
    """Seed 623: a told b of its view through c, which died with that; b never again held a to be live."""
    limited.short_days(monkeypatch, scarce.DAY_S, scarce.SKEW_S)
    outcome, day = scarce.run_day(623, LOST_WORD, limits="budget", kind="cuts")
    assert scarce.violations(outcome, day) == []
