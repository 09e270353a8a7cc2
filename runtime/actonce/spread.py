"""The overlay as one replica takes part in it: followers, and how updates reach them.

A *follower* holds and journals the document, and sends it on. It writes nothing, votes on nothing, owns nothing, and is
in nobody's view: members need no promise of it, count on nothing that it says, and do not wait for it. So there may be
many of them, and whatever becomes of them changes nothing about who acts. Members are linked with each other as ever; a
follower is linked with a few followers or members, a member with a few followers (`overlay`). Updates run along a tree
of these links (`broadcast`). Texts do not: neighbours tell each other digests with each pulse, and ask (`texting`).

A follower passes on what members wrote, to members too: what a member lost and a follower kept comes back by itself.
Nobody settles on a follower's word, and nothing that it passes on was not on its author's disk before.

Not promised: how far behind the members a follower is. `Overlay.age_s` says how old its newest word of one is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from actonce.broadcast import Act, Broadcast
from actonce.compare_messages import Rows, Sums
from actonce.comparing import Comparing
from actonce.errors import ActonceError, MessageInvalid, NotAMember, ReplicaFailed
from actonce.gossip import Gossip
from actonce.ledger import Ledger
from actonce.lines import Line, frames
from actonce.membership import Membership
from actonce.messages import Ask, Edit, Message, Push, TextAsk, TextDigest
from actonce.overlay import LOST_BEATS, Close, Dial, Down, Overlay, Send, Step, Undial, Up
from actonce.overlay_messages import Contact, Elsewhere, Graft, Have, Hello, Prune, Pulse, Swap, Walk
from actonce.peers import About
from actonce.settings import Settings
from actonce.state_transfer import StateTransfer
from actonce.texting import Texting
from actonce.transfer_messages import Offer, Part, Take
from actonce.world import World
from actonce_crdt import DocumentPoisoned, UpdateGap, UpdateInvalid
from actonce_transports import End, Identity, Link, Reach, TransportError

JITTER = 0.2
"""Part of the time between two pulses that is drawn."""


class Spread:
    """The transport's receiver for links with a follower on at least one side."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        about: About,
        ledger: Ledger,
        membership: Membership,
        gossip: Gossip,
        on_denied: Callable[[str, str], None],
        on_failed: Callable[[ActonceError], None],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            gossip: has the links between members.
            on_denied: a replica at this address refused us for this reason.
            on_failed: the document is unusable; the replica must be started again, from its journal.
        """
        self._world, self._about, self._ledger, self._pulse_s = world, about, ledger, settings.pulse_s
        self._membership, self._gossip = membership, gossip
        self._on_denied, self._on_failed, self._note = on_denied, on_failed, note
        self.me = Identity(membership.me.name, about.encode())
        self.lines: dict[str, Line] = {}
        self.counts: Counter[str] = Counter()
        """As `Gossip.counts`, of these links; messages sent by kind too."""
        self.views = Overlay(Contact(self.me.name, about.address, not self.follow), self._pulse_s, world.rng.random)
        self.tree = Broadcast(root=not self.follow)
        self.transfer = StateTransfer(
            *(world, settings, ledger), send=self._send_on, refuse=self._refuse, arrived=self._arrived, note=note
        )
        self.texting = Texting(world, settings, ledger, gossip.texting.texts, self.transfer)
        self.comparing = Comparing(world, settings, ledger, self.transfer)
        self._beats_at = world.now()
        self._source: str | None = None
        """Whose update is just being taken in."""
        ledger.on_fresh = self.push
        ledger.refuses = self.refusal if self.follow else None

    @property
    def follow(self) -> bool:
        """Whether this replica only follows."""
        return self._about.follows_only

    # The transport's receiver

    def accept(self, peer: Identity, dialed: bool) -> str | None:
        """As `Receiver.accept`."""
        try:
            about = self._about.meet(self.me.name, peer)
        except MessageInvalid as error:
            return str(error)
        line = self.lines.get(peer.name)
        if peer.name in self._gossip.lines or (line is not None and not about.follows(line.about)):
            return f"name taken: another live replica is called {peer.name!r}"
        if self.follow and not about.follows_only and not dialed:
            return "a follower: join a member instead"
        return None

    def link_up(self, link: Link) -> None:
        """As `Receiver.link_up`."""
        name, about = link.peer.name, About.decode(link.peer.about)
        self.lines[name] = Line(self._world, link, about, self.counts, self._is_live)
        contact = Contact(name, about.address, not about.follows_only)
        self._do(self.views.up(contact, link.address if link.dialed else "", self._world.now()))

    def link_down(self, link: Link, end: End) -> None:
        """As `Receiver.link_down`. It says nothing about anybody's life."""
        name = link.peer.name
        if name in self.lines and self.lines[name].link is link:
            line = self.lines.pop(name)
            self.comparing.link_down(line)
            self.texting.link_down(line)
            self._do(self.views.down(name))

    def dial_failed(self, address: str, reach: Reach, reason: str) -> None:
        """As `Receiver.dial_failed`."""
        if reach is Reach.DENIED and not reason.startswith("self:"):
            self._denied(address, reason)
        self._do(self.views.failed(address))

    def _denied(self, address: str, reason: str) -> None:
        """Of addresses that only others named, the user need not hear: there may be any number of them."""
        if address in self.views.known.given:
            self._on_denied(address, reason)

    def frame(self, link: Link, data: bytes) -> None:
        """As `Receiver.frame`."""
        name, now = link.peer.name, self._world.now()
        line = self.lines.get(name)
        if line is None or line.link is not link:
            return
        self._membership.look(now)
        try:
            message = line.receive(data)
        except MessageInvalid as error:
            self._refuse(line, str(error))
            return
        if name in self.views.active:
            self.views.heard(name, now)
            if message is not None:
                self._take(name, line, message)
        elif isinstance(message, Hello):
            self._do(self.views.take(name, message, now))

    def _take(self, name: str, line: Line, message: Message) -> None:
        now = self._world.now()
        match message:
            case Push(update):
                self._integrate(name, line, update)
            case Edit(update, text):
                self._integrate(name, line, update, text)
            case TextAsk(state_vector):
                self.texting.answer(line, state_vector)
            case TextDigest(digest):
                self.texting.digest(line, digest)
            case Have(clocks):
                self.tree.have(name, clocks, now, self._ledger.reach)
            case Graft(state_vector):
                self.tree.graft(name)
                if state_vector:
                    self.transfer.asked(line, state_vector)
            case Prune():
                self._act(self.tree.prune(name, now, self._ledger.state_vector()))
            case Ask(state_vector):
                self.transfer.asked(line, state_vector)
            case Offer() | Take() | Part():
                self.transfer.take(line, message)
            case Sums() | Rows():
                self.comparing.take(line, message)
            case Pulse(digest):
                self._do(self.views.take(name, message, now))
                self._act(self.tree.pulse(name, digest, self._ledger.document.digest, now))
            case Hello() | Elsewhere() | Walk() | Swap():
                self._do(self.views.take(name, message, now))
            case _:
                self._refuse(line, "a message for members on a link of a follower")

    # Document

    def push(self, update: bytes, clients: Iterable[int]) -> None:
        """Our document grew, of itself or by an update that came: send it on."""
        if not self.lines:
            return
        parts = frames(Push(update))
        for name in self.tree.grew(clients, self._ledger.reach, self._source):
            self.counts["sent Push"] += 1
            self.lines[name].send_frames(parts)

    def _integrate(self, name: str, line: Line, update: bytes, text: bytes = b"") -> None:
        now, before = self._world.now(), self._ledger.document.digest
        self._source = name
        try:
            if text:
                self.texting.texts.integrate(update, text)
            else:
                self._ledger.integrate(update)
        except UpdateGap:
            self.counts["gaps"] += 1
            if text:
                self.texting.ask(line)
            if not line.receiving and not self.transfer.busy:
                self._act(self.tree.gap(name, now))
            return
        except UpdateInvalid as error:
            self._refuse(line, str(error))
            return
        except DocumentPoisoned as error:
            self._on_failed(ReplicaFailed(f"{error}; start the replica again: it rebuilds from its journal"))
            return
        finally:
            self._source = None
        if text:
            return  # it was asked for: texts do not run along the tree
        fresh = self._ledger.document.digest != before
        self.counts["doubles"] += not fresh
        self._act(self.tree.pushed(name, fresh=fresh, now=now, mine=self._ledger.state_vector()))

    def _arrived(self, line: Line, message: Message) -> None:
        self._take(line.name, line, message)

    # Time

    def tick(self) -> None:
        """Look at the clock; often."""
        now = self._world.now()
        if now >= self._beats_at:
            self._beats_at = now + self._pulse_s * (1 - JITTER / 2 + JITTER * self._world.rng.random())
            self._beat(now)
        if self.tree.sides:
            busy = self.transfer.busy or any(line.receiving for line in self.lines.values())
            acts, said = self.tree.tick(now, self._ledger.reach, busy=busy)
            self._act(acts)
            for name, clocks in said.items():
                self._send(name, Have(clocks))

    def _beat(self, now: float) -> None:
        if self.views.me.member:
            lines = self._gossip.lines.values()
            self.views.known.mesh(Contact(line.name, line.about.address, True) for line in lines if line.about.address)
        self._do(self.views.beat(now))
        for name in list(self.views.active):
            self._send(name, self._pulse())
            if name in self.lines:
                self.texting.beat(self.lines[name])

    def seed(self, addresses: Iterable[str]) -> None:
        """Where to begin; a follower finds the rest by itself."""
        self.views.known.seed(addresses)

    # For people

    @property
    def in_touch(self) -> bool:
        """Whether a follower had a word of a member lately."""
        return self.views.age_s(self._world.now()) <= LOST_BEATS * self._pulse_s

    def refusal(self) -> NotAMember:
        """Why a follower takes nothing in, and who does."""
        homes = {one.name: one.address for one in self.views.known.members.values() if one.name}
        near = (one for one in self.views.active.values() if one.contact.member and one.dialed)
        homes |= {one.contact.name: one.dialed for one in near}
        where = ", ".join(f"{name} at {address}" for name, address in sorted(homes.items())[:3])
        where = f": {where}" if where else ""
        return NotAMember(f"replica {self.me.name!r} only follows, and takes nothing in; ask a member{where}")

    # The edge

    def _pulse(self) -> Pulse:
        return self.views.pulse(self._ledger.document.digest, self._world.now())

    def _do(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Send(name, message):
                    self._send(name, message)
                case Dial(address):
                    try:
                        self._world.transport.dial(address)
                    except TransportError as error:  # no address, or not one that we may dial
                        self._denied(address, str(error))
                        self._do(self.views.failed(address))
                case Undial(address):
                    self._world.transport.undial(address)
                case Close(name):
                    if name in self.lines:
                        self.lines[name].link.close()
                case Up(name):
                    self.tree.up(name)
                    self._send(name, self._pulse())
                    self.texting.link_up(self.lines[name])
                case Down(name):
                    self.tree.down(name)

    def _act(self, acts: list[tuple[str, Act]]) -> None:
        for name, act in acts:
            match act:
                case Act.PRUNE:
                    self._send(name, Prune())
                case Act.ASK:
                    self._ask(name)
                case Act.GRAFT:
                    many = self.comparing.many
                    self._send(name, Graft(b"" if many else self._ledger.document.encoded_state_vector()))
                    if many:
                        self._ask(name)

    def _ask(self, name: str) -> None:
        line = self.lines.get(name)
        if line is not None:
            self.comparing.ask(line)

    def _send(self, name: str, message: Message) -> None:
        line = self.lines.get(name)
        if line is not None:
            self._send_on(line, message)

    def _send_on(self, line: Line, message: Message) -> bool:
        if not self._is_live(line):
            return False
        self.counts[f"sent {type(message).__name__}"] += 1
        return line.send(message)

    def _is_live(self, line: Line) -> bool:
        return self.lines.get(line.name) is line

    def _refuse(self, line: Line, reason: str) -> None:
        self.counts["refused"] += 1
        self._note(f"refused a message of {line.name}: {reason}")
        line.link.close(goodbye=False)
