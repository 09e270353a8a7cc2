"""Which of its two receivers a link of a replica belongs to: that of members, or that of followers."""

from __future__ import annotations

from collections.abc import Iterable

from actonce.errors import ConfigError, MessageInvalid
from actonce.journal import Recovered
from actonce.peers import About
from actonce.spread import Spread
from actonce.world import World
from actonce_transports import End, Identity, Link, Reach, Receiver


class Front:
    """The transport's receiver: links between members go one way, all others to `Spread`."""

    def __init__(self, world: World, mesh: Receiver, spread: Spread, recovered: Recovered) -> None:
        """
        Raises:
            ConfigError: this replica should only follow, and was a member on this journal.
        """
        if spread.follow and recovered.view is not None:
            raise ConfigError("this journal is a member's: a replica that only follows needs a --data of its own")
        self.follow, self._world, self._mesh, self._spread = spread.follow, world, mesh, spread
        self._followers: set[str] = set()
        """Names of those whose link belongs to `spread`."""
        self.joins: dict[str, str] = {}
        """Address at which to find the mesh -> why nobody answered there last; "" where somebody did, or not yet."""

    def join(self, addresses: Iterable[str]) -> None:
        """Find the mesh at these addresses. Once the transport has started.

        Raises:
            TransportError: not an address, or one that may not be dialed without a secret.
        """
        for address in addresses:
            self.joins[address] = ""
            self._world.transport.dial(address)
            if self.follow:  # it picks one at a time: see `Overlay`
                self._world.transport.undial(address)
                self._spread.seed([address])

    def accept(self, peer: Identity, dialed: bool) -> str | None:
        """As `Receiver.accept`."""
        # A member comes before a follower that has its name by mistake.
        return (self._spread if self.follow or _follows(peer) else self._mesh).accept(peer, dialed)

    def link_up(self, link: Link) -> None:
        """As `Receiver.link_up`."""
        if link.address in self.joins:
            self.joins[link.address] = ""
        if self.follow or _follows(link.peer):
            self._followers.add(link.peer.name)
            self._spread.link_up(link)
        else:
            self._mesh.link_up(link)

    def frame(self, link: Link, data: bytes) -> None:
        """As `Receiver.frame`."""
        (self._spread if link.peer.name in self._followers else self._mesh).frame(link, data)

    def link_down(self, link: Link, end: End) -> None:
        """As `Receiver.link_down`."""
        if link.peer.name in self._followers:
            self._followers.discard(link.peer.name)
            self._spread.link_down(link, end)
        else:
            self._mesh.link_down(link, end)

    def dial_failed(self, address: str, reach: Reach, reason: str) -> None:
        """As `Receiver.dial_failed`."""
        if address in self.joins:
            self.joins[address] = "" if reach is Reach.DENIED else reason
        (self._spread if self.follow else self._mesh).dial_failed(address, reach, reason)

    def unanswered(self) -> list[str]:
        """The addresses to join at which there is no replica, each in a sentence."""
        return [f"no replica answers at {at} (--join): {why}" for at, why in sorted(self.joins.items()) if why]


def _follows(peer: Identity) -> bool:
    try:
        return About.decode(peer.about).follows_only
    except MessageInvalid:
        return False
