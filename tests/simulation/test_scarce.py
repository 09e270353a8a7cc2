"""Short days with little to share: limits hold, and the evidence can fail.

`python -m tests.simulation.scarce --first 1 --seeds 10000 --json` is the long run, `--plant FAULT` finds a fault.
"""

from __future__ import annotations

import pytest

from actonce.reclaim import RECLAIM
from actonce.sim.plan import Crash, CutLink, Drift, Leave, OneWay, Partition, Skew, SlowDisk, Suspend
from actonce.sim.provider import over_periods

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


DEADLOCKS = {
    # every slot of b has a handler that waits for rights, and so had the task that gives them back to it
    1720: (
        *(Crash(1.233, "b", 3.527), Partition(2.289, ("c",), 4.861), Partition(4.532, ("a",), 4.452)),
        *(Partition(7.265, ("a",), 4.281), Crash(7.928, "c", 3.905)),
    ),
    # two ask for one task, each has the vote that it gave itself, and neither gives it up
    502: (Partition(0.942, ("a", "b"), 3.053), Partition(2.648, ("a",), 4.919), Partition(4.667, ("c",), 3.47)),
}


@pytest.mark.parametrize("seed", DEADLOCKS)
def test_rights_that_were_taken_come_back_to_who_returns(seed: int, monkeypatch: Patch) -> None:
    limited.short_days(monkeypatch, scarce.DAY_S, scarce.SKEW_S)
    outcome, day = scarce.run_day(seed, DEADLOCKS[seed], "leased", "cuts")
    assert scarce.violations(outcome, day) == []


def test_a_day_turns_by_the_clock_of_who_calls(monkeypatch: Patch) -> None:
    """c, whose wall clock was set wrong while it ran, is a tenth of a second ahead: it spends of the next day."""
    limited.short_days(monkeypatch, scarce.DAY_S, scarce.SKEW_S)
    plan = (
        *(Skew(0.462, "c", 3600.0), Partition(0.642, ("b", "c"), 2.917), Skew(0.742, "b", -10.0)),
        *(Suspend(0.844, "b", 0.244), Drift(1.754, "c", 1.02), Partition(1.942, ("a", "b"), 1.373)),
        *(Partition(2.597, ("a",), 0.753), Suspend(3.392, "b", 0.724), Crash(3.556, "c", 0.644)),
    )
    outcome, day = scarce.run_day(7210, plan, "budget", "clocks")
    assert scarce.violations(outcome, day) == []


def test_a_use_beyond_a_clock_s_error_counts_for_its_own_day() -> None:
    def days(at: float) -> int:
        return int(at // 10)

    full = [(float(at), 1) for at in range(1, 9)]
    assert list(over_periods([*full, (9.95, 1)], 8, days, lambda at: 0.1)) == []
    assert list(over_periods([*full, (9.85, 1)], 8, days, lambda at: 0.1)) == ["9 instead of 8 in period 0"]
    assert list(over_periods([*full, (9.95, 9)], 8, days, lambda at: 0.1)) == ["9 instead of 8 in period 1"]


def test_taking_rights_is_never_set_aside(monkeypatch: Patch) -> None:
    """Processes die with it as with anything that runs when they do: it has done nothing to them."""
    limited.short_days(monkeypatch, scarce.DAY_S, scarce.SKEW_S)
    deaths: list[int] = []
    look_back = scarce.ScarceRun.look_back

    def counting(self: scarce.ScarceRun) -> None:
        tasks = self.cluster.live()[0].ledger.state.tasks.values()
        deaths.extend(one.deaths for one in tasks if one.task is not None and one.task.kind == RECLAIM)
        look_back(self)

    monkeypatch.setattr(scarce.ScarceRun, "look_back", counting)
    scarce.run_day(1720, DEADLOCKS[1720], "leased", "cuts")
    assert deaths
    assert not any(deaths)
