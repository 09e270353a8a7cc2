"""Views: who is live, who is suspected, whom we may act beside.

Each replica keeps its own view and announces it. Failure detection is by silence, after SWIM (Das et al. 2002) in
its simplest form for a full mesh, with Lifeguard's first lesson (arXiv 1707.00788): our own slowness must not look
like others' death, so silence is counted in our own active time. Certain death is acted on at once.

No input or output here: the engine feeds it, asks `act_until`, and carries out what `on_view` tells it.

Not promised: that views agree. `ownership` is what makes disagreeing views safe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from actonce import suspicion
from actonce.messages import Announce, Heartbeat
from actonce.ownership import Member, View, in_play, required
from actonce.peers import About, Peer
from actonce.settings import Settings
from actonce.settling import Settled, Waited, first_members, may_have_acted_alone, newcomers, try_settle

HEARD_NUMBER_MAX = 2**48
"""A faulty peer that announces a higher number must not drive ours beyond what others accept."""


class Membership:
    """The membership state of one replica."""

    def __init__(
        self,
        me: Member,
        settings: Settings,
        kinds: Mapping[str, str],
        *,
        last: View | None,
        new: bool,
        now: float,
        on_view: Callable[[View], None],
        on_unsettled: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        self.me = me
        self.settings = settings
        self.kinds = kinds
        self.peers: dict[str, Peer] = {}
        self.settled: Settled | None = None
        self.vouches = False
        """Once settled we could act: we had read all of everybody in play. Only then others may settle on our word."""
        self.leaving = False
        self.view = last if last is not None else View(0, frozenset())
        """Before it is settled, this is the last view on disk: what it announces, but does not act under."""
        self.durable = 0
        """Number of the newest view on disk. Only then is a view announced and acted under."""
        self.announced = self.view
        self._last, self._new = last, new
        self._on_view, self._on_unsettled, self._note = on_view, on_unsettled, note
        self._started = self._ticked = now
        self._changed_at = now
        self._active = 0.0
        self._missed = 0.0
        self._removed: set[Member] = set()
        """Left the view for silence or lateness, and have not come back."""
        self._accused: dict[Member, int] = {}
        """Lingering for lateness, until they have read our view of this number."""
        self._dead: set[Member] = set()
        self.proved: set[Member] = set()
        """Of the dead, those whose process has ended for sure: a refused connection proves that only where no firewall
        or proxy stands between."""
        self._in_play: frozenset[Member] | None = None
        self._required: frozenset[Member] = frozenset()
        self._pending: list[Peer] | None = None
        """Whoever `_progress` may find something new about, at most."""
        self._oldest: tuple[Peer, float] | None = None
        """Whose promise ends first, and its date: that only grows, but for a new word."""
        self.version = 0
        """Grows whenever the owner of some task may have changed."""

    # What others say

    def met(self, name: str, about: About) -> None:
        """A link to `name` came up. A later incarnation proves that the earlier one ended (it held the journal)."""
        member = Member(name, about.incarnation, about.traits)
        peer = self.peers.get(name)
        if peer is None or peer.member != member:
            if peer is not None:
                same = peer.about is not None and about.follows(peer.about)
                self.died(peer.member, "it was restarted", proved=same)
            peer = self.peers[name] = Peer(member, about).after(peer)
        peer.about = about
        self._reconsider()
        peer.linked, peer.ended, peer.refuses = True, False, False
        peer.heard = self._active

    def lost(self, name: str, *, ended: bool) -> None:
        """The link to `name` is gone; `ended` when it was read to its end."""
        peer = self.peers[name]
        peer.unlink()
        peer.ended = ended

    def hear(self, name: str) -> Peer:
        """Any frame of `name` shows that it lives."""
        peer = self.peers[name]
        peer.heard = self._active
        return peer

    def announce(self, name: str, word: Announce) -> None:
        """`name` announces a view."""
        peer, in_play = self.hear(name), self._in_play
        same = peer.view is not None and peer.view.has_those_of(word.view)  # most announcements are of other things
        peer.announce(word)
        peer.remember(self.me)
        self._reconsider()
        self._in_play = in_play if same else None

    def heartbeat(self, name: str, beat: Heartbeat, mine: Mapping[int, int], now: float) -> None:
        """A heartbeat of `name`; `mine` is our state vector."""
        peer = self.hear(name)
        peer.heartbeat(beat, mine, now)
        for other in sorted(peer.refused):
            self._certain(other)
        self._progress(now)

    def integrated(self, clients: tuple[int, ...], mine: Mapping[int, int], now: float) -> None:
        """Our document grew by entries of these client ids."""
        for peer in self.peers.values():
            peer.caught_up(clients, mine, now)
        self._progress(now)

    # Death

    def refused(self, name: str) -> None:
        """The address of `name`, whose link was read to its end, refuses connections."""
        peer = self.peers.get(name)
        if peer is not None and peer.ended:
            peer.refuses = True
            self._certain(name)

    def _certain(self, name: str) -> None:
        """Certain death: link read to its end and a refusal, confirmed by another member where there is one."""
        peer = self.peers.get(name)
        if peer is None or not peer.refuses or peer.linked:
            return
        if peer.member not in self.view.members | self.view.lingering:
            return
        others = self.view.members - {self.me, peer.member}
        if not others or any(name in self.peers[m.name].refused for m in others if m.name in self.peers):
            self.died(peer.member, "its link ended and its address refuses connections", proved=False)

    def died(self, member: Member, why: str, *, proved: bool = True) -> None:
        """It is certain that `member` will not act again: no suspicion, no grace."""
        self._dead.add(member)
        if proved:
            self.proved.add(member)
        if member in self.view.members or member in self.view.lingering:
            self._note(f"{member.name} is gone: {why}")
            if self.settled:
                self._drop(frozenset({member}), self.view.lingering - {member})

    def only_silent(self, member: Member) -> bool:
        """Whether we knew this process, and know nothing worse of it than that it fell silent."""
        peer = self.peers.get(member.name)
        return peer is not None and peer.member == member and member not in self._dead

    # Time

    def look(self, now: float) -> None:
        """Look at the clock; before anything else, whenever something comes in or a tick is due.

        Silence is counted in our own active time: a look that comes late (we were stopped, asleep or starved) counts
        as one tick only. Waiting longer for others is always safe.

        And if we slept while we were out of contact for as long as it takes to be suspected, others may have given us
        up, acted, and died before we woke: then we settle anew, as after a restart (rule 0).
        """
        passed, most = now - self._ticked, 2 * self.settings.tick_s
        self._active += min(passed, most)
        self._missed += max(0.0, passed - most)
        self._ticked = now
        if self._missed and self.settled:
            if self._is_cut_off_alone():
                if self._missed >= 3 * self.settings.heartbeat_s:
                    self._unsettle(f"slept for {self._missed:.1f} s while it was cut off")
            elif self.act_until() > now:
                self._missed = 0.0
            elif self._missed >= 3 * self.settings.heartbeat_s and now - self._in_touch() >= self.settings.suspicion_s:
                self._unsettle(f"slept for {self._missed:.1f} s")

    def _is_cut_off_alone(self) -> bool:
        """Nobody's promise is needed here, and somebody who may live needs none of ours."""
        apart = self._removed - self._dead - self.view.members
        return bool(apart) and not self.required()

    def _in_touch(self) -> float:
        """The date of the oldest promise of a member."""
        others = (self.peers.get(member.name) for member in self.view.members - {self.me})
        return min((peer.contact if peer is not None else -math.inf for peer in others), default=math.inf)

    def _unsettle(self, why: str) -> None:
        self._note(f"{why}: acts again once it has synced")
        self._missed, self.vouches = 0.0, False
        self.settled, self._last, self._new, self._started = None, self.view, False, self._ticked
        self.version += 1
        self._on_unsettled()

    def tick(self, now: float) -> None:
        """Suspect, give up, settle, admit."""
        self.look(now)
        if self.settled:
            self._give_up(now)
        self._progress(now)

    def _give_up(self, now: float) -> None:
        silent = {m for m in self.view.members - {self.me} if self._silence(m) >= self._suspicion_s(m)}
        late = self._late(now) - silent - self._accused.keys()
        over = {m for m in self.view.lingering if self._is_over(m)}
        if not (silent or late or over):
            return
        for member in sorted(silent):
            self._note(f"{member.name} is silent: it leaves the view, and keeps its tasks for a grace")
        for member in sorted(late):
            self._note(f"{member.name} answers too late: it leaves the view until it is fast again")
        for member in sorted(over):
            slow = self._accused.pop(member, None) is not None and self._silence(member) < self._suspicion_s(member)
            why = "knows that it is out" if slow else "stayed silent for the grace"
            self._note(f"{member.name} {why}: its tasks may be taken over")
        gone = silent | late
        self._removed |= gone
        for peer in self.peers.values():
            if peer.member in gone & self.view.members:
                suspicion.removed(peer, self._active)
        self._drop(frozenset(gone), (self.view.lingering - over) | gone)
        if self.settled:
            self._accused |= dict.fromkeys(late, self.view.number)

    def _late(self, now: float) -> set[Member]:
        """Members to accuse."""
        late = set()
        for member in (self.view.members | self.view.lingering) - {self.me}:
            peer = self.peers.get(member.name)
            # One that never admitted us has promised nothing that it could be late with.
            heard = self._silence(member) < self.settings.suspicion_s
            if heard and peer is not None and peer.member == member and peer.promises(self.me):
                suspicion.look_at_answers(self.settings, peer, now, self._active)
                if suspicion.is_late(self.settings, peer, self._active):
                    late.add(member)
        return late if late and suspicion.may_accuse(self.in_play(), frozenset(late)) else set()

    def _is_over(self, member: Member) -> bool:
        number, peer = self._accused.get(member), self.peers.get(member.name)
        if number is not None and peer is not None and peer.member == member and peer.has_heard >= number:
            return True
        return self._silence(member) >= self._suspicion_s(member) + self.settings.grace_s

    def _drop(self, gone: frozenset[Member], lingering: frozenset[Member]) -> None:
        """Remove members. Whoever was in play only by their views comes into ours: it may be as alive as we are."""
        if any(self._may_have_acted_alone(member, gone) for member in gone):
            self._unsettle(f"{min(gone).name} may have acted without us")
            return
        heirs = self.required() - self.view.members - lingering - gone - self._dead
        known = {member for member in heirs if self._know(member)}
        self._change((self.view.members | known) - gone, lingering)

    def _may_have_acted_alone(self, member: Member, gone: frozenset[Member]) -> bool:
        lost = gone | self._dead
        return may_have_acted_alone(self.me, member, self.peers, self.view.members - lost, self.in_play() - lost)

    def _know(self, member: Member) -> bool:
        """Start to count its silence, if we never heard of it. False if we know a later incarnation."""
        peer = self.peers.setdefault(member.name, Peer(member, heard=self._active))
        return peer.member == member

    def _silence(self, member: Member) -> float:
        return suspicion.silence_s(self.peers.get(member.name), member, self._active)

    def _suspicion_s(self, member: Member) -> float:
        return suspicion.suspicion_s(self.settings, self.me, self.peers.get(member.name), member)

    # Views

    def _progress(self, now: float) -> None:
        """Settle if we can; once settled, admit whoever is settled and synced with us."""
        for peer in self._unfinished():
            peer.remember(self.me)
        if self.settled is None:
            waited = Waited.by(now - self._started, self.settings)
            # Whoever said goodbye before it admitted us has no view with us on its disk: it could come back alone.
            alive = [peer for peer in self.peers.values() if peer.member not in self._dead]
            self.settled = try_settle(self.me.name, self._last, self._new, alive, self._started, waited)
            if self.settled is None:
                return
            self._note(f"settled: {self.settled.value}")
            self._adopt()
        if new := newcomers(self.view.members, self._unfinished(), self._changed_at):
            self._change(self.view.members - new, self.view.lingering)
        members = self.view.members
        joining = {p.member for p in self._unfinished() if p.member not in members and self._admissible(p, now)}
        for member in sorted(joining):
            self._note(f"{member.name} is a member (incarnation {member.incarnation})")
            self.peers[member.name].admitted = self._active
            self._removed.discard(member)
            self._accused.pop(member, None)
        if joining:
            self._change(members | joining, self.view.lingering - joining)

    def _unfinished(self) -> list[Peer]:
        """All but the members of which we have in mind that they admitted us: of these only a new word can change
        anything that `_progress` looks at. In a mesh at rest nobody, however large it is."""
        peers = self.peers.values() if self._pending is None else self._pending
        self._pending = [p for p in peers if not p.flushed or p.member not in self.view.members]
        return self._pending

    def _adopt(self) -> None:
        """First view after settling."""
        members = first_members(self.me, self.peers.values(), alone=self.settled is not Settled.PEER)
        current = {member for member in members - self._dead if member == self.me or self._know(member)}
        for member in current - {self.me}:
            self.peers[member.name].heard = self._active
        self._change(frozenset(current), frozenset())

    def _admissible(self, peer: Peer, now: float) -> bool:
        return (
            peer.linked
            and peer.settled
            and peer.member not in self._dead
            and suspicion.may_return(self.settings, peer, now)
        )

    def _change(self, members: frozenset[Member], lingering: frozenset[Member]) -> None:
        heard_of = [peer.view.number for peer in self.peers.values() if peer.view is not None]
        heard_of = [number for number in heard_of if number <= HEARD_NUMBER_MAX]
        for member in (self.view.members | self.view.lingering) - members - lingering:
            peer = self.peers.get(member.name)
            if peer is not None and peer.member == member and not peer.leaving:
                peer.gone_at = self._ticked
        self.view = View(max([self.view.number, *heard_of]) + 1, members, lingering)
        self._changed_at = self._ticked
        self._reconsider()
        self._on_view(self.view)

    def _reconsider(self) -> None:
        """A view, or what a name stands for, has changed: nothing that was concluded from these holds any more."""
        self._in_play = self._pending = self._oldest = None
        self.version += 1

    @property
    def accused(self) -> frozenset[Member]:
        """Those that left our view as too slow, and have to know it."""
        return frozenset(self._accused) & self.view.lingering

    @property
    def settled_durably(self) -> bool:
        """Whether others may count on our having settled: the view we settled into, or a later one, is on disk."""
        return self.settled is not None and self.durable > (self._last.number if self._last is not None else 0)

    def view_durable(self, number: int) -> None:
        """The view of this number is on disk."""
        self.durable = number
        if number == self.view.number:
            self.announced = self.view

    # What follows for acting

    def in_play(self) -> frozenset[Member]:
        """Everybody who could own a task by anybody's view. Kept until a view changes."""
        if self._in_play is None:
            announced = {peer.member: peer.view for peer in self.peers.values() if peer.view is not None}
            self._in_play = in_play(self.me, self.view, announced)
            self._required = required(self.me, self.view, announced)
        return self._in_play

    def required(self) -> frozenset[Member]:
        """The members whose promise we need."""
        self.in_play()
        return self._required

    def act_until(self) -> float:
        """Until when, on our clock, we may claim and act as things stand: minus infinity for not at all."""
        if self.settled is None or self.durable != self.view.number:
            return -math.inf
        if self._oldest is None or self._oldest[0].contact != self._oldest[1]:
            promised = [(self.peers.get(member.name), member) for member in self.required()]
            if any(not (p and p.member == member and p.promises(self.me)) for p, member in promised):
                return -math.inf
            self._oldest = min(((p, p.contact) for p, _ in promised if p), key=lambda one: one[1], default=None)
        return self._oldest[1] + self.settings.contact_window_s if self._oldest is not None else math.inf

    def able(self, kind: str) -> Callable[[Member], bool]:
        """Which members may be given a task of this kind: with a handler, not leaving; unknown ones count as able."""

        def is_able(member: Member) -> bool:
            if member == self.me:
                return kind in self.kinds and not self.leaving
            peer = self.peers.get(member.name)
            if peer is None or peer.member != member or peer.about is None:
                return True  # of an earlier process of the name nothing follows: it may have left, this one came
            return kind in peer.about.kinds and not peer.leaving

        return is_able
