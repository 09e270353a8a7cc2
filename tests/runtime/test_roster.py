"""Deciding the next roster: whatever the order in which entries spread, and whoever proposes what, one is decided."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from actonce import roster
from actonce.roster import Ballot, Rosters, Step, Version, Voter, as_acceptor, as_proposer
from actonce_crdt import Roster, RosterState
from actonce_crdt import roster as lattice

VOTERS: tuple[Voter, ...] = tuple((name, f"j-{name}") for name in "abc")
BEFORE = Version(1, VOTERS)
SEEDS = range(400)


class Replica:
    """One that votes, proposes now and then, and hears of the others' entries at any time, each log in its order."""

    def __init__(self, me: Voter) -> None:
        self.me = me
        self.log: list[Roster] = []
        self.read: dict[Voter, int] = {}
        self.rosters: dict[str, RosterState] = {}
        self.ballot: Ballot = roster.NO_BALLOT
        self.decided: Version | None = None

    def add(self, record: Roster) -> None:
        known = self.rosters.get(record.key, RosterState())
        self.rosters[record.key] = lattice.join(known, lattice.lift(record))

    def write(self, step: Step | None) -> None:
        if step is not None:
            name, journal = self.me
            record = Roster(
                str(step.number), len(self.log), name, step.act, step.ballot, journal, step.voters, step.over
            )
            self.log.append(record)
            self.add(record)

    def propose(self) -> None:
        self.ballot = (roster.highest_ballot(self.rosters, 2) + 1, self.me[0])
        self.write(Step(2, "propose", self.ballot))


def decisions(seed: int) -> set[Version]:
    """All versions 2 that any replica comes to know in one random run. Each proposer wants another voter added."""
    rng = random.Random(f"roster/{seed}")
    replicas = [Replica(voter) for voter in VOTERS]
    found = set()
    for _ in range(250):
        one = rng.choice(replicas)
        match rng.randrange(60):
            case 0:
                one.propose()
            case step if step < 16:
                one.write(as_acceptor(one.rosters, BEFORE, one.me))
            case step if step < 24:
                if one.ballot != roster.NO_BALLOT:
                    wanted = tuple(sorted((*VOTERS, (f"new-of-{one.me[0]}", "j"))))
                    one.write(as_proposer(one.rosters, BEFORE, one.ballot, wanted))
            case _:
                other = rng.choice(replicas)
                at = one.read.get(other.me, 0)
                if at < len(other.log) and other is not one:
                    one.add(other.log[at])
                    one.read[other.me] = at + 1
        version = roster.decided(one.rosters, BEFORE)
        if version is not None:
            found.add(version)
    return found


def test_one_roster_is_decided() -> None:
    found = [decisions(seed) for seed in SEEDS]
    assert all(len(versions) <= 1 for versions in found)
    assert sum(map(len, found)) > len(SEEDS) // 4, "too few runs came to a decision to prove anything"


def one_is_enough(patch: pytest.MonkeyPatch) -> None:
    def hasty(rosters: Rosters, before: Version) -> Version | None:
        accepted = next(roster.steps(rosters, before.number + 1, "accept"), None)
        return Version(before.number + 1, accepted.voters) if accepted is not None else None

    patch.setattr(roster, "decided", hasty)


def promise_broken(patch: pytest.MonkeyPatch) -> None:
    """The proposer offers what it wants, whatever was accepted before."""

    def stubborn(rosters: Rosters, version: Version, ballot: Ballot, wanted: tuple[Voter, ...]) -> Step | None:
        step = roster.as_proposer(rosters, version, ballot, wanted)
        return replace(step, voters=wanted) if step is not None else None

    patch.setitem(globals(), "as_proposer", stubborn)


def bound_ignored(patch: pytest.MonkeyPatch) -> None:
    """A voter accepts an offer of any ballot, whatever it has promised."""

    def careless(rosters: Rosters, version: Version, me: Voter) -> Step | None:
        mine = [step for step in roster.steps(rosters, 2, "accept") if step.author == me[0]]
        for offer in roster.steps(rosters, 2, "offer"):
            if all(step.ballot != offer.ballot for step in mine):
                return Step(2, "accept", offer.ballot, offer.voters)
        return as_acceptor(rosters, version, me)

    as_acceptor = roster.as_acceptor
    patch.setitem(globals(), "as_acceptor", careless)


@pytest.mark.parametrize("fault", [one_is_enough, promise_broken, bound_ignored], ids=lambda fault: fault.__name__)
def test_a_fault_is_found(fault: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(fault)
    fault(monkeypatch)
    assert any(len(decisions(seed)) > 1 for seed in SEEDS)


def test_only_one_voter_at_a_time() -> None:
    rest = VOTERS[1:]
    assert roster.is_one_step(VOTERS, rest)
    assert roster.is_one_step(VOTERS, (*VOTERS, ("d", "j")))
    assert not roster.is_one_step(VOTERS, VOTERS)
    assert not roster.is_one_step(VOTERS, (*rest, ("d", "j")))
    assert not roster.is_one_step(VOTERS, (("a", "another journal"), *rest))
    assert not roster.is_one_step(VOTERS[:1], ())
