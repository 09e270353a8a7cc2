"""Which roster version counts here, whether we vote in it, and changing it by one voter at a time.

A replica *adopts* the newest version that it knows to be decided: from then on it counts majorities of that one. A
voter of it grants only once it is *active*: once it has read all that was granted under every version before. That is
so when, after each of them stopped to grant, it has read all that a majority of the voters before had read; or all that
one voter that is active already had read. Being active is an entry of ours, written after what it stands for; so it
survives what our memory does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from actonce import roster
from actonce.errors import RosterRefused
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.peers import Peer
from actonce.roster import BALLOT_MAX, NO_BALLOT, Ballot, Step, Version, Voter
from actonce.settling import Settled
from actonce.world import World
from actonce_crdt import VOTERS_MAX, Roster

BALLOT_WAIT_LEASES = 1.0
"""Leases after which a ballot that came to nothing is tried again, plus up to as much again by chance."""


class Electorate:
    """The roster as one replica sees it."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        membership: Membership,
        journal: str,
        declared: tuple[str, ...],
        *,
        needed: bool,
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            journal: id of our journal.
            declared: names to be added by themselves, one change at a time, once they are linked and settled.
            needed: some kind of task needs a roster: the first replica of a new mesh founds it.
        """
        self._world, self._ledger, self._membership, self._note = world, ledger, membership, note
        self.me: Voter = (membership.me.name, journal)
        self.declared, self._needed = declared, needed
        self.version: Version | None = None
        self.closed: frozenset[Voter] = frozenset()
        """Voters of `version` that accepted a later one: they neither grant nor vouch under this one any more."""
        self.lease_s = membership.settings.suspicion_s + membership.settings.grace_s
        self.adopted_at = world.now()
        """When, on our clock, we learned of `version`, or started."""
        self._active = 0
        self._seen: dict[tuple[str, str, str, str, Ballot], float] = {}
        self._wanted: tuple[int, tuple[Voter, ...]] | None = None
        self._replies: list[Callable[[str | None], None]] = []
        self._ballot: Ballot = NO_BALLOT
        self._ballot_ends = -math.inf
        self._stalled_since = math.inf

    # Who votes

    @property
    def votes(self) -> bool:
        """Whether we may grant: a voter of the version that we know, active in it, and not yet bound to a later one."""
        version = self.version
        return (
            version is not None
            and self.me in version.voters
            and self._active == version.number
            and self.me not in self.closed
        )

    def contact(self, voter: Voter) -> float:
        """When we sent the newest heartbeat that this voter answered and whose answer we have read up to."""
        if voter == self.me:
            return math.inf
        peer = self.peer(voter)
        return peer.contact if peer is not None else -math.inf

    def peer(self, voter: Voter) -> Peer | None:
        """The replica of this name, if it has this journal."""
        peer = self._membership.peers.get(voter[0])
        return peer if peer is not None and peer.about is not None and peer.about.journal == voter[1] else None

    def in_reach(self) -> list[Voter]:
        """Voters in fresh contact, ourselves included."""
        since = self._world.now() - self._membership.settings.contact_window_s
        voters = self.version.voters if self.version is not None else ()
        return [voter for voter in voters if self.contact(voter) > since]

    @property
    def has_majority(self) -> bool:
        """Whether a majority of the voters is in reach."""
        return self.version is not None and len(self.in_reach()) >= self.version.majority

    # Progress

    def changed(self) -> None:
        """Entries about rosters came or were written."""
        self._refresh()

    def _refresh(self) -> None:
        rosters, now = self._ledger.state.rosters, self._world.now()
        version = roster.newest(rosters)
        if version is not None and version != self.version:
            if self.version is not None:
                self._note(f"roster {version.number}: {', '.join(version.names)}")
            self.version, self.adopted_at = version, now
            self._answer(version)
        if version is not None:
            self.closed = roster.closed(rosters, version)
            active = {_voter(step) for step in roster.steps(rosters, version.number, "active")}
            self._active = version.number if self.me in active else 0
            for number, act in ((version.number, "accept"), (version.number, "active")):
                for step in roster.steps(rosters, number, act):
                    self._seen.setdefault((str(number), act, step.author, step.journal, step.ballot), now)

    def recovered(self) -> None:
        """The journal has been read."""
        self._refresh()
        if self.version is not None:
            self.adopted_at = self._world.now()

    def tick(self) -> None:
        """Found, activate, answer ballots, propose."""
        rosters = self._ledger.state.rosters
        if not rosters and self._founds():
            self._write(Step(1, "active", (1, self.me[0]), (self.me,)))
        version = self.version
        if version is None:
            return
        if self.me in version.voters and self._active != version.number and self._has_read_all(version):
            self._write(Step(version.number, "active", (1, self.me[0]), version.voters))
        if self.me in version.voters and self._active == version.number:
            step = roster.as_acceptor(rosters, version, self.me)
            if step is not None:
                self._write(step)
        self._propose(version)

    def _founds(self) -> bool:
        """The first replica of a new mesh does, or, where a mesh is older than its need, the first declared one."""
        settled = self._membership.settled
        if settled is Settled.NEW:
            return self._needed or bool(self.declared)
        declared = bool(self.declared) and self.me[0] == min(self.declared)
        in_touch = self._membership.act_until() > self._world.now()
        return declared and in_touch and settled in (Settled.PEER, Settled.REUNION)

    def _has_read_all(self, version: Version) -> bool:
        """Whether we know of every claim that was granted under an earlier version.

        Either from a voter that is active already, or from a majority of the voters before: those that accepted this
        version, and so have stopped to grant under theirs, in which they were active.
        """
        rosters = self._ledger.state.rosters
        for step in roster.steps(rosters, version.number, "active"):
            if step.voters == version.voters and self._has_read(step):
                return True
        earlier = self._before(version)
        if earlier is None:
            return False
        accepted = [step for step in roster.steps(rosters, version.number, "accept") if _voter(step) in earlier.voters]
        return len([step for step in accepted if self._has_read(step)]) >= earlier.majority

    def _before(self, version: Version) -> Version | None:
        steps = roster.steps(self._ledger.state.rosters, version.number - 1, "active")
        voters = next((step.voters for step in steps if step.voters), None)
        return Version(version.number - 1, voters) if voters is not None else None

    def _has_read(self, step: Roster) -> bool:
        """Whether we have read all that the author of this step had read when it wrote it."""
        voter = _voter(step)
        seen = self._seen.get((step.key, step.act, *voter, step.ballot), math.inf)
        return self.contact(voter) > seen

    def _write(self, step: Step) -> None:
        name, journal = self.me
        stamp = self._ledger.stamp()
        self._ledger.write(
            Roster(str(step.number), stamp, name, step.act, step.ballot, journal, step.voters, step.over)
        )

    # Changing it

    def add(self, name: str, reply: Callable[[str | None], None]) -> None:
        """Let the replica of this name vote. `reply` gets None when it does, or the reason why it will not.

        Raises:
            RosterRefused: it cannot be added as things stand.
        """
        version = self._changeable()
        peer = self._membership.peers.get(name)
        journal = self.me[1] if name == self.me[0] else peer.about.journal if peer is not None and peer.about else ""
        if dict(version.voters).get(name) == journal and journal:
            raise RosterRefused(f"{name} votes already")
        if name in version.names:
            raise RosterRefused(f"{name} votes with a journal that it has lost: remove {name} first, then add it again")
        if name != self.me[0] and (peer is None or not peer.linked):
            raise RosterRefused(f"{name} is not linked to {self.me[0]}: start it, or ask a replica that reaches it")
        if peer is not None and not peer.settled:
            raise RosterRefused(f"{name} has not settled yet: try again when its status says so")
        if len(version.voters) >= VOTERS_MAX:
            raise RosterRefused(f"the roster has {VOTERS_MAX} voters, which is the limit: remove one first")
        self._want(version, (*version.voters, (name, journal)), reply)

    def remove(self, name: str, reply: Callable[[str | None], None]) -> None:
        """Let the replica of this name vote no longer. As `add`."""
        version = self._changeable()
        if name not in version.names:
            cure = "; to wait for it no longer, start the replicas without it in --roster" * (name in self.declared)
            raise RosterRefused(f"{name} does not vote; voters are: {', '.join(version.names)}{cure}")
        if len(version.voters) == 1:
            raise RosterRefused(f"{name} is the last voter: add another one first")
        rest = tuple(voter for voter in version.voters if voter[0] != name)
        here = [voter for voter in self.in_reach() if voter in rest]
        if len(here) < len(rest) // 2 + 1:
            raise RosterRefused(
                f"without {name} only {len(here)} of {len(rest)} voters would be in reach, which is no majority: "
                "bring others back first"
            )
        self._want(version, rest, reply)

    def _changeable(self) -> Version:
        if self.version is None:
            raise RosterRefused(
                "no roster is known here: start the replicas with --roster NAME,NAME,...; the one that was started "
                "with --new makes the first one"
            )
        if not self.has_majority:
            here = len(self.in_reach())
            raise RosterRefused(
                f"only {here} of {len(self.version.voters)} voters are in reach of {self.me[0]}, which is no majority: "
                "ask a replica on the side of the majority"
            )
        if self._wanted is not None:
            raise RosterRefused("another change of the roster is under way: one at a time")
        return self.version

    def _want(self, version: Version, voters: tuple[Voter, ...], reply: Callable[[str | None], None]) -> None:
        self._wanted = (version.number + 1, tuple(sorted(voters)))
        self._replies.append(reply)
        self._ballot_ends = -math.inf

    def _answer(self, version: Version) -> None:
        """A new version is known: whoever waits for one learns whether it is the one that was asked for."""
        self._stalled_since = math.inf
        if self._wanted is not None and version.number >= self._wanted[0]:
            as_asked = version == Version(*self._wanted)
            replies, self._replies, self._wanted = self._replies, [], None
            for reply in replies:
                reply(None if as_asked else f"another change came first: voters are now {', '.join(version.names)}")

    def _propose(self, version: Version) -> None:
        now, rosters = self._world.now(), self._ledger.state.rosters
        self._declare(version)
        wanted = self._wanted[1] if self._wanted is not None and self._wanted[0] == version.number + 1 else None
        if wanted is None:
            wanted = self._stalled(version, now)
        if wanted is None:
            return
        if now >= self._ballot_ends:
            number = roster.highest_ballot(rosters, version.number + 1) + 1
            if number < BALLOT_MAX and self.has_majority:
                self._ballot = (number, self.me[0])
                self._ballot_ends = now + self.lease_s * BALLOT_WAIT_LEASES * (1 + self._world.rng.random())
                self._write(Step(version.number + 1, "propose", self._ballot))
            return
        step = roster.as_proposer(rosters, version, self._ballot, wanted)
        if step is not None:
            self._write(step)

    def _stalled(self, version: Version, now: float) -> tuple[Voter, ...] | None:
        """A change that some voter has accepted, and that nobody brings to its end: its proposer may be dead."""
        accepted = max(
            roster.steps(self._ledger.state.rosters, version.number + 1, "accept"),
            key=lambda step: step.ballot,
            default=None,
        )
        if accepted is None or self.me not in version.voters:
            self._stalled_since = math.inf
            return None
        self._stalled_since = min(self._stalled_since, now)
        return accepted.voters if now - self._stalled_since > 2 * self.lease_s else None

    def _declare(self, version: Version) -> None:
        """Add the next declared name, if we are the first voter in reach: so that one replica does it."""
        missing = [name for name in self.declared if name not in version.names]
        if not missing or self._wanted is not None or not self.votes or self._membership.settled is None:
            return
        if not self.has_majority or min(self.in_reach()) != self.me or self.closed:
            return
        for name in missing:
            peer = self._membership.peers.get(name)
            if peer is not None and peer.linked and peer.settled and peer.about is not None:
                self._want(version, (*version.voters, (name, peer.about.journal)), _nothing)
                return


def _voter(step: Roster) -> Voter:
    return step.author, step.journal


def _nothing(refusal: str | None) -> None:
    pass
