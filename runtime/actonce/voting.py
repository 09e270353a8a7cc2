"""The voter's side of `majority`: whom this replica grants an epoch of a task, and whom not yet.

A voter grants an epoch to one claimant, and never a lower one than it knows to be granted to somebody else. It grants a
higher epoch only when whoever was granted a lower one is surely not acting any more: it has given the claim up, its
process has certainly ended, or this voter has read no heartbeat of it for a lease. A lease is longer than the contact
window in which the holder may count on an answer (`settings`), so the holder stops first. Leases after Gray and
Cheriton 1989; the clocks need a bounded rate, never the right time.

What a voter granted is in its log, so it outlives its process. When it heard whom does not: a voter that was restarted,
or adopted another roster, first waits for a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actonce.electorate import Electorate
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.world import World
from actonce_crdt import Grant, TaskState


class Voting:
    """Grants of one replica."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        membership: Membership,
        electorate: Electorate,
        *,
        is_guarded: Callable[[str], bool],
    ) -> None:
        """
        Args:
            is_guarded: whether tasks of this kind need grants.
        """
        self._world, self._ledger, self._membership, self._electorate = world, ledger, membership, electorate
        self._is_guarded = is_guarded
        self._started = world.now()
        self.refused: dict[str, str] = {}
        """Tasks with a request that we have not granted, and why."""
        self._open: dict[str, None] = {}
        self._seen = (0, frozenset[tuple[str, str]]())
        self.writing: dict[str, int] = {}
        """Tasks whose grant of ours is perhaps not on disk, with the clock that must be durable."""
        self._muted: dict[Member, int] = {}

    def mutes(self, member: Member) -> bool:
        """Whether heartbeats of this member must not be answered now.

        We grant what it holds to somebody else, since we had not answered it for a lease; that is on its way to the
        disk. Were it to get an answer meanwhile that does not name the grant, it could act on that.
        """
        clock = self._muted.get(member)
        if clock is not None and self._ledger.durable_clock >= clock:
            del self._muted[member]
        return member in self._muted

    def changed(self, tasks: Iterable[str]) -> None:
        """Entries about these tasks came or were written."""
        states = self._ledger.state.tasks
        for task in tasks:
            state = states.get(task)
            if state is not None:
                self._look(task, state)
            elif task in self._open:  # forgotten
                for known in (self._open, self.refused, self.writing):
                    known.pop(task, None)

    def tick(self) -> None:
        """Time passed, or the roster changed."""
        version = self._electorate.version
        seen = (version.number if version is not None else 0, self._electorate.closed)
        if seen != self._seen or (self._electorate.votes and not self._was_voting):
            self._seen = seen
            self.changed(list(self._open))
        self._was_voting = self._electorate.votes
        self.changed(list(self.refused))

    _was_voting = False

    def _look(self, task: str, state: TaskState) -> None:
        self.refused.pop(task, None)
        if state.done is not None:
            self._open.pop(task, None)
            self.writing.pop(task, None)
        elif state.task is not None and self._is_guarded(state.task.kind):
            self._open[task] = None
            if self._electorate.votes:
                self._vote(task, state)

    def _vote(self, task: str, state: TaskState) -> None:
        version = self._electorate.version
        assert version is not None
        mine = next((grant for grant in state.grants if _voter(grant) == self._electorate.me), None)
        for epoch, member in sorted(requests(state), reverse=True):
            if mine is not None and (mine.epoch, holder(mine), mine.roster) == (epoch, member, version.number):
                return
            refusal = self._refusal(state, epoch, member)
            if refusal is None:
                self._grant(task, state, epoch, member, version.number)
                return
            self.refused.setdefault(task, refusal)

    def _grant(self, task: str, state: TaskState, epoch: int, member: Member, version: int) -> None:
        others = [grant for grant in state.grants if holder(grant) != member]
        name, journal = self._electorate.me
        over = max((grant.epoch for grant in others), default=0)
        stamp = self._ledger.stamp()
        self.refused.pop(task, None)
        clock = self._ledger.next_clock + 1
        self.writing[task] = clock
        for grant in others:
            other = holder(grant)
            if other not in self._membership.proved and not released(state, other, grant.epoch):
                self._muted[other] = clock
        self._ledger.write(Grant(task, stamp, name, epoch, member.name, member.incarnation, journal, version, over))

    def _refusal(self, state: TaskState, epoch: int, member: Member) -> str | None:
        """Why this request is not granted now; None when it is."""
        if released(state, member, epoch):
            return f"{member.name} gave epoch {epoch} up"
        for grant in state.grants:
            other = holder(grant)
            if other == member:
                continue
            if grant.epoch >= epoch:
                return f"{grant.author} granted epoch {grant.epoch} to {other.name}"
            why = self._protection(state, other, grant.epoch)
            if why is not None:
                return why
        return None

    def _protection(self, state: TaskState, other: Member, epoch: int) -> str | None:
        """Why this holder of a lower epoch may still act; None when it surely does not."""
        me = self._membership.me
        if released(state, other, epoch) or other in self._membership.proved:
            return None
        if other == me:
            return f"{other.name} holds epoch {epoch}"
        if other.name == me.name:
            return None  # an earlier process of ours
        left_s = self._lease_ends(other) - self._world.now()
        return f"the lease of {other.name} on epoch {epoch} ends in {left_s:.1f} s" if left_s > 0 else None

    def _lease_ends(self, other: Member) -> float:
        peer = self._membership.peers.get(other.name)
        since = max(self._started, self._electorate.adopted_at)
        window = 0.0
        if peer is not None and peer.member == other:
            since = max(since, peer.beat_at)
            window = peer.about.contact_window_s if peer.about is not None else 0.0
        settings = self._membership.settings
        announced_s = window * (1 + settings.clock_rate_error_max) + settings.tick_s
        return since + max(self._electorate.lease_s, announced_s)


def requests(state: TaskState) -> set[tuple[int, Member]]:
    """Who asks: the winning claim, and whoever was granted something by anybody, since the task was last reopened."""
    void = void_epoch(state)
    found = {(grant.epoch, holder(grant)) for grant in state.grants if grant.epoch > void}
    if state.standing is not None:
        found.add((state.standing.epoch, Member(*state.standing.claimant)))
    return found


def void_epoch(state: TaskState) -> int:
    """Claims and grants up to this epoch count no more: the task was ordered to be tried again. 0: none."""
    return state.reopen.epoch if state.reopen is not None else 0


def holder(grant: Grant) -> Member:
    """Who was granted."""
    return Member(grant.claimant, grant.incarnation)


def released(state: TaskState, member: Member, epoch: int) -> bool:
    """Whether this member gave up its claims up to this epoch."""
    given = (r for r in state.releases if r.author == member.name and r.incarnation == member.incarnation)
    return any(release.epoch >= epoch for release in given)


def _voter(grant: Grant) -> tuple[str, str]:
    return grant.author, grant.journal
