"""Tasks that need a majority: once, however long a partition lasts; and each rule, taken out, is missed.

Most of these run with the ownership rules switched off (`planted_majority.ownership_off`): then any replica claims any
task at any time, and what keeps two from acting is the guard alone. With them on, few of the faults would ever show.

One rule has no fault in the table, since taking it out shows nowhere: *closed voters* (`Electorate.closed`), of which
`planted_majority.closed_forgotten` takes all four uses away. Why that is so, as far as an argument goes (a is the old
holder, x a voter, "active" and "accept" are entries of x's log, which everybody reads in its order):

- Whoever knows that x accepted n + 2 has read before that x is active in n + 1, hence adopted n + 1. So only voters
  that accepted n + 1, not yet known to be decided, are ever closed; and all that a counts for its claim is under n.
- *Under n + 1* any majority shares an x with the one that a counts on. x grants a's task under n + 1 to somebody else
  only when it has read no heartbeat of a for a lease, so a's contact with x has ended; and what x kept or granted of
  a's before, it knows.
- *Under n + 2 and later* that x accepted n + 2 after it was active in n + 1. What it granted, kept or answered for a
  came before a read that it was active, so before it accepted; whoever is active in n + 2 has read what x had read when
  it accepted, and waits for a lease from its adoption before it grants anything over a.

That is no proof, so the rule stays: it costs nothing. (Without `adoption_not_waited`'s rule the third step fails.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest

from actonce.settings import LAN
from actonce.sim import run as sim_run
from actonce.sim.disk_faults import Damage
from actonce.sim.elections import Operation, is_linearizable
from actonce.sim.plan import (
    Burst,
    Crash,
    DropLink,
    Mix,
    OneWay,
    Partition,
    Plan,
    SlowDisk,
    Vote,
    Wipe,
    to_json,
)
from actonce.sim.run import Scenario, run_seed

from . import planted_majority
from .planted import only
from .planted_majority import ownership_off, scenario


@dataclass(frozen=True, slots=True)
class Hunt:
    """Where a fault shows. Without a plan, faults of the mix are drawn from the seed."""

    scenario: Scenario
    plan: Plan | None = None
    owned: bool = False
    """Whether the ownership rules are on."""


def apart(*pairs: str, at: float, for_s: float) -> Plan:
    """Cuts between these pairs, both ways."""
    return tuple(OneWay(at, pair[0], pair[1], for_s) for pair in (*pairs, *(pair[::-1] for pair in pairs)))


SIDES = Hunt(
    scenario(8.0, 40, (0.3, 2.0), mix=only((0.3, 1.5), Mix(partition_s=(1.0, 5.0)), Partition=3, OneWay=1, Crash=1)),
    owned=True,
)
ANYTHING = Hunt(scenario(12.0, 40, (0.3, 3.0), mix=Mix(partition_s=(0.05, 6.0)), replicas=(3, 5)), owned=True)
ROSTERS = Hunt(
    scenario(
        10.0,
        40,
        (0.3, 2.0),
        replicas=(3, 5),
        voters=2,
        mix=only((0.1, 1.0), Mix(partition_s=(0.1, 4.0)), Vote=6, Partition=1, Crash=1, Pause=1),
    ),
    owned=True,
)
RESTLESS = Hunt(
    scenario(
        5.0,
        16,
        (0.3, 2.0),
        mix=only((0.2, 0.8), Mix(partition_s=(0.3, 3.0)), Partition=3, OneWay=1, Crash=2, SlowDisk=1),
    )
)
RESTLESS_ROSTERS = Hunt(
    scenario(
        5.0,
        16,
        (0.3, 2.0),
        replicas=(4, 5),
        voters=3,
        mix=only((0.05, 0.4), Mix(partition_s=(0.3, 2.0)), Partition=2, Vote=8, Crash=1, Wipe=1),
    )
)
CUT = Hunt(scenario(7.0, 2, (0.1, 0.1), connect_s=4.0), (Burst(1.5, 60), Partition(2.2, ("c",), 4.0)), owned=True)
CUT_AND_CLAIMED = Hunt(scenario(5.0, 2, (0.1, 0.1), connect_s=3.0), (Burst(1.5, 40), Partition(1.9, ("c",), 3.0)))
TURN = (*apart("ac", at=0.3, for_s=6.0), *apart("ab", at=2.26, for_s=3.0), Burst(1.6, 60))
"""a works with b's vote, then loses b; c, which has not heard of a for long, gets b, or what b has become."""
RESTART = Hunt(
    scenario(6.0, 2, (0.1, 0.1), connect_s=2.0), (*TURN, *apart("bc", at=0.3, for_s=1.96), Crash(2.25, "b", 0.05))
)
LOSS = (DropLink(2.24, "b", "c"), Crash(2.25, "b", 0.05))
SLOW_RESTART = Hunt(  # with slots to spare: the oldest tasks, which wait for the end of a's lease, are asked for first
    replace(RESTART.scenario, settings=replace(LAN, slots=64)),
    (*TURN[:-1], Burst(1.6, 40), *apart("bc", at=0.3, for_s=1.96), SlowDisk(1.3, "b", 4.0, 0.96), *LOSS),
)
KEPT = Hunt(
    replace(scenario(6.5, 2, (2.0, 2.0)), settings=replace(LAN, slots=64)),
    (
        *(*apart("ac", at=0.3, for_s=6.0), *apart("bc", at=0.3, for_s=1.96), Burst(0.8, 60)),
        *(SlowDisk(1.1, "b", 4.0, 1.5), Crash(2.2, "a", 4.0), Crash(2.2, "b", 0.05)),
    ),
)
"""a and b die at once, before what a was about to post is on the disk of b; b comes back, and has c to vote with it."""
TWO_CHANGES = Hunt(
    replace(
        scenario(5.0, 2, (0.05, 0.05), connect_s=3.0, replicas=(4, 4), voters=3), settings=replace(LAN, slots=64)
    ),
    (
        *(*apart("ac", "ad", at=0.3, for_s=6.0), *apart("bc", "bd", at=0.3, for_s=1.96)),
        *apart("ab", at=2.26, for_s=3.0),
        *(Burst(1.7, 60), Vote(2.32, "b", "add", "d"), Vote(2.52, "b", "remove", "b"), Vote(2.6, "c", "remove", "b")),
    ),
)
"""a works with b's vote, and loses b. In half a second the roster abc becomes acd; c and d have long not heard of a."""
WIPED = Hunt(RESTART.scenario, (*TURN, *apart("bc", at=0.3, for_s=1.96), Wipe(2.25, "b", 0.05)))
DAMAGED = Hunt(RESTART.scenario, (*TURN, *apart("bc", at=0.3, for_s=1.96), Damage(2.25, "b", "cut", 0.05)))
DOUBLE = "needs a majority|after epoch|was decided for|never decided|write-once"
FAULTS: tuple[tuple[str, int, Hunt, str], ...] = (
    # name, seeds within which it is found, where, what the checkers say
    ("vote_not_durable", 5, SLOW_RESTART, DOUBLE),
    ("voted_twice", 2, RESTLESS, "was decided for|write-once"),
    ("lease_ignored_by_voters", 3, CUT_AND_CLAIMED, DOUBLE),
    ("restart_not_waited", 3, RESTART, DOUBLE),
    ("journal_ignored", 5, WIPED, DOUBLE),
    ("journal_id_kept", 5, DAMAGED, DOUBLE),
    ("read_taken_for_kept", 2, KEPT, DOUBLE),
    ("adoption_not_waited", 1, TWO_CHANGES, DOUBLE),
    ("lease_ignored_at_gate", 3, CUT, DOUBLE),
    ("majority_of_the_reachable", 3, SIDES, DOUBLE),
)


def found(hunt: Hunt, seed: int, fault: str = "") -> list[str]:
    """What the checkers say of one seed, with a fault or without."""
    with pytest.MonkeyPatch.context() as patch:
        if not hunt.owned:
            # Replicas that claim without end are not expected to finish, nor to keep the rules of ownership.
            ownership_off(patch)
            patch.setattr(sim_run, "SAFETY", ())
            patch.setattr(sim_run, "LIVENESS", ())
            patch.setattr(sim_run, "LIVENESS_S", 0.1)
        if fault:
            plant: Callable[[pytest.MonkeyPatch], None] = getattr(planted_majority, fault)
            plant(patch)
        outcome = run_seed(seed, hunt.scenario, planted_majority.make_agent, hunt.plan)
    violations = [text for text in outcome.violations if hunt.owned or text != "not everything was done in time"]
    return [f"seed {seed}: {violation} (plan {to_json(outcome.plan)})" for violation in violations]


@cache
def found_without_a_fault(hunt: Hunt, seed: int) -> tuple[str, ...]:
    return tuple(found(hunt, seed))


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("hunt", [SIDES, ANYTHING, ROSTERS], ids=["sides", "anything", "rosters"])
def test_once_and_all_done(hunt: Hunt, seed: int) -> None:
    assert found_without_a_fault(hunt, seed) == ()


@pytest.mark.parametrize("seed", range(1, 13))
@pytest.mark.parametrize("hunt", [RESTLESS, RESTLESS_ROSTERS], ids=["restless", "rosters"])
def test_once_whoever_claims(hunt: Hunt, seed: int) -> None:
    assert found_without_a_fault(hunt, seed) == ()


@pytest.mark.parametrize(("name", "seeds", "hunt", "says"), FAULTS, ids=[name for name, *_ in FAULTS])
def test_a_fault_is_found(name: str, seeds: int, hunt: Hunt, says: str) -> None:
    for seed in range(1, seeds + 1):
        if any(re.search(says, violation) for violation in found(hunt, seed, name)):
            assert found_without_a_fault(hunt, seed) == (), "the faulty code is that of the runtime itself"
            return
    pytest.fail(f"{name} was not found in {seeds} seeds")


@pytest.mark.parametrize(
    ("operations", "is_one"),
    [
        ([], True),
        ([Operation(0, 1, "won", 1), Operation(2, 2, "read", 1)], True),
        ([Operation(0, 1, "won", 1), Operation(0, 1, "won", 2)], False),
        ([Operation(0, math.inf, "unknown", 1), Operation(0, 1, "won", 2)], True),
        ([Operation(0, math.inf, "unknown", 1), Operation(3, 3, "read", 1)], True),
        ([Operation(2, math.inf, "unknown", 1), Operation(1, 1, "read", 1)], False),
        ([Operation(0, math.inf, "unknown", 1), Operation(3, 3, "read", 1), Operation(4, 5, "won", 2)], False),
        ([Operation(0, 9, "won", 1), Operation(1, 2, "won", 2), Operation(3, 4, "read", 2)], False),
    ],
)
def test_a_write_once_register(operations: list[Operation], is_one: bool) -> None:
    assert is_linearizable(operations) is is_one
