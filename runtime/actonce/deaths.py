"""Looks for proof after a link has ended: only a proved death is taken over without suspicion and grace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from actonce.ownership import Member
from actonce.peers import About
from actonce.world import World
from actonce_transports import Reach, TransportError

LOOKS_S = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Waits before each look at the process table: a killed process closes its sockets before it is gone."""


class Deaths:
    """Detective work of one replica. Any answer but a proof means nothing."""

    def __init__(
        self,
        world: World,
        *,
        is_back: Callable[[Member], bool],
        on_proof: Callable[[Member, str], None],
        on_refused: Callable[[str], None],
    ) -> None:
        """
        Args:
            is_back: a link to this member is up again, so that there is nothing to prove.
            on_proof: this member's process is certainly gone.
            on_refused: the address of the replica of this name refuses connections.
        """
        self._world, self._is_back, self._on_proof, self._on_refused = world, is_back, on_proof, on_refused

    def ended(self, about: About, name: str) -> None:
        """The link to this replica was read to its end, or lost."""
        self._look(about, Member(name, about.incarnation), 0)

    def _look(self, about: About, member: Member, look: int) -> None:
        if self._is_back(member):
            return
        if self._world.process_gone(about.process):
            self._on_proof(member, f"process {about.process.pid} on this host has ended")
            return
        if about.address:
            with contextlib.suppress(TransportError):  # an address of its invention, or one that we may not dial
                self._world.transport.probe(about.address, lambda reach: self._probed(member, reach))
        if look + 1 < len(LOOKS_S):
            self._world.call_later(LOOKS_S[look + 1], lambda: self._look(about, member, look + 1))

    def _probed(self, member: Member, reach: Reach) -> None:
        if reach is Reach.REFUSED and not self._is_back(member):
            self._on_refused(member.name)
