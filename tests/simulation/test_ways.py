"""One bad link, one slow replica, one that comes and goes: no task waits for longer than WAIT_S, nothing doubles.

With the lan preset. A replica that is too slow is removed after suspicion + grace, 1.6 s, and a round trip, in which it
learns of that; here 1.1 s. Work itself takes 0.1 s at most. Where a link is cut, a third replica passes messages on.
"""

import pytest

from actonce.sim.plan import CutLink, DropLink, OneWay, Partition, Pause, Plan, SlowLink, SlowPeer
from actonce.sim.run import Outcome, Scenario, run_seed

from .planted import make_agent, scenario

WAIT_S = 3.0
FOR_S = 10.0
REPLICAS = (3, 4, 5)
SEEDS = (1,)


def course(replicas: int) -> Scenario:
    return scenario(12.0, 150, (0.1, 0.1), replicas=(replicas, replicas))


def outcome(seed: int, replicas: int, *plan: Plan) -> Outcome:
    found = run_seed(seed, course(replicas), make_agent, tuple(fault for part in plan for fault in part))
    assert not found.violations, found.violations[:3]
    assert found.doubled == 0
    return found


FLAPS: Plan = tuple(Partition(2.0 + 1.5 * index, ("b",), 0.9) for index in range(7))
LONG_FLAPS: Plan = tuple(Partition(2.0 + 3.5 * index, ("b",), 2.0) for index in range(3))
PAUSES: Plan = tuple(Pause(2.0 + 3.0 * index, "b", 1.9) for index in range(3))

TROUBLES: dict[str, Plan] = {
    "a link is cut": (CutLink(2.0, "a", "b", FOR_S),),
    "a link is cut one way": (OneWay(2.0, "a", "b", FOR_S),),
    "a link is cut the other way": (OneWay(2.0, "b", "a", FOR_S),),
    "a link is cut, and the third restarts the connection": (
        CutLink(2.0, "a", "b", FOR_S),
        *(DropLink(4.0 + index, "a", "c") for index in range(6)),
    ),
    "a link is slower than the contact window": (SlowLink(2.0, "a", "b", 0.8, FOR_S),),
    "a link flaps": tuple(CutLink(2.0 + 1.3 * index, "a", "b", 0.7) for index in range(8)),
    "a link breaks again and again": tuple(DropLink(2.0 + 0.31 * index, "a", "b") for index in range(30)),
    "a replica is slow": (SlowPeer(2.0, "b", 0.4, FOR_S),),
    "a replica is slower than the contact window": (SlowPeer(2.0, "b", 0.55, FOR_S),),
    "a replica flaps": FLAPS,
    "a replica sleeps again and again": PAUSES,
}


@pytest.mark.parametrize("replicas", REPLICAS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_waits_long_and_nothing_doubles(trouble: str, replicas: int) -> None:
    for seed in SEEDS:
        found = outcome(seed, replicas, TROUBLES[trouble])
        assert found.wait_s <= WAIT_S, f"seed {seed}: a task waited for {found.wait_s:.2f} s"


def test_sides_come_and_go_and_each_acts_once() -> None:
    """Partitions longer than the grace, one after the other: what waits, waits for the others' side only."""
    for seed in SEEDS:
        found = run_seed(seed, course(3), make_agent, LONG_FLAPS)
        assert not found.violations, found.violations[:3]
