"""How to reach a peer: directly, or through a third replica where the direct link is cut, one-way or too slow.

Stands between the transport and `Gossip`, which sees one link to each peer and need not know which way it goes. Without
this a single cut link among three replicas stalls two thirds of all tasks, since acting needs everybody's promise.

A *relayed link* is a link in the sense of `actonce_transports.contract`: frames in order, at most once, or its end. The
third replica forwards single frames, keeps nothing, and only between those it has direct links with (one hop):

    leader -> all it is linked with -> follower: OPEN     the one with the smaller name asks, on all ways at once
    follower -> the same ways -> leader: ACCEPT           the first answer is the fastest way
    DATA, both ways, numbered                             the first one makes the follower use it
    END                                                   closed, a frame was lost on the way, or no link to forward on

A direct link that is there but was given up is *tried* by the leader; once it answers fast enough, USE brings it back.

Not promised: that a relayed frame was not forged by the replica that forwards it. Whoever has the secret is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from actonce.envelopes import Envelope, Kind, is_envelope, open_envelope, seal
from actonce.errors import MessageInvalid
from actonce.settings import Settings
from actonce.world import World
from actonce_transports import FRAME_BYTES_MAX, End, Identity, Link, Reach, Receiver

TRIES_TO_RETURN = 2
"""Fast answers in a row before a direct link is used again."""

OFFERS_MAX = 1024
"""Replicas that may be looking for a way to us at one time."""


@dataclass(slots=True, eq=False)
class RelayedLink:
    """`Link` through a third replica. Made by `Routes`."""

    routes: Routes
    via: Link
    peer: Identity
    number: int
    """Drawn by the leader, never used twice."""
    dialed: bool
    address: str = ""
    open: bool = True
    sent: int = 0
    received: int = 0

    @property
    def queued_bytes(self) -> int:
        """Of the direct link that carries it."""
        return self.via.queued_bytes

    def send(self, frame: bytes) -> bool:
        """As `Link.send`."""
        if not self.open or not self.routes.forward(self.via, self._envelope(Kind.DATA, frame)):
            return False
        self.sent += 1
        return True

    def close(self, goodbye: bool = True) -> None:
        """As `Link.close`; the peer is told, without a goodbye by silence of this link only."""
        if self.open:
            self.open = False
            self.say_end()
            self.routes.closed(self)

    def say_end(self) -> None:
        """Tell the peer that this way is not used any more."""
        self.routes.forward(self.via, self._envelope(Kind.END, b""))

    def _envelope(self, kind: Kind, body: bytes) -> Envelope:
        return Envelope(kind, self.routes.me.name, self.peer.name, self.number, self.sent, body)


@dataclass(slots=True)
class _Search:
    """A way to one peer that we asked for."""

    number: int
    began: float


@dataclass(slots=True)
class _Trial:
    """A direct link that is there and not in use."""

    number: int = 0
    """Of the question that has no answer yet; 0 for none."""
    sent_at: float = 0.0
    answered_at: float = -math.inf
    fast: int = 0


@dataclass(slots=True)
class Routes:
    """The transport's receiver."""

    world: World
    settings: Settings
    me: Identity
    above: Receiver
    """`Gossip`."""
    note: Callable[[str], None]
    direct: dict[str, Link] = field(default_factory=dict)
    used: dict[str, Link] = field(default_factory=dict)
    """The link to each peer that `above` knows: a direct or a relayed one."""
    _searches: dict[str, _Search] = field(default_factory=dict)
    _offers: dict[str, tuple[int, Identity]] = field(default_factory=dict)
    """Name of a leader -> the number of its newest search that we accepted, and what it said of itself."""
    _trials: dict[str, _Trial] = field(default_factory=dict)

    # The transport's receiver

    def accept(self, peer: Identity, dialed: bool) -> str | None:
        """As `Receiver.accept`."""
        return self.above.accept(peer, dialed)

    def dial_failed(self, address: str, reach: Reach, reason: str) -> None:
        """As `Receiver.dial_failed`."""
        self.above.dial_failed(address, reach, reason)

    def link_up(self, link: Link) -> None:
        """A direct link: used at once, unless a relayed one works and this one must show first that it does."""
        name = link.peer.name
        self.direct[name] = link
        used = self.used.get(name)
        if used is not None and used.peer == link.peer:
            self._trials[name] = _Trial()
        else:
            self._use(link)

    def link_down(self, link: Link, end: End) -> None:
        """A direct link ended. That says more of the peer's life than whatever came through others."""
        name = link.peer.name
        if self.direct.get(name) is link:
            del self.direct[name]
            self._trials.pop(name, None)
        used = self.used.get(name)
        if used is link or (end is End.EOF and used is not None and used.peer == link.peer):
            self._drop(used, end)
        for other in [one for one in self.used.values() if isinstance(one, RelayedLink) and one.via is link]:
            self._drop(other, End.LOST)

    def frame(self, link: Link, data: bytes) -> None:
        """A frame of a direct link: an envelope is for us to look at, the rest for `above` if the link is in use."""
        if not is_envelope(data):
            if self.used.get(link.peer.name) is link:
                self.above.frame(link, data)
            return
        try:
            envelope = open_envelope(data)
        except MessageInvalid as error:
            self.note(f"refused an envelope of {link.peer.name}: {error}")
            link.close(goodbye=False)
            return
        if envelope.target != self.me.name:
            self._pass_on(link, envelope, data)
        elif envelope.source == link.peer.name:
            self._tried(link, envelope)
        else:
            self._take(link, envelope)

    # Relayed links

    def seek(self, name: str) -> None:
        """The link to `name` does not answer, or there is none: the leader of the two looks for a way around.

        Asked again each heartbeat while that is so. Does nothing for a follower, whose leader sees the same.

        If a relayed link does not answer, and the direct one does, however slowly, that is the way: the third replica
        may be stopped, or dead, while nothing is wrong between us two.
        """
        now = self.world.now()
        trial = self._trials.get(name)
        if self.me.name < name and trial is not None and now - trial.answered_at < self.settings.contact_window_s:
            self._return_to(self.direct[name])
            return
        search = self._searches.get(name)
        if self.me.name > name or (search is not None and now - search.began < self._fast_s):
            return
        search = self._searches[name] = _Search(self.world.rng.getrandbits(53), now)
        for via, link in sorted(self.direct.items()):
            if via != name:
                envelope = Envelope(Kind.OPEN, self.me.name, name, search.number, 0, self.me.about)
                self.forward(link, envelope)

    @property
    def _fast_s(self) -> float:
        """A round trip that is worth a change of ways: it leaves room within the contact window."""
        return self.settings.contact_window_s / 2

    def forward(self, via: Link, envelope: Envelope) -> bool:
        """Send an envelope on a direct link."""
        data = seal(envelope)
        return len(data) <= FRAME_BYTES_MAX and self.direct.get(via.peer.name) is via and via.send(data)

    def _pass_on(self, link: Link, envelope: Envelope, data: bytes) -> None:
        """We are the third. What cannot be passed on ends the relayed link, so that no frame is missing unnoticed."""
        target = self.direct.get(envelope.target)
        if envelope.source != link.peer.name or (target is not None and target.send(data)):
            return
        if envelope.kind is not Kind.END:
            back = Envelope(Kind.END, envelope.target, envelope.source, envelope.number, 0, b"")
            self.forward(link, back)

    def _take(self, via: Link, envelope: Envelope) -> None:
        name, number = envelope.source, envelope.number
        used = self.used.get(name)
        if isinstance(used, RelayedLink) and used.number == number and used.via is via:
            self._continue(used, envelope)
            return
        match envelope.kind:
            case Kind.OPEN:
                peer = Identity(name, envelope.body)
                if name < self.me.name and self._room_for(name) and self.above.accept(peer, False) is None:
                    self._offers[name] = (number, peer)
                    self.forward(via, Envelope(Kind.ACCEPT, self.me.name, name, number, 0, self.me.about))
            case Kind.ACCEPT:
                search = self._searches.get(name)
                if search is not None and search.number == number:
                    del self._searches[name]
                    peer = Identity(name, envelope.body)
                    if self.world.now() - search.began < self._fast_s and self.above.accept(peer, True) is None:
                        self._use(RelayedLink(self, via, peer, number, dialed=True))
            case Kind.DATA:
                offer = self._offers.get(name)
                if offer is not None and offer[0] == number and envelope.sequence == 0:
                    del self._offers[name]
                    link = RelayedLink(self, via, offer[1], number, dialed=False)
                    self._use(link)
                    self._continue(link, envelope)
                else:
                    self.forward(via, Envelope(Kind.END, self.me.name, name, number, 0, b""))
            case _:
                pass

    def _room_for(self, name: str) -> bool:
        return name in self._offers or len(self._offers) < OFFERS_MAX

    def _continue(self, link: RelayedLink, envelope: Envelope) -> None:
        if envelope.kind is Kind.DATA and envelope.sequence == link.received:
            link.received += 1
            self.above.frame(link, envelope.body)
        elif envelope.kind in (Kind.DATA, Kind.END):
            if envelope.kind is Kind.DATA:
                link.say_end()
            self._drop(link, End.LOST)

    def closed(self, link: RelayedLink) -> None:
        """`above` closed it; it is told in a later turn, as by a transport."""
        self.world.call_soon(lambda: self._drop(link, End.CLOSED))

    # Which way

    def _use(self, link: Link) -> None:
        name = link.peer.name
        old = self.used.get(name)
        if old is not None:
            if isinstance(old, RelayedLink):
                old.open = False
                old.say_end()
            self.above.link_down(old, End.REPLACED)
        direct = self.direct.get(name)
        if direct is not None and direct is not link:
            self._trials[name] = _Trial()
        else:
            self._trials.pop(name, None)
        if isinstance(link, RelayedLink):
            self.note(f"reaches {name} through {link.via.peer.name}")
        elif isinstance(old, RelayedLink):
            self.note(f"reaches {name} directly again")
        self.used[name] = link
        self.above.link_up(link)

    def _drop(self, link: Link | None, end: End) -> None:
        """This link is over. A direct one that waits for its trial takes its place."""
        if link is None or self.used.get(link.peer.name) is not link:
            return
        if isinstance(link, RelayedLink):
            link.open = False
        name = link.peer.name
        del self.used[name]
        self.above.link_down(link, end)
        direct = self.direct.get(name)
        if direct is not None and direct is not link:
            self._use(direct)

    def beat(self) -> None:
        """Each heartbeat: the leader tries the direct links that are not in use."""
        now, window_s = self.world.now(), self.settings.contact_window_s
        for name, trial in sorted(self._trials.items()):
            if self.me.name < name and not (trial.number and now - trial.sent_at < window_s):
                trial.fast = 0 if trial.number else trial.fast
                trial.number, trial.sent_at = self.world.rng.getrandbits(53), now
                self._say(name, Kind.TRY, trial.number)

    def _return_to(self, link: Link) -> None:
        self._say(link.peer.name, Kind.USE, 0)
        self._use(link)

    def _say(self, name: str, kind: Kind, number: int) -> None:
        self.forward(self.direct[name], Envelope(kind, self.me.name, name, number, 0, b""))

    def _tried(self, link: Link, envelope: Envelope) -> None:
        """About the direct link itself."""
        name = link.peer.name
        trial = self._trials.get(name)
        match envelope.kind:
            case Kind.TRY:
                self._say(name, Kind.ANSWER, envelope.number)
            case Kind.ANSWER if trial is not None and trial.number == envelope.number:
                trial.number, trial.answered_at = 0, self.world.now()
                fast = trial.answered_at - trial.sent_at < self._fast_s / 2
                trial.fast = trial.fast + 1 if fast else 0
                if trial.fast >= TRIES_TO_RETURN:
                    self._return_to(link)
            case Kind.USE:  # also if we never left it: the leader did, and did not read what we said meanwhile
                self._use(link)
            case _:
                pass
