"""One replica's engine: puts the parts together and moves them. Synchronous, on one thread; waits for nothing.

What comes in: frames (by `Gossip`), timers, rows that reached the disk, requests of handlers and callers. After each
of them `wake` asks for one `_pump` in a later turn of the loop: look whether we may act, claim, release effects and
submissions. Whatever a part needs to remember, it keeps itself; the engine keeps only how they hang together.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from actonce.agent import Agent
from actonce.claims import Claims
from actonce.deaths import Deaths
from actonce.desk import Desk
from actonce.errors import ActonceError, NameTaken, ReplicaFailed
from actonce.executor import Executor
from actonce.gossip import Gossip
from actonce.inbox import Inbox
from actonce.journal import Recovered, Row
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.messages import Announce, Want, decode, encode
from actonce.outbox import Outbox
from actonce.ownership import Member, View
from actonce.peers import About
from actonce.quotas import Quotas
from actonce.running import Gate, Run
from actonce.settings import Settings
from actonce.settling import Settled
from actonce.world import Cancel, World
from actonce_crdt import Claim, CrdtError

NOTES_MAX = 1_000
"""Remembered events of the replica's own story, newest last."""


class Engine:
    """A replica between `start` and `stop`."""

    def __init__(
        self,
        world: World,
        agent: Agent,
        name: str,
        recovered: Recovered,
        settings: Settings,
        *,
        new: bool,
        address: str,
        perform: Callable[[Desk, Run], Cancel],
        on_failed: Callable[[ActonceError], None],
    ) -> None:
        """
        Args:
            recovered: what the journal holds.
            new: no mesh of this agent exists yet; counts only with an empty journal.
            address: where others can dial us, or "".
            perform: runs a handler at the hands.
            on_failed: the replica cannot go on; it has stopped acting.
        """
        self.world, self.agent, self.settings = world, agent, settings
        self.me = Member(name, recovered.incarnation)
        self.notes: deque[tuple[float, str]] = deque(maxlen=NOTES_MAX)
        self.denials: dict[str, str] = {}
        """Address -> why the replica there last refused us."""
        self.gate = Gate(world.now)
        self._on_failed = on_failed
        self._awake = False
        self._wait_settled: list[Callable[[], None]] = []
        self._beats_at = world.now()
        self.ledger = Ledger(
            world,
            name,
            world.rng.getrandbits(53),
            on_changed=self._changed,
            on_integrated=self._integrated,
            on_durable=self._durable,
        )
        self.about = self._introduce(recovered, address)
        self.membership = Membership(
            self.me,
            settings,
            self.about.kinds,
            last=_unpack_view(recovered.view),
            new=new and recovered.new,
            now=world.now(),
            on_view=self._view_changed,
            on_unsettled=self._unsettled_again,
            note=self.note,
        )
        self.executor = Executor(
            world, settings, agent, self.me, self.ledger, perform=lambda run: perform(self.desk, run), on_free=self.wake
        )
        self.claims = Claims(world, self.ledger, self.membership, self.executor, on_takeover=self._takeover)
        self.outbox = Outbox(world.now, self.ledger, self.membership, self.gate)
        self.inbox = Inbox(world, agent, self.ledger, self.membership)
        self.quotas = self._make_quotas(recovered.journal_id)
        self.desk = Desk(world, settings, agent, self.gate, self.outbox, self.executor, self.quotas)
        self.gossip = self._make_gossip()
        self._deaths = Deaths(world, is_back=self._is_linked, on_proof=self._proved, on_refused=self._refused)
        self._recovered = recovered

    def _introduce(self, recovered: Recovered, address: str) -> About:
        return About(
            self.agent.name,
            recovered.journal_id,
            recovered.incarnation,
            self.ledger.client_id,
            frozenset(self.agent.tasks),
            address,
            self.settings.contact_window_s,
            self.world.process,
        )

    def _make_quotas(self, journal: str) -> Quotas:
        world, agent, membership = self.world, self.agent, self.membership

        def say(word: Want) -> None:
            self.gossip.want(word)

        return Quotas(world, self.settings, agent, self.ledger, membership, journal, say=say, note=self.note)

    def _make_gossip(self) -> Gossip:
        return Gossip(
            self.world,
            self.settings,
            self.about,
            self.ledger,
            self.membership,
            on_contact=self.wake,
            on_ended=self._ended,
            on_denied=self._denied,
            on_failed=self.fail,
            on_want=self.quotas.heard,
            note=self.note,
        )

    def start(self) -> None:
        """Recover from the journal and begin to tick. The transport is started by the caller, with `gossip`.

        Raises:
            ActonceError: the journal's content does not pass the document's checks.
        """
        try:
            self.ledger.recover(self._recovered.updates)
        except CrdtError as error:
            raise ReplicaFailed(f"the journal holds an update that is not valid: {error}") from error
        self.claims.changed(list(self.ledger.state.tasks))
        self.quotas.recover()
        self._recovered = Recovered(self._recovered.journal_id, self.me.incarnation, (), None, self._recovered.new)
        self._tick()

    def stop(self) -> None:
        """Stop acting for good, and say so. What is written still reaches the disk and the links."""
        self.gate.shut = True
        self.quotas.part()
        self.ledger.when_durable(self.gossip.goodbye)

    def drain(self, idle: Callable[[], None]) -> None:
        """Take no new work, and call `idle` when what runs here has ended. Others take over what waits."""
        self.claims.enabled = False
        self.executor.leave()
        # Others may claim once they hear of it; so they must have heard before of what we claimed.
        self.ledger.when_durable(self._announce_leaving)
        self._when_idle(idle)

    def _announce_leaving(self) -> None:
        self.membership.leaving = True
        self.gossip.announce()

    def _when_idle(self, idle: Callable[[], None]) -> None:
        if self.executor.idle:
            self.quotas.leave()
            self.ledger.when_durable(idle)
        else:
            self.world.call_later(self.settings.tick_s, lambda: self._when_idle(idle))

    def when_settled(self, reply: Callable[[], None]) -> None:
        """Reply once this replica has synced with the mesh and may act."""
        self._wait_settled.append(reply)
        self.wake()

    def note(self, text: str) -> None:
        """Remember an event for people."""
        self.notes.append((self.world.wall(), text))

    def fail(self, error: ActonceError) -> None:
        """Stop acting on an error of our own."""
        self.gate.shut = True
        self.quotas.close()
        self._on_failed(error)

    # Time

    def _tick(self) -> None:
        if self.gate.shut:
            return
        now = self.world.now()
        self.membership.tick(now)
        if now >= self._beats_at:
            self._beats_at = now + self.settings.heartbeat_s - self.settings.tick_s / 2
            self.gossip.beat()
        self.quotas.tick()
        self._pump()
        self.world.call_later(self.settings.tick_s, self._tick)

    def wake(self) -> None:
        """Something changed that may let us act: look in a later turn, once for all of this turn."""
        if not self._awake:
            self._awake = True
            self.world.call_soon(self._woken)

    def _woken(self) -> None:
        self._awake = False
        self._pump()

    def _pump(self) -> None:
        if self.gate.shut:
            return
        self.gate.until = self.membership.act_until()
        if self.world.now() < self.gate.until:
            self.claims.pump()
        if self.membership.settled_durably:
            settled, self._wait_settled = self._wait_settled, []
            for reply in settled:
                reply()
        self.outbox.pump()
        self.inbox.pump()

    # What the parts report

    def _changed(self, keys: list[str]) -> None:
        self.claims.changed(keys)
        self.inbox.changed(keys)
        self.quotas.changed(keys)
        self.wake()

    def _integrated(self, clients: tuple[int, ...]) -> None:
        self.membership.integrated(clients, self.ledger.state_vector(), self.world.now())

    def _durable(self, update: bytes) -> None:
        self.gossip.push(update)
        self.wake()

    def _view_changed(self, view: View) -> None:
        # In a later turn, so that entries written under the old view are on disk, and pushed, before the new view.
        self.gate.until = self.membership.act_until()
        if self.membership.settled is Settled.NEW:
            self.quotas.found()
        self.world.call_soon(lambda: self._store_view(view))

    def _store_view(self, view: View) -> None:
        if view is self.membership.view:
            self.world.journal.append([Row("view", _pack_view(view))], lambda: self._view_durable(view))

    def _unsettled_again(self) -> None:
        self.gate.until = -math.inf
        self.gossip.announce()  # before any heartbeat: nobody may settle on our word

    def _view_durable(self, view: View) -> None:
        self.membership.view_durable(view.number)
        self.gossip.announce()
        self.wake()

    def _takeover(self, task: str, claim: Claim) -> None:
        self.note(f"takes {task} over from {claim.author} (incarnation {claim.incarnation}, epoch {claim.epoch})")

    def _ended(self, about: About, name: str) -> None:
        self._deaths.ended(about, name)

    def _is_linked(self, member: Member) -> bool:
        peer = self.membership.peers.get(member.name)
        return peer is None or peer.member != member or peer.linked

    def _proved(self, member: Member, why: str) -> None:
        self.membership.look(self.world.now())
        self.membership.died(member, why)
        self.wake()

    def _refused(self, name: str) -> None:
        self.membership.look(self.world.now())
        self.membership.refused(name)
        self.gossip.beat()  # others may be waiting for our confirmation
        self.wake()

    def _denied(self, address: str, reason: str) -> None:
        if self.denials.get(address) != reason:  # it is dialed, and says so, again and again
            self.denials[address] = reason
            self.note(f"{address} refused us: {reason}")
        # A newcomer gives way. Who is at work already does not stop because somebody else took its name elsewhere.
        if reason.startswith("name taken:") and self.membership.view.members <= {self.me}:
            self.fail(NameTaken(f"{address} says: {reason}. Choose another --name, or stop the other replica."))


def _pack_view(view: View) -> bytes:
    return encode(Announce(view, settled=True, leaving=False))


def _unpack_view(data: bytes | None) -> View | None:
    if data is None:
        return None
    word = decode(data)
    assert isinstance(word, Announce)
    return word.view


