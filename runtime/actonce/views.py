"""What follows when replicas come and go: views are stored, then announced; deaths are proved; denials remembered."""

from __future__ import annotations

import math
from collections.abc import Callable

from actonce.deaths import Deaths
from actonce.errors import ActonceError, NameTaken
from actonce.gossip import Gossip
from actonce.journal import Row
from actonce.membership import Membership
from actonce.messages import pack_view
from actonce.ownership import Member, View
from actonce.peers import About
from actonce.running import Gate
from actonce.world import World


class Views:
    """The reactions of one replica. `Membership` decides what the views are; here is only what has to be done then."""

    def __init__(
        self,
        world: World,
        membership: Membership,
        gossip: Gossip,
        gate: Gate,
        *,
        wake: Callable[[], None],
        note: Callable[[str], None],
        fail: Callable[[ActonceError], None],
    ) -> None:
        self._world, self._membership, self._gossip, self._gate = world, membership, gossip, gate
        self._wake, self._note, self._fail = wake, note, fail
        self._deaths = Deaths(world, is_back=self._is_linked, on_proof=self._proved, on_refused=self._refused)
        self.patient = False
        """Whether our name may be taken by our own predecessor, whose journal was another one."""
        self.denials: dict[str, str] = {}
        """Address -> why the replica there last refused us."""
        self.denied_at: dict[str, float] = {}
        """Address -> when, on our clock. It is dialed again and again, so an old denial is over."""

    def changed(self, view: View) -> None:
        """Membership has installed this view."""
        # In a later turn, so that entries written under the old view are on disk, and pushed, before the new view.
        self.close_gate()
        self._world.call_soon(lambda: self._store(view))

    def close_gate(self) -> None:
        """Nothing leaves under promises that no longer hold."""
        self._gate.until = min(self._gate.until, self._membership.act_until())

    def unsettled(self) -> None:
        """We have to settle anew before we act."""
        self._gate.until = -math.inf
        self._gossip.announce()  # before any heartbeat: nobody may settle on our word

    def _store(self, view: View) -> None:
        if view is self._membership.view:
            self._world.journal.append([Row("view", pack_view(view))], lambda: self._durable(view))

    def _durable(self, view: View) -> None:
        self._membership.view_durable(view.number)
        self._gossip.announce()
        self._wake()

    def ended(self, about: About, name: str) -> None:
        """The link to this replica was read to its end, or lost."""
        self._deaths.ended(about, name)

    def _is_linked(self, member: Member) -> bool:
        peer = self._membership.peers.get(member.name)
        return peer is None or peer.member != member or peer.linked

    def _proved(self, member: Member, why: str) -> None:
        self._membership.look(self._world.now())
        self._membership.died(member, why)
        self._wake()

    def _refused(self, name: str) -> None:
        self._membership.look(self._world.now())
        self._membership.refused(name)
        self._gossip.beat()  # others may be waiting for our confirmation
        self._wake()

    def denied(self, address: str, reason: str) -> None:
        """The replica at this address refused us."""
        self.denied_at[address] = self._world.now()
        if self.denials.get(address) != reason:  # it is dialed, and says so, again and again
            self.denials[address] = reason
            self._note(f"{address} refused us: {reason}")
        # A newcomer gives way. Who is at work already does not stop because somebody else took its name elsewhere; nor
        # who has a new journal in place of a damaged one: the others will soon have given up the process before it.
        if not self.patient and reason.startswith("name taken:") and len(self._membership.view.members) <= 1:
            self._fail(NameTaken(f"{address} says: {reason}. Choose another --name, or stop the other replica."))
