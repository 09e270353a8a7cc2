"""Fenced tasks: partitions far longer than the grace, the lock service away for all or for one, slow, and back again.

Each effect once at a feed that never deduplicates, however long the mesh was cut; and each deliberate fault is found.
The seeds pass without the fault, so it is the fault that is found. Leases that are dated or ended wrongly need two
replicas that look at the same moment: `tests/locks/test_lease_faults.py` has those faults.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from actonce.reporting import explain, status
from actonce.sim.plan import Burst, LockCut, LockDown, Partition, Plan, to_json
from actonce.sim.run import Run, Scenario, run_seed
from actonce.sim.world import SimWorld
from actonce_crdt import Json

from . import planted_locks
from .mesh import run
from .planted_locks import agent_maker, scenario

OUTSIDE = "out of contact"
"""A checker of another rule, which looks only at cuts that are too short for anybody to be given up."""


TIMEOUT_S = 1.0
"""Of a publish, where a test looks at it: of the three seconds of a lease."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """Where a fault shows. Without a plan, faults of the mix are drawn from the seed."""

    scenario: Scenario
    plan: Plan | None = None
    can_lookup: bool = True


WIDE = scenario(14.0, 60, work_s=4.0, replicas=(2, 2))
LONG = scenario(14.0, 60, work_s=10.0, replicas=(2, 2))
CUT = Partition(2.0, ("a",), 11.0)
BURSTS = (Burst(0.5, 20), Burst(4.0, 30), Burst(7.0, 20))

MIXED = Hunt(scenario(25.0, 60, replicas=(2, 3)))
MIXED_UNASKED = Hunt(scenario(25.0, 60, replicas=(2, 3)), can_lookup=False)
SIDES = Hunt(WIDE, (*BURSTS, CUT))
RESTARTED = Hunt(WIDE, (*BURSTS, CUT, LockDown(6.0, 0.2)))
# One side loses the service: after it has said that the other side no longer reads its intents, or before.
CUT_OFF = Hunt(LONG, (Burst(0.5, 30), CUT, Burst(2.5, 30), LockCut(5.0, "a", 8.0)))
CUT_OFF_EARLY = Hunt(LONG, (Burst(0.5, 60), CUT, LockCut(2.3, "a", 9.0)), can_lookup=False)

TAKEN_OVER = Hunt(
    scenario(18.0, 60, work_s=5.0, replicas=(2, 2)),
    (Burst(2.5, 60), Partition(2.0, ("a",), 15.0), LockCut(6.5, "a", 10.0)),
)

AGAIN = "fenced, and posted again"
BACK = "with fence"
FAULTS: tuple[tuple[str, int, Hunt, str], ...] = (
    # name, seeds within which it is found, where, what the checkers say
    ("gate_ignores_expiry", 4, CUT_OFF, f"{AGAIN}|{BACK}"),
    ("token_is_the_epoch", 3, TAKEN_OVER, BACK),
    ("session_ended_unwaited", 3, SIDES, f"{AGAIN}|{BACK}"),
    ("nothing_is_doubtful", 2, CUT_OFF, AGAIN),
    ("readers_not_awaited", 2, CUT_OFF_EARLY, AGAIN),
    ("service_forgets", 2, RESTARTED, f"{AGAIN}|{BACK}"),
)


def found(hunt: Hunt, seed: int) -> list[str]:
    """What the checkers say."""
    make_agent = agent_maker(can_lookup=hunt.can_lookup)
    outcome = run_seed(seed, hunt.scenario, make_agent, hunt.plan)
    plan = to_json(outcome.plan)
    return [f"seed {seed}: {text} (plan {plan})" for text in outcome.violations if OUTSIDE not in text]


@pytest.mark.parametrize("hunt", [MIXED, MIXED_UNASKED, SIDES, RESTARTED, CUT_OFF, CUT_OFF_EARLY, TAKEN_OVER])
def test_once(hunt: Hunt) -> None:
    for seed in range(1, 4):
        assert found(hunt, seed) == []


@pytest.mark.parametrize(("name", "seeds", "hunt", "says"), FAULTS, ids=[name for name, *_ in FAULTS])
def test_a_fault_is_found(name: str, seeds: int, hunt: Hunt, says: str) -> None:
    for seed in range(1, seeds + 1):
        with pytest.MonkeyPatch.context() as patch:
            fault: Callable[[pytest.MonkeyPatch], None] = getattr(planted_locks, name)
            fault(patch)
            violations = found(hunt, seed)
        if any(re.search(says, violation) for violation in violations):
            return
    pytest.fail(f"{name} was not found in {seeds} seeds")


def spare_s(seed: int) -> float:
    """Of all that passed the gate: the least time between when it must have arrived and the end of its lease."""

    async def look() -> float:
        cut = Run(seed, CUT_OFF.scenario, agent_maker(can_lookup=True, timeout_s=TIMEOUT_S), CUT_OFF.plan)
        least, published = [math.inf], cut.cluster.feed.on_publish

        def publish(world: SimWorld, key: str, fence: int, body: Json) -> None:
            published(world, key, fence, body)
            session = cut.cluster.engine(world.name).fenced.session
            assert session is not None
            assert session.lease is not None
            least[0] = min(least[0], session.lease.until - world.now() - TIMEOUT_S)

        cut.cluster.feed.on_publish = publish
        await cut.outcome()
        return least[0]

    return run(look)


def test_what_passes_the_gate_arrives_within_the_lease() -> None:
    """So nothing of an old holder arrives after anything of a new one."""
    assert spare_s(1) > 0
    with pytest.MonkeyPatch.context() as patch:
        planted_locks.publish_time_not_kept(patch)
        assert spare_s(1) < 0


async def sides(seed: int) -> Run:
    """Nothing but one long partition; how it stands just before it heals."""
    cut = Run(seed, SIDES.scenario, agent_maker(can_lookup=True), SIDES.plan)
    await cut.outcome()
    return cut


@pytest.mark.parametrize("seed", range(1, 4))
def test_what_one_side_has_done_the_other_waits_for(seed: int) -> None:
    """It is not run again, to be found done at the sink: the service remembers it."""
    assert most_ends(seed) == 1
    with pytest.MonkeyPatch.context() as patch:
        planted_locks.done_is_forgotten(patch)
        assert most_ends(seed) > 1


def most_ends(seed: int) -> int:
    """How often a handler of one task came to its end in its own right, while the mesh was cut."""
    history = run(sides, seed).cluster.history
    ends = Counter(event.facts[1] for event in history.of("end") if event.at < 12.5 and not event.facts[3])
    return max(ends.values())


def test_the_other_side_says_what_it_waits_for() -> None:
    async def look() -> list[tuple[str, str]]:
        cut = Run(1, SIDES.scenario, agent_maker(can_lookup=True), SIDES.plan)
        waits: list[tuple[str, str]] = []

        def collect() -> None:
            for engine in cut.cluster.live():
                for task in engine.claims.open:
                    facts = explain(engine, task)
                    assert facts is not None
                    waits.append((facts["state"], str(facts["waits"])))

        cut.cluster.loop.call_later(11.5, collect)
        await cut.outcome()
        return waits

    waits = run(look)
    assert ("waiting", "waits for its lock: a has done it; waits for its outcome") in waits
    assert ("waiting", "waits for its lock: held by b") in waits


def test_a_service_that_is_away_is_named() -> None:
    """From the first moment, by every replica; tasks are taken in all the same, and done when it is back."""

    async def look() -> tuple[list[str], str, int]:
        away = Run(1, scenario(10.0, 20), agent_maker(can_lookup=True), ())
        away.cluster.locks.down = True
        said: list[str] = []

        def collect() -> None:
            for engine in away.cluster.live():
                said.append(next(text for text in status(engine)["degraded"] if "lock" in text))
                assert status(engine)["locks"]["lease_s"] is None
            away.cluster.locks.down = False

        away.cluster.loop.call_later(5.02, collect)
        outcome = await away.outcome()
        assert outcome.violations == []
        return said, outcome.trace, outcome.posts

    said, trace, posts = run(look)
    assert said == ["waiting for the lock service sim://locks: connection refused, since 5 s"] * 3
    assert posts == 40
    assert run(look)[1] == trace, "deterministic"
