"""Links and what flows over them: eager push, acknowledgement, anti-entropy, heartbeats.

Every local update is pushed to every linked peer the moment it is on disk (full mesh). What a push missed - a full
queue, a link that came up later, a gap - is asked for (`comparing`): on every new link, whenever a heartbeat shows
that a peer has read more than we have for longer than a moment, and when two equal state vectors show different
digests. Anti-entropy is part of correctness here, not an optimisation: pycrdt must never be given an update that
starts beyond what it knows, so such a push is refused and asked for again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

from actonce.compare_messages import Rows, Sums
from actonce.comparing import Comparing
from actonce.discovered import Discovered
from actonce.errors import ActonceError, MessageInvalid, ReplicaFailed
from actonce.ledger import Ledger
from actonce.lines import Line, brief, frames
from actonce.membership import Membership
from actonce.messages import (
    BEAT_DIGEST_BYTES,
    Ack,
    Announce,
    Ask,
    Bye,
    Chunk,
    Edit,
    Heartbeat,
    Kept,
    Message,
    Push,
    TextAsk,
    TextDigest,
    Want,
)
from actonce.ownership import Member
from actonce.peers import About
from actonce.settings import Settings
from actonce.state_transfer import StateTransfer
from actonce.texting import Texting
from actonce.texts import Texts
from actonce.transfer_messages import Offer, Part, Take
from actonce.world import World
from actonce_crdt import DocumentPoisoned, UpdateGap, UpdateInvalid
from actonce_transports import End, Identity, Link, Reach


class Gossip:
    """The transport's receiver. Tells `Membership` and `Ledger` what came, and the engine what changed."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        about: About,
        ledger: Ledger,
        membership: Membership,
        texts: Texts,
        *,
        seek: Callable[[str], None],
        free: Callable[[], int],
        on_word: Callable[[], None],
        on_contact: Callable[[], None],
        on_ended: Callable[[About, str], None],
        on_denied: Callable[[str, str], None],
        on_failed: Callable[[ActonceError], None],
        on_want: Callable[[str, Want], None],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            seek: called at each heartbeat for a peer that does not answer: look for another way to it.
            free: how many tasks we could start at once.
            on_word: somebody announced a view, perhaps one without us.
            on_contact: something came that may let us act.
            on_ended: the link of this replica (its `About`, its name) was read to its end.
            on_denied: a peer at this address refused us for this reason.
            on_failed: the document is unusable; the replica must be started again, from its journal.
            on_want: the replica of this name says what it needs of limited resources.
        """
        self._world, self._settings, self._about = world, settings, about
        self._ledger, self._membership = ledger, membership
        self._seek, self._free, self._on_word = seek, free, on_word
        self._silent: Counter[str] = Counter()
        """Heartbeats for which there was no link to a replica in play."""
        self._on_contact, self._on_ended, self._on_denied = on_contact, on_ended, on_denied
        self._on_failed, self._on_want, self._note = on_failed, on_want, note
        self.lines: dict[str, Line] = {}
        self.counts: Counter[str] = Counter()
        """Traffic since the start: frames and bytes sent, updates refused, gaps, asks, overflows."""
        self._acks: dict[str, None] = {}
        self.discovered = Discovered(world, membership, about.address)
        self._kept: dict[int, int] = {}
        self.transfer = StateTransfer(
            *(world, settings, ledger), send=self._send, refuse=self._refuse, arrived=self._arrived, note=note
        )
        self.comparing = Comparing(world, settings, ledger, self.transfer, self._stated)
        self.texting = Texting(world, settings, ledger, texts, self.transfer)
        self.mutes: Callable[[Member], bool] = lambda member: False
        """Whose heartbeats must not be answered for the moment: see `Voting.mutes`."""

    # The transport's receiver

    def accept(self, peer: Identity, dialed: bool) -> str | None:
        """Refuse strangers and doubles with a sentence for their user."""
        try:
            about = self._about.meet(self._membership.me.name, peer)
        except MessageInvalid as error:
            return str(error)
        line = self.lines.get(peer.name)
        known = self._membership.peers.get(peer.name)
        if known is not None and known.about is not None and not about.follows(known.about):
            view = self._membership.view
            if line is not None or known.member in view.members | view.lingering:
                return f"name taken: a replica called {peer.name!r} with another journal is live, or was a moment ago"
        if known is not None and about.incarnation < known.member.incarnation:
            return f"name taken: a later incarnation of {peer.name!r} is live"
        return None

    def link_up(self, link: Link) -> None:
        """A new link, perhaps in place of an old one: say who we hold to be live, and ask for all that we lack."""
        line = Line(self._world, link, About.decode(link.peer.about), self.counts, self._is_live)
        known = self._membership.peers.get(link.peer.name)
        if known is not None and known.member.incarnation > line.about.incarnation:
            link.close()  # it was on its way when its process ended; the next one is here already
            return
        self._membership.look(self._world.now())
        before = known.about if known is not None else None
        self._membership.met(link.peer.name, line.about)
        if before is not None:
            self.discovered.moved(before.address, line.about.address)
        self.lines[link.peer.name] = line
        self._announce(line, self._world.now())
        self._send_heartbeat(line)
        self.ask(link.peer.name)
        self.texting.link_up(line)

    def _is_live(self, line: Line) -> bool:
        return self.lines.get(line.name) is line

    def _send(self, line: Line, message: Message) -> bool:
        return self._is_live(line) and line.send(message)

    def link_down(self, link: Link, end: End) -> None:
        """A link ended. Only reading it to its end says anything about the peer's life."""
        name = link.peer.name
        line = self.lines.get(name)
        if line is None or line.link is not link:
            return
        del self.lines[name]
        self.comparing.link_down(line)
        self.texting.link_down(line)
        self._membership.lost(name, ended=end is End.EOF)
        if end in (End.EOF, End.LOST):  # the latter, too, when a relay has lost it: only a proof counts then
            self._on_ended(line.about, name)

    def dial_failed(self, address: str, reach: Reach, reason: str) -> None:
        """Only a denial needs the user; the rest is tried again by the transport."""
        if reach is Reach.DENIED:
            if reason.startswith("self:"):
                self._world.transport.undial(address)
            else:
                self._on_denied(address, reason)

    def frame(self, link: Link, data: bytes) -> None:
        """One message of a peer."""
        line = self.lines.get(link.peer.name)
        if line is None or line.link is not link:
            return
        self._membership.look(self._world.now())
        try:
            message = line.receive(data)
        except MessageInvalid as error:
            self._refuse(line, str(error))
            return
        if message is None:
            self._membership.hear(link.peer.name)
        else:
            self._take(link.peer.name, line, message)

    def _take(self, name: str, line: Line, message: Message) -> None:
        membership, now = self._membership, self._world.now()
        match message:
            case Heartbeat():
                peer = membership.hear(name)
                first, answered = peer.their_sent == -math.inf, peer.echoed
                peer.unsaid = self.comparing.heard(line, message.basis, message.first)
                if peer.unsaid and not message.basis and not line.missed:
                    line.missed, line.asked_at = True, -math.inf  # at once: nobody may act meanwhile
                    self.ask(name)
                membership.heartbeat(name, message, self._ledger.reach, now)
                if peer.echoed > answered:
                    line.unanswered = 0
                if first:
                    self._send_heartbeat(line)
                self._on_contact()
            case Announce():
                membership.announce(name, message)
                self._on_word()  # before we answer: whoever removed us acts on that answer
                self.discovered.named(message.addresses)
                self._send_heartbeat(line)
                self._on_contact()
            case Push(update):
                membership.hear(name)
                self._integrate(name, line, update)
            case Edit(update, text):
                membership.hear(name)
                self._integrate(name, line, update, text)
            case TextAsk(state_vector):
                membership.hear(name)
                self.texting.answer(line, state_vector)
            case TextDigest(digest):
                membership.hear(name)
                self.texting.digest(line, digest)
            case Ack(clock):
                peer = membership.hear(name)
                peer.has_read({self._about.client: clock}, self._ledger.reach, now)
                self._on_contact()
            case Kept(clock):
                peer = membership.hear(name)
                peer.kept = max(peer.kept, clock)
                self._on_contact()
            case Ask(state_vector):
                membership.hear(name)
                self.transfer.asked(line, state_vector)
            case Offer() | Take() | Part():
                membership.hear(name)
                self.transfer.take(line, message)
            case Sums() | Rows():
                membership.hear(name)
                self.comparing.take(line, message)
            case Bye():
                membership.died(membership.hear(name).member, "it said goodbye")
                self._on_contact()
            case Want():
                membership.hear(name)
                self._on_want(name, message)
            case Chunk():
                self._refuse(line, "a chunk inside a chunk")
            case _:
                self._refuse(line, "a message for followers on a link of members")

    # Document

    def push(self, update: bytes) -> None:
        """Send an update, which is on disk, to every linked peer. A peer with a full queue will ask for it."""
        parts = frames(brief(self.texting.texts.message(update), self._about.client))
        for line in self.lines.values():
            line.send_frames(parts)

    def ask(self, name: str) -> None:
        """Ask a peer for all that we lack, unless we just did."""
        line, now = self.lines[name], self._world.now()
        if now - line.asked_at >= self._settings.ask_again_s and not self.transfer.busy:
            line.asked_at = now
            self.counts["asks"] += 1
            self.comparing.ask(line)

    def _arrived(self, line: Line, message: Message) -> None:
        self._take(line.name, line, message)
        for other in list(self.lines.values()):
            other.asked_at = -math.inf  # what was written meanwhile
            self.ask(other.name)

    def _stated(self, line: Line, equal: dict[int, int], rest: Mapping[int, int]) -> None:
        peer = self._membership.hear(line.name)
        peer.unsaid = self.comparing.owes(line)
        peer.stated(equal, rest, self._ledger.reach, self._world.now())
        self._on_contact()

    def _integrate(self, name: str, line: Line, update: bytes, text: bytes = b"") -> None:
        try:
            if text:
                self.texting.texts.integrate(update, text)
            else:
                self._ledger.integrate(update)
        except UpdateGap:
            self.counts["gaps"] += 1
            if not line.receiving:  # else what is missing is just coming in
                self.ask(name)
            if text:
                self.texting.ask(line)
            return
        except UpdateInvalid as error:
            self._refuse(line, str(error))
            return
        except DocumentPoisoned as error:
            self._on_failed(ReplicaFailed(f"{error}; start the replica again: it rebuilds from its journal"))
            return
        if not self._acks:
            self._world.call_soon(self._send_acks)
        self._acks[name] = None

    def _send_acks(self) -> None:
        acks, self._acks = self._acks, {}
        for name in acks:
            if (line := self.lines.get(name)) is not None:
                line.send(Ack(self._ledger.document.clock_of(line.about.client)))

    def tell_kept(self, vector: Mapping[int, int]) -> None:
        """These clocks are on our disk, too: every replica is told of its own, once on each link."""
        self._kept.update(vector)
        for line in list(self.lines.values()):
            if (clock := self._kept.get(line.about.client, 0)) > line.kept and line.send(Kept(clock)):
                line.kept = clock

    # Heartbeats and views

    def beat(self) -> None:
        """A heartbeat to every linked peer, and a look at who lags."""
        self._look_for_ways()
        self.tell_kept({})
        for name, line in list(self.lines.items()):
            line.unanswered += 1
            peer, now = self._membership.peers[name], self._world.now()
            missed = peer.has_heard < self._membership.announced.number
            if missed and now - line.announced_at >= self._settings.ask_again_s:
                self._announce(line, now)  # a relay may have died with it
            self._send_heartbeat(line)
            self.texting.beat(line)
            lags = now - peer.behind_since >= self._settings.ask_again_s or self._diverged(name)
            if lags and not line.receiving:
                self.ask(name)

    def _look_for_ways(self) -> None:
        """Counted in our own heartbeats, not in time: one that we did not send for being stopped was not answered."""
        for member in sorted(self._membership.in_play() - {self._membership.me}):
            line = self.lines.get(member.name)
            self._silent[member.name] = 0 if line is not None else self._silent[member.name] + 1
            missed = line.unanswered if line is not None else self._silent[member.name]
            if missed * self._settings.heartbeat_s >= self._settings.contact_window_s / 2:
                self._seek(member.name)

    def _diverged(self, name: str) -> bool:
        """Equal state vectors with different digests: some deletion, or worse, is missing on one side."""
        peer = self._membership.peers[name]
        document = self._ledger.document
        differs = bool(peer.digest) and peer.digest != document.digest[:BEAT_DIGEST_BYTES]
        return differs and document.has_vector(peer.read)

    def announce(self) -> None:
        """Our view changed (and is on disk): tell everybody, with a heartbeat that makes it count."""
        for line in list(self.lines.values()):
            self._announce(line, self._world.now())
            self._send_heartbeat(line)

    def _announce(self, line: Line, now: float) -> bool:
        line.announced_at = now if line.send(self._announcement()) else -math.inf
        return line.announced_at == now

    def tell(self, word: Bye | Want) -> None:
        """Every linked peer."""
        for line in list(self.lines.values()):
            line.send(word)

    def _announcement(self) -> Announce:
        addresses = tuple(sorted({line.about.address for line in self.lines.values() if line.about.address}))
        membership = self._membership
        settled, accused = membership.settled_durably, membership.accused
        return Announce(
            *(membership.announced, settled, membership.leaving, membership.vouches and settled, accused, addresses)
        )

    def _send_heartbeat(self, line: Line) -> None:
        if line.announced_at == -math.inf and not self._announce(line, self._world.now()):
            return  # the queue is full: nothing may count under what we said before
        news, basis, first = self.comparing.news(line)
        peer = self._membership.peers[line.link.peer.name]
        beat = Heartbeat(
            self._world.now(),
            peer.their_sent if not self.mutes(peer.member) else -math.inf,
            self._membership.announced.number,
            self._ledger.document.digest[:BEAT_DIGEST_BYTES],
            news,
            peer.view.number if peer.view is not None and peer.member in self._membership.view.members else 0,
            self._free(),
            tuple(sorted(name for name, peer in self._membership.peers.items() if peer.refuses)),
            max(0.0, self._world.wall()),
            *(basis, first),
        )
        if line.send(beat):
            self.comparing.told(line, news)

    def _refuse(self, line: Line, reason: str) -> None:
        """Bytes that no correct replica sends: count, say so, and drop the link. Anti-entropy starts over."""
        self.counts["refused"] += 1
        self._note(f"refused a message of {line.link.peer.name}: {reason}")
        line.link.close(goodbye=False)
