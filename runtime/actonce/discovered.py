"""Addresses of members that others told us, and that we dial: the newest of each replica, and no more than so many.

A replica that comes back elsewhere, as pods do, leaves an address at which nobody is any more. Nobody says so of those
that come back under another name: so when there are too many, whoever was named longest ago makes room.

Never let go: an address that the user gave; one of a replica that we are linked with, or that may be in play, since
that may be all that two sides of a partition know of each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable

from actonce.membership import Membership
from actonce.world import World
from actonce_transports import TransportError

PEERS_MAX = 1024
"""Addresses that we learn from others and dial."""


class Discovered:
    """Those of one replica."""

    def __init__(self, world: World, membership: Membership, own: str) -> None:
        self._world, self._membership, self._own = world, membership, own
        self.known: dict[str, None] = {}
        """Whoever was named longest ago comes first."""
        self.given: Collection[str] = ()
        """By the user."""

    def named(self, addresses: Iterable[str]) -> None:
        """A peer is linked with replicas at these addresses."""
        for address in addresses:
            if address == self._own:
                continue
            if address in self.known:
                self.known[address] = self.known.pop(address)
            elif len(self.known) < PEERS_MAX or self._make_room():
                self.known[address] = None
                with contextlib.suppress(TransportError):  # no address, or not one that we may dial
                    self._world.transport.dial(address)

    def moved(self, before: str, after: str) -> None:
        """A replica was at one address, and is at another one now."""
        if before != after and before in self.known and before not in self._in_use():
            self._let_go(before)

    def _make_room(self) -> bool:
        used = self._in_use()
        oldest = next((address for address in self.known if address not in used), None)
        if oldest is not None:
            self._let_go(oldest)
        return oldest is not None

    def _let_go(self, address: str) -> None:
        del self.known[address]
        if address not in self.given:
            self._world.transport.undial(address)

    def _in_use(self) -> set[str]:
        """By replicas that are there, or may be, as far as we know."""
        in_play = self._membership.in_play()
        peers = self._membership.peers.values()
        return {peer.about.address for peer in peers if peer.about and (peer.linked or peer.member in in_play)}
