"""Bad days without a cut (`connected.py`): nothing is lost, nothing is doubled; and the evidence can fail.

`CONNECTED_SEEDS=10000 pytest tests/simulation/test_connected.py`, or `python -m tests.simulation.connected` in parts.
"""

from __future__ import annotations

import os

import pytest

from actonce.sim.plan import Burst, Crash, Drift, Join, Leave, Pause, Plan, SlowDisk, Suspend

from . import connected, planted
from .mesh import run

FEW_SEEDS = 6
SEEDS = int(os.environ.get("CONNECTED_SEEDS", FEW_SEEDS))
STRIDE = 2


@pytest.mark.parametrize("first", range(1, STRIDE + 1))
def test_nothing_is_lost_and_nothing_is_doubled(first: int) -> None:
    found: list[str] = []
    totals = connected.run_days(range(first, SEEDS + 1, STRIDE), found.append)
    assert found == [], totals
    assert sum(totals[name]["posts"] for name in ("asked", "unasked") if totals[name]) > 0


@pytest.mark.parametrize(
    ("fault", "seeds"),
    [
        ("settled_at_once", range(1, 3)),
        ("promise_not_needed", range(9, 14, 4)),
        ("doubt_not_asked", range(10, 15, 4)),
    ],
)
def test_a_fault_is_found(fault: str, seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    getattr(planted, fault)(monkeypatch)
    for seed in seeds:
        found: list[str] = []
        connected.run_days(range(seed, seed + 1), found.append)
        if found:
            return
    pytest.fail(f"{fault} was not found in {len(seeds)} seeds")


FOUND: dict[str, tuple[range, Plan]] = {
    # b, on an empty journal, is linked to a while a restarts: neither may wait for the other's word for ever
    "a joiner meets a restart": (range(4, 5), (Crash(0.5, "a", 0.4), Join(0.6, "b"))),
    # a settles on the word of b, which has just said goodbye and never admitted it: b could come back, and act, alone
    "a restart meets a goodbye": (
        range(5026, 5027),
        (Crash(0.611, "a", 0.129), Leave(0.829, "b", 1.629), Leave(1.388, "a", 2.329)),
    ),
    # b dies unsettled: that its earlier process is in its last view says nothing of who has read what it did
    "an earlier process is nobody who is left": (
        range(696, 697),
        (
            *(Crash(0.309, "a", 1.815), Crash(1.122, "b", 0.801), Suspend(2.615, "b", 1.508)),
            *(Crash(3.385, "b", 0.234), Crash(4.114, "a", 0.524)),
        ),
    ),
    # a reaches e through c, which is stopped: the direct link is slow, and works
    "the third is stopped": (
        range(682, 683),
        (
            *(Join(0.631, "c"), Crash(1.41, "a", 0.156), Crash(2.065, "b", 1.643), Pause(2.798, "c", 3.111)),
            *(Pause(3.361, "a", 0.109), Join(4.053, "d"), Crash(4.731, "b", 0.864)),
        ),
    ),
    # b dies before it ever settled, and a, which had it in its view, waits for what nobody knows
    "who never acted comes back": (
        range(6182, 6183),
        (
            *(Leave(1.02, "a", 1.642), Join(1.556, "b"), Leave(2.411, "a", 0.992), Join(2.71, "b")),
            *(Crash(3.798, "b", 0.843), Pause(4.137, "b", 0.121)),
        ),
    ),
    # c settled for a moment, and then says that it waits for somebody's word: nobody may wait for its promise
    "a member that waits for a word": (
        range(73, 74),
        (
            *(Pause(0.192, "b", 2.745), Pause(1.214, "a", 2.222), Crash(1.468, "b", 1.19), Drift(1.968, "b", 0.98)),
            *(Pause(2.511, "e", 2.239), Join(3.155, "c"), Join(3.779, "d"), Crash(3.909, "d", 1.343)),
            Crash(4.663, "a", 2.324),
        ),
    ),
    # as before, and a restarts too: what it never saw settle must not be in a view on its disk
    "who never acted was in no view": (
        range(998, 999),
        (
            *(Leave(0.137, "a", 0.527), Join(1.354, "b"), Crash(1.983, "b", 0.953), SlowDisk(2.919, "a", 0.266, 4.531)),
            *(Crash(3.254, "b", 1.72), Burst(3.963, 24), Burst(4.29, 20), Crash(4.657, "a", 2.265)),
        ),
    ),
    # g hears b's last view, and then, through a, which was stopped, the ones before it
    "an older view comes late": (
        range(4365, 4366),
        (
            *(Pause(0.48, "b", 1.421), Crash(0.842, "g", 0.455), Leave(1.175, "a", 0.737), Crash(1.768, "e", 1.144)),
            *(Suspend(1.992, "a", 1.761), Join(3.213, "e"), Crash(4.068, "d", 0.271), Pause(4.361, "a", 1.686)),
            Join(4.51, "c"),
        ),
    ),
    "an older view comes late through another": (
        range(9222, 9223),
        (
            *(Suspend(0.583, "d", 0.332), Join(0.815, "c"), Crash(1.588, "g", 0.648), Burst(1.808, 17)),
            *(Crash(2.114, "a", 0.98), Drift(2.449, "e", 1.01), Leave(3.037, "g", 0.146), Crash(3.305, "a", 0.884)),
            *(Crash(3.56, "a", 0.376), Join(3.996, "c"), Pause(4.343, "g", 2.152)),
        ),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_seeds_found(name: str) -> None:
    seeds, plan = FOUND[name]
    for seed in seeds:
        outcome, counts = run(connected.one_day, seed, plan)
        assert connected.violations(outcome, counts) == []
