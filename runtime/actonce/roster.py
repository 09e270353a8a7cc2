"""Who votes: the roster, its versions, and the next step towards the next version. Pure functions, no state, no clock.

Version n + 1 is decided by a majority of version n, as one instance of Paxos for each version (`actonce_crdt.roster`
holds its entries). It differs from version n by one voter, so that any majority of the one meets any majority of the
other. A voter that has accepted anything for n + 1 grants nothing under n any more.

A voter is a name *and* a journal. A replica that lost its journal has forgotten what it granted: it is another voter,
to be removed and added again. Not promised: anything, once a majority of the voters has lost its journals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actonce_crdt import VOTERS_MAX, Roster, RosterState

Voter = tuple[str, str]
"""Name and journal id."""
Ballot = tuple[int, str]
"""Number and proposer."""

NO_BALLOT: Ballot = (0, "")
BALLOT_MAX = 2**50
NUMBER_MAX = 2**31
Rosters = Mapping[str, RosterState]


@dataclass(frozen=True, slots=True)
class Version:
    """One roster. `voters` are sorted by name."""

    number: int
    voters: tuple[Voter, ...]

    @property
    def majority(self) -> int:
        """How many voters decide."""
        return len(self.voters) // 2 + 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the voters."""
        return tuple(name for name, _ in self.voters)


def steps(rosters: Rosters, number: int, act: str) -> Iterator[Roster]:
    """All known entries of this act for this version."""
    state = rosters.get(str(number))
    return (step for step in (state.steps if state is not None else ()) if step.act == act)


def newest(rosters: Rosters) -> Version | None:
    """The newest version that is known to be decided."""
    version = _announced(rosters)
    while version is not None:
        chosen = decided(rosters, version)
        if chosen is None:
            break
        version = chosen
    return version


def _announced(rosters: Rosters) -> Version | None:
    """The newest version of which somebody says that it was decided."""
    for number in sorted(_numbers(rosters), reverse=True):
        words = [step for step in steps(rosters, number, "active") if step.voters]
        if words:  # more than one only for version 1, when two replicas were started with --new
            first = min(words, key=lambda step: (step.stamp, step.author, step.voters))
            return Version(number, first.voters)
    return None


def _numbers(rosters: Rosters) -> list[int]:
    return [int(key) for key in rosters if key.isascii() and key.isdecimal() and int(key) < NUMBER_MAX]


def founders(rosters: Rosters) -> list[str]:
    """Replicas that were started as the first of a mesh: more than one is a mistake."""
    return sorted({voter[0] for step in steps(rosters, 1, "active") for voter in step.voters})


def decided(rosters: Rosters, before: Version) -> Version | None:
    """The version after `before`, if a majority of that has accepted the same voters in the same ballot."""
    votes: dict[tuple[Ballot, tuple[Voter, ...]], int] = defaultdict(int)
    for step in steps(rosters, before.number + 1, "accept"):
        if (step.author, step.journal) in before.voters:
            votes[step.ballot, step.voters] += 1
    for (_, voters), count in votes.items():
        if count >= before.majority:
            return Version(before.number + 1, voters)
    return None


def closed(rosters: Rosters, version: Version) -> frozenset[Voter]:
    """Voters that have accepted a later version: they grant nothing under this one any more."""
    later = [number for number in _numbers(rosters) if number > version.number]
    return frozenset((step.author, step.journal) for number in later for step in steps(rosters, number, "accept"))


def is_one_step(before: tuple[Voter, ...], after: tuple[Voter, ...]) -> bool:
    """Whether one voter was added, or one removed, and somebody is left."""
    return len(set(before) ^ set(after)) == 1 and 0 < len(after) <= VOTERS_MAX


def highest_ballot(rosters: Rosters, number: int) -> int:
    """The highest ballot number anybody has used for this version."""
    state = rosters.get(str(number))
    return max((step.ballot[0] for step in state.steps), default=0) if state is not None else 0


@dataclass(frozen=True, slots=True)
class Step:
    """What to write next. The caller adds its name, its journal and a stamp."""

    number: int
    act: str
    ballot: Ballot
    voters: tuple[Voter, ...] = ()
    over: Ballot = NO_BALLOT


def as_acceptor(rosters: Rosters, version: Version, me: Voter) -> Step | None:
    """What a voter of `version` owes to the ballots for the next one."""
    number = version.number + 1
    promised = _mine(rosters, number, "promise", me)
    accepted = _mine(rosters, number, "accept", me)
    bound = max(promised.ballot if promised else NO_BALLOT, accepted.ballot if accepted else NO_BALLOT)
    offers = [step for step in steps(rosters, number, "offer") if step.ballot[1] == step.author]
    for offer in sorted(offers, key=lambda step: step.ballot, reverse=True):
        fresh = accepted is None or accepted.ballot < offer.ballot
        if offer.ballot >= bound and fresh and is_one_step(version.voters, offer.voters):
            return Step(number, "accept", offer.ballot, offer.voters)
    asked = max((s.ballot for s in steps(rosters, number, "propose") if s.ballot[1] == s.author), default=NO_BALLOT)
    if asked > bound:
        if accepted is not None:
            return Step(number, "promise", asked, accepted.voters, accepted.ballot)
        return Step(number, "promise", asked)
    return None


def as_proposer(rosters: Rosters, version: Version, ballot: Ballot, wanted: tuple[Voter, ...]) -> Step | None:
    """The offer of our ballot, once a majority of `version` has promised: what it had accepted, or else `wanted`."""
    number = version.number + 1
    if any(step.ballot == ballot for step in steps(rosters, number, "offer")):
        return None
    promises = [
        step
        for step in steps(rosters, number, "promise")
        if step.ballot == ballot and (step.author, step.journal) in version.voters
    ]
    if len(promises) < version.majority:
        return None
    before = max(promises, key=lambda step: step.over)
    return Step(number, "offer", ballot, before.voters if before.over > NO_BALLOT else wanted)


def _mine(rosters: Rosters, number: int, act: str, me: Voter) -> Roster | None:
    return next((step for step in steps(rosters, number, act) if (step.author, step.journal) == me), None)
