"""The holder's side of `majority`: a claim counts once a majority granted it, and acts while a majority answers.

A claim is *decided* when a majority of the roster version that we know granted it under that version, on their disks.
If any of them had granted an earlier epoch to somebody else, we first read all that a majority has read since then:
what the holder before us was about to post, it had put on the disks of a majority.

An effect passes the gate while a majority, of voters that granted this claim and are not bound to a later roster, have
answered heartbeats that we sent less than a contact window ago, and we have read all that they had read when they did.

The length of a sink's `publish_timeout_s` plays no part: it is usually longer than any contact window. What left the
gate in time and arrives late is a doubt, its intent is known to whoever comes next, and its "absent" counts only after
that time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from actonce.electorate import Electorate
from actonce.guards import Granted
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.roster import Version, Voter
from actonce.running import Run
from actonce.voting import Voting, holder, released, void_epoch
from actonce.world import World
from actonce_crdt import Claim, Grant, Release, TaskState

Observer = Callable[[str, str, int], None]


class Majority:
    """The guard "majority" of one replica. Implements `actonce.guards.Guard`."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        membership: Membership,
        electorate: Electorate,
        voting: Voting,
        granted: Granted,
    ) -> None:
        self._world, self._ledger, self._membership = world, ledger, membership
        self._electorate, self._voting, self._granted = electorate, voting, granted
        self._asked: dict[str, tuple[int, float]] = {}
        """Claims of ours that are not decided: task -> epoch, since when."""
        self._reading: dict[str, tuple[int, float]] = {}
        """Decided, but we have not read all that the voters have read: task -> epoch, since when."""
        self.observe: Observer = _nothing
        """Told what becomes of our claims: ("asked" | "decided" | "lost", task, epoch)."""

    # The guard

    def may_ask(self) -> bool:
        return self._electorate.has_majority

    def ask(self, task: str, epoch: int) -> None:
        self._release_before(task, epoch)
        self._asked[task] = (epoch, self._world.now())
        self.observe("asked", task, epoch)
        self._look(task)

    def asking(self) -> int:
        return len(self._asked) + len(self._reading) if self.may_ask() else 0

    def claimants(self, state: TaskState) -> frozenset[Member]:
        found = set()
        decided = self.decided(state)
        if decided is not None:
            found.add(decided)
        if state.standing is not None:
            found.add((Member(*state.standing.claimant), state.standing.epoch))
        return frozenset(member for member, epoch in found if not released(state, member, epoch))

    def holds(self, task: str, state: TaskState, epoch: int) -> bool:
        return not self._is_lost(state, epoch)

    def begun(self, state: TaskState, claim: Claim) -> bool:
        """Without any grant it was surely not decided; one that we have not read is a death that is not counted."""
        asked = (claim.epoch, Member(*claim.claimant))
        return any((grant.epoch, holder(grant)) == asked for grant in state.grants)

    def until(self, run: Run) -> float:
        version = self._electorate.version
        state = self._ledger.state.tasks.get(run.task)
        if version is None or state is None:
            return -math.inf
        granted = self._grantors(state, version, run.epoch, self._membership.me)
        return self._kth_contact(version, granted - self._electorate.closed) + self._window_s

    def kept(self, run: Run, clock: int, others: Mapping[int, int]) -> bool:
        version = self._electorate.version
        if version is None:
            return False
        return self._count_kept(version, clock, others) >= version.majority

    def unknown_since(self, run: Run) -> float | None:
        return None  # see `_reading`

    def leaving(self, run: Run) -> None:
        """Whoever comes next knows of it by its intent."""

    def ended(self, task: str, epoch: int) -> None:
        self._release(task, epoch)

    # Progress

    def changed(self, tasks: list[str]) -> None:
        """Entries about these tasks came or were written."""
        for task in tasks:
            if task in self._asked or task in self._reading:
                self._look(task)
            else:
                self._release_void(task)

    def tick(self) -> None:
        """Time passed, a peer answered, or the disk did."""
        for task in [*self._asked, *self._reading]:
            self._look(task)

    def decided(self, state: TaskState) -> tuple[Member, int] | None:
        """Who holds the task by a majority of the roster that we know, with its epoch: the highest there is."""
        version = self._electorate.version
        if version is None or not state.grants:
            return None
        void = void_epoch(state)
        granted = {(grant.epoch, holder(grant)) for grant in state.grants if grant.epoch > void}
        for epoch, member in sorted(granted, reverse=True):
            if len(self._grantors(state, version, epoch, member)) >= version.majority:
                return member, epoch
        return None

    def _look(self, task: str) -> None:
        state = self._ledger.task(task)
        epoch, since = self._asked.get(task) or self._reading[task]
        version = self._electorate.version
        if state.done is not None or state.task is None:
            self._forget(task)
        elif self._is_lost(state, epoch) or (task in self._asked and self._is_stuck(state, epoch, since)):
            self._forget(task)
            self.observe("lost", task, epoch)
            self._release(task, epoch)
        elif version is not None:
            grants = self._grants(state, version, epoch, self._membership.me)
            if task in self._asked and len(grants) >= version.majority:
                del self._asked[task]
                self._reading[task] = (epoch, self._world.now())
                self.observe("decided", task, epoch)
            if task in self._reading and len(grants) >= version.majority and self._has_read(task, version, grants):
                del self._reading[task]
                self._granted(task, epoch, epoch)

    def _forget(self, task: str) -> None:
        self._asked.pop(task, None)
        self._reading.pop(task, None)

    def _is_lost(self, state: TaskState, epoch: int) -> bool:
        """Somebody granted a higher epoch to another claimant, or ordered that the task be tried again: from now on we
        must not act under this one."""
        me = self._membership.me
        return epoch <= void_epoch(state) or any(grant.epoch > epoch and holder(grant) != me for grant in state.grants)

    def _is_stuck(self, state: TaskState, epoch: int, since: float) -> bool:
        """For a lease the epoch has found no majority, and it cannot: too many voters granted it to somebody else."""
        version, me = self._electorate.version, self._membership.me
        if version is None or self._world.now() - since < self._electorate.lease_s:
            return False
        gone = {_voter(grant) for grant in state.grants if grant.epoch == epoch and holder(grant) != me}
        mine = self._grantors(state, version, epoch, me)
        # A voter that knows of a grant to somebody else in this epoch gives none: who has not granted by now, will not.
        return bool(gone) and len(mine) < version.majority

    def _has_read(self, task: str, version: Version, grants: list[Grant]) -> bool:
        """Whether nothing that an earlier holder did can be unknown to us."""
        if all(grant.over == 0 for grant in grants):
            return True
        _, since = self._reading[task]
        return self._kth_contact(version, frozenset(map(_voter, grants)) - self._electorate.closed) > since

    def _release_void(self, task: str) -> None:
        """The task failed, and is to be tried again. Whoever held it gives it up: voters have its word, and need not
        wait for a lease that it renews as long as it lives. (Our handler, if there was one, is revoked by now.)"""
        state = self._ledger.state.tasks.get(task)
        if state is not None and state.reopen is not None:
            me, void = self._membership.me, void_epoch(state)
            ours = [grant.epoch for grant in state.grants if holder(grant) == me and grant.epoch <= void]
            if ours:
                self._release(task, max(ours))

    def _release_before(self, task: str, epoch: int) -> None:
        """We ask anew: what we were granted before, by some, is given up, or two that were granted an earlier epoch by
        one voter each would be in each other's way for as long as they live."""
        me, grants = self._membership.me, self._ledger.state.tasks[task].grants
        ours = [grant.epoch for grant in grants if holder(grant) == me and grant.epoch < epoch]
        if ours:
            self._release(task, max(ours))

    def _release(self, task: str, epoch: int) -> None:
        me = self._membership.me
        if released(self._ledger.state.tasks[task], me, epoch):
            return
        self._ledger.write(Release(task, self._ledger.stamp(), me.name, epoch, me.incarnation))

    # Counting

    @property
    def _window_s(self) -> float:
        return self._membership.settings.contact_window_s

    def _grants(self, state: TaskState, version: Version, epoch: int, member: Member) -> list[Grant]:
        """Grants of voters of this version, under this version; of our own only what is on disk."""
        return [
            grant
            for grant in state.grants
            if (grant.epoch, grant.roster) == (epoch, version.number)
            and holder(grant) == member
            and _voter(grant) in version.voters
            and (_voter(grant) != self._electorate.me or self._is_durable(grant.key))
        ]

    def _grantors(self, state: TaskState, version: Version, epoch: int, member: Member) -> frozenset[Voter]:
        return frozenset(_voter(grant) for grant in self._grants(state, version, epoch, member))

    def _is_durable(self, task: str) -> bool:
        return self._ledger.durable_clock >= self._voting.writing.get(task, 0)

    def _kth_contact(self, version: Version, voters: frozenset[Voter]) -> float:
        """Contact with a majority: that of the one which makes the majority; minus infinity when there is none."""
        contacts = sorted((self._electorate.contact(voter) for voter in voters), reverse=True)
        return contacts[version.majority - 1] if len(contacts) >= version.majority else -math.inf

    def _count_kept(self, version: Version, clock: int, others: Mapping[int, int]) -> int:
        count = 0
        for voter in version.voters:
            if voter in self._electorate.closed:
                continue
            if voter == self._electorate.me:
                count += self._ledger.durable_clock >= clock
            else:
                peer = self._electorate.peer(voter)
                count += peer is not None and peer.kept >= clock and peer.covers(others)
        return count


def _voter(grant: Grant) -> Voter:
    return grant.author, grant.journal


def _nothing(what: str, task: str, epoch: int) -> None:
    pass
