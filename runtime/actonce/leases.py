"""Rights of a quota with `reclaim` are used under a lease, and a majority takes them once it has ended.

A *session* of a holder's rights ends when they are taken; sessions are counted by the settled tasks of kind `RECLAIM`.

*Holder*: it uses rights until `reclaim` after the sending of the latest heartbeats that a majority of the roster
(active voters, not bound to a later version) answered while it knew of no lapse of this session. What it gives away
it announces first (`Share.away`), and gives only once that is on the disks of a majority that had not lapsed before.

*Voter*: if it has not heard of a holder for that long (and `clock_rate_error_max`; counted from its own start and its
adoption of the roster, too) it writes a `Lapse`, for good. Until that is on its disk it answers no heartbeat of the
holder; from then on its answers count only for a holder that has read it (`Electorate.contact`).

*Taker*: once a majority has lapsed under one version, and it has read all that they had, it takes

    received  -  announced to be given away  -  taken before

as far as it knows: never more than the holder has, for a majority knew of every announcement under which something was
given. Why the holder uses none of it any more: any majority that answered it has a voter in common with those that
lapsed. That one answered before it lapsed, a lease earlier; or after, and then the holder had read the lapse. Rights
that were taken count as used at that moment, `flight` included. A holder that comes back finds the lapse, and uses
nothing before the task of that session is settled here, with all gifts that it made.

Not promised: anything for a call that leaves its replica later than `flight` after it got its turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from actonce import roster
from actonce.electorate import Electorate
from actonce.ledger import Ledger
from actonce.limits import QuotaSpec
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.reclaim import RECLAIM
from actonce.roster import Version, Voter
from actonce.world import World
from actonce_crdt import TAKEN, Gift, Lapse, QuotaState, ValueInvalid, unpack_value

Row = tuple[str, str, str, int, int]
"""Resource, giver, receiver, total, late."""


@dataclass(slots=True)
class Keeping:
    """Whether an entry of ours is on the disks of a majority, of voters that were not bound to a later roster then."""

    clock: int
    since: dict[Voter, float] = field(default_factory=dict)


class Leases:
    """Leases of one replica: as a holder, as a voter, and as the one that takes."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        membership: Membership,
        electorate: Electorate,
        holder: str,
        quotas: Mapping[str, QuotaSpec],
        *,
        submit: Callable[[str], None],
    ) -> None:
        """
        Args:
            submit: asks for a task of this id.
        """
        self._world, self._ledger, self._membership = world, ledger, membership
        self._electorate, self._holder, self._submit = electorate, holder, submit
        self._quotas = {name: spec for name, spec in sorted(quotas.items()) if spec.reclaim_s is not None}
        self._started = world.now()
        self._heard: dict[str, float] = {}
        self._sessions: dict[tuple[str, str], int] = {}
        self._seen: dict[tuple[str, Lapse], float] = {}
        self._muted: dict[str, int] = {}

    # The holder

    def until(self, quota: str, lease_s: float) -> float:
        """Until when, on our clock, our rights may be used. What this said before stays true, whatever it says now."""
        version = self._electorate.version
        if version is None or self._is_lapsed(quota):
            return -math.inf
        now = self._world.now()
        contacts = sorted((min(now, self._electorate.contact(one)) for one in self._vouching(version)), reverse=True)
        return contacts[version.majority - 1] + lease_s if len(contacts) >= version.majority else -math.inf

    def is_kept(self, quota: str, keeping: Keeping) -> bool:
        """Whether whoever may take our rights will find this entry."""
        version, now, electorate = self._electorate.version, self._world.now(), self._electorate
        if version is None or self._is_lapsed(quota):
            return False  # whoever kept it after its lapse tells no taker of it
        count = 0
        for voter in self._vouching(version):
            peer = electorate.peer(voter)
            kept = self._ledger.durable_clock if voter == electorate.me else peer.kept if peer is not None else 0
            if kept >= keeping.clock:
                # An answer to a heartbeat sent since: it was free, and had not lapsed, when it kept the entry.
                count += electorate.contact(voter) > keeping.since.setdefault(voter, now)
        return count >= version.majority

    def session(self, quota: str, holder: str) -> int:
        """Number of the present session of these rights, as far as known here."""
        number = known = self._sessions.get((quota, holder), 1)
        while self._is_settled(quota, holder, number):
            number += 1
        if number > known:
            over = [one for one in self._seen if (one[0], one[1].holder) == (quota, holder) and one[1].session < number]
            for one in over:
                del self._seen[one]
        self._sessions[quota, holder] = number
        return number

    def _is_lapsed(self, quota: str) -> bool:
        """Whether the present session of our own rights has ended, or may."""
        session = self.session(quota, self._holder)
        return any(lapse.session >= session for lapse in self._lapses(quota, self._holder))

    def _is_settled(self, quota: str, holder: str, session: int) -> bool:
        """Whether it is decided what was taken at the end of this session, and all of that is known here."""
        state = self._ledger.state.tasks.get(task_of(quota, holder, session))
        if state is None or state.done is None or not state.done.ok:
            return False
        rows = _rows(state.done.result)
        return rows is not None and all(self._has(row) for row in rows)

    def _has(self, row: Row) -> bool:
        resource, giver, to, total, _ = row
        gift = self._rights(resource).gifts.get((giver, to))
        return gift is not None and gift.total >= total

    def _vouching(self, version: Version) -> list[Voter]:
        """Voters whose answers count."""
        active = {(s.author, s.journal) for s in roster.steps(self._ledger.state.rosters, version.number, "active")}
        return [voter for voter in version.voters if voter in active and voter not in self._electorate.closed]

    # The voter

    def tick(self) -> None:
        """Note who was heard; give up whom nobody heard for a lease."""
        if not self._quotas:
            return
        for name, peer in sorted(self._membership.peers.items()):
            if peer.about is not None:
                holder = f"{name}/{peer.about.journal}"
                self._heard[holder] = max(peer.beat_at, self._heard.get(holder, -math.inf))
        if self._electorate.votes and self._electorate.has_majority:
            for quota, spec in self._quotas.items():
                for holder in self._holders(spec):
                    self._look(quota, spec, holder)

    def mutes(self, member: Member) -> bool:
        """Whether heartbeats of this member must not be answered now: a lapse of it is on its way to the disk."""
        for holder, clock in list(self._muted.items()):
            if self._ledger.durable_clock >= clock:
                del self._muted[holder]
        return any(holder.partition("/")[0] == member.name for holder in self._muted)

    def ends(self, spec: QuotaSpec, holder: str) -> float:
        """When, on our clock, a lease of these rights has certainly ended: never, if the holder knows of none."""
        settings, reclaim_s = self._membership.settings, spec.reclaim_s or 0.0
        for resource in spec.resources:
            state = self._rights(resource.key)
            share = state.shares.get(holder)
            if state.held(holder) > 0:
                lease_s = share.lease_ms / 1000 if share is not None else 0.0
                reclaim_s = max(reclaim_s, lease_s or math.inf)
        since = max(self._started, self._electorate.adopted_at, self._heard.get(holder, -math.inf))
        return since + reclaim_s * (1 + settings.clock_rate_error_max) + settings.tick_s

    def _look(self, quota: str, spec: QuotaSpec, holder: str) -> None:
        version, (name, journal) = self._electorate.version, self._electorate.me
        if version is None or self._world.now() < self.ends(spec, holder):
            return
        session = self.session(quota, holder)
        mine = self._rights(quota).lapses.get((holder, name, journal))
        if mine is not None and (mine.session, mine.roster) >= (session, version.number):
            return
        self._submit(task_of(quota, holder, session))
        lapse = Lapse(quota, self._ledger.stamp(), name, holder, session, journal, version.number)
        self._muted[holder] = self._ledger.write(lapse)

    def _holders(self, spec: QuotaSpec) -> list[str]:
        states = [self._rights(resource.key) for resource in spec.resources]
        found = {holder for state in states for holder in state.holders if state.held(holder) > 0}
        return sorted(found - {self._holder})

    # The taker

    def decide(self, task: str) -> list[Row] | None:
        """What is taken at the end of this session; None while that cannot be said. Taking nothing is always safe."""
        found = _session_of(task)
        if found is None or found[0] not in self._quotas or self.session(*found[:2]) > found[2]:
            return []
        quota, holder, session = found
        if holder == self._holder:
            return []  # we came back ourselves
        version, now = self._electorate.version, self._world.now()
        if version is None:
            return None
        agreed = 0
        for lapse in self._lapses(quota, holder):
            voter = (lapse.author, lapse.journal)
            if (lapse.session, lapse.roster) == (session, version.number) and voter in version.voters:
                mine = voter == self._electorate.me
                on_disk = self._ledger.durable_clock >= self._muted.get(holder, 0)
                agreed += on_disk if mine else self._has_read(quota, lapse, voter, now)
        if agreed >= version.majority:
            return list(self._takings(self._quotas[quota], holder))
        return [] if self._is_back(holder, now) else None

    def take(self, rows: Any, reply: Callable[[], None]) -> None:
        """Write down what was decided; once it is on disk, reply."""
        for row in _checked(rows) or ():
            resource, giver, to, total, late = row
            if not self._has(row):
                me, stamp = self._membership.me.name, self._ledger.stamp()
                self._ledger.write(Gift(resource, stamp, me, giver, to, total, late))
        self._ledger.when_durable(reply)

    def _takings(self, spec: QuotaSpec, holder: str) -> Iterator[Row]:
        for resource in spec.resources:
            state, giver = self._rights(resource.key), holder + TAKEN
            share, before = state.shares.get(holder), state.gifts.get((giver, self._holder))
            away = max(share.away if share is not None else 0, state.given(holder))
            count = state.received(holder) - away - state.taken(holder)
            if count > 0:
                total, late = (before.total, before.late) if before is not None else (0, 0)
                yield resource.key, giver, self._holder, total + count, late + count

    def _has_read(self, quota: str, lapse: Lapse, voter: Voter, now: float) -> bool:
        """Whether we have read all that this voter had read when it wrote this."""
        return self._electorate.contact(voter) > self._seen.setdefault((quota, lapse), now)

    def _is_back(self, holder: str, now: float) -> bool:
        name, _, journal = holder.partition("/")
        peer = self._electorate.peer((name, journal))
        return peer is not None and peer.linked and now - peer.beat_at < self._membership.settings.contact_window_s

    # Looking

    def _rights(self, key: str) -> QuotaState:
        return self._ledger.state.quotas.get(key) or QuotaState()

    def _lapses(self, quota: str, holder: str) -> list[Lapse]:
        return [lapse for _, lapse in sorted(self._rights(quota).lapses.items()) if lapse.holder == holder]


def task_of(quota: str, holder: str, session: int) -> str:
    """Id of the task that settles this session."""
    return f"{RECLAIM}/{quota}/{holder}/{session}"


def _session_of(task: str) -> tuple[str, str, int] | None:
    match task.split("/"):
        case [kind, quota, name, journal, number] if kind == RECLAIM and number.isascii() and number.isdecimal():
            return quota, f"{name}/{journal}", int(number[:15])
    return None


def _rows(result: bytes) -> list[Row] | None:
    """What a task returned; None if no task of this kind returns that."""
    try:
        return _checked(unpack_value(result))
    except ValueInvalid:
        return None


def _checked(value: Any) -> list[Row] | None:
    if not isinstance(value, list | tuple):
        return None
    rows = []
    for row in value:
        match row:
            case [str(resource), str(giver), str(to), int(total), int(late)]:
                rows.append((resource, giver, to, total, late))
            case _:
                return None
    return rows
