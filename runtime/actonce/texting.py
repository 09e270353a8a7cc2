"""How what a push missed of the texts comes after all: by digest with each heartbeat, then by state vector.

Asked for on each new link, and whenever a peer's digest has been another than ours for longer than a moment. A replica
without texts says nothing, so that a mesh that has none pays nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from actonce.ledger import Ledger
from actonce.lines import Line
from actonce.messages import Edit, TextAsk, TextDigest
from actonce.settings import Settings
from actonce.state_transfer import StateTransfer
from actonce.texts import Texts
from actonce.world import World
from actonce_crdt import EMPTY_UPDATE, StateVectorInvalid, parse_state_vector


@dataclass(slots=True)
class _Peer:
    line: Line
    told: bytes = b""
    """Our digest that it was told."""
    digest: bytes = b""
    """Its own, as it said; empty if it has no texts."""
    differs_since: float = math.inf
    asked_at: float = -math.inf


class Texting:
    """Anti-entropy of the texts on all links of one replica."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        ledger: Ledger,
        texts: Texts,
        transfer: StateTransfer,
    ) -> None:
        self._world, self._settings, self._ledger, self.texts = world, settings, ledger, texts
        self._transfer = transfer
        self._peers: dict[str, _Peer] = {}

    def link_up(self, line: Line) -> None:
        """A new link: whatever we lack comes first."""
        self._peers[line.name] = _Peer(line)
        if not self.texts.document.is_empty:
            self.ask(line)
        self.beat(line)

    def link_down(self, line: Line) -> None:
        """This link is gone: nothing of it is kept, for its peer may never come back."""
        if (peer := self._peers.get(line.name)) is not None and peer.line is line:
            del self._peers[line.name]

    def ask(self, line: Line) -> None:
        """Ask for all that we lack, unless we just did."""
        peer, now = self._peer(line), self._world.now()
        if now - peer.asked_at >= self._settings.ask_again_s:
            peer.asked_at = now
            line.counts["text asks"] += 1
            line.send(TextAsk(self.texts.document.encoded_state_vector()))

    def beat(self, line: Line) -> None:
        """With each heartbeat: our digest, if it is another than the one that we told; and a look at the peer's."""
        peer, document = self._peer(line), self.texts.document
        if not document.is_empty and peer.told != document.digest and line.send(TextDigest(document.digest)):
            peer.told = document.digest
        if peer.digest in (b"", document.digest):
            peer.differs_since = math.inf
            return
        peer.differs_since = min(peer.differs_since, self._world.now())
        if self._world.now() - peer.differs_since >= self._settings.ask_again_s:
            peer.told = b""  # it hears ours again, and asks if it is the side that lacks something
            self.ask(line)

    def digest(self, line: Line, theirs: bytes) -> None:
        """A peer said what it has."""
        self._peer(line).digest = theirs

    def answer(self, line: Line, state_vector: bytes) -> None:
        """A peer asks."""
        try:
            theirs = parse_state_vector(state_vector)
        except StateVectorInvalid as error:
            self._transfer.refuse(line, str(error))
            return
        if self.texts.document.is_empty or self._transfer.repeats(line, Edit):
            return
        difference = self.texts.document.diff(theirs)
        # It may hold edits of ours that are not on disk yet.
        self._ledger.when_durable(lambda: self._transfer.give(line, Edit(EMPTY_UPDATE, difference)))

    def _peer(self, line: Line) -> _Peer:
        peer = self._peers.get(line.name)
        if peer is None or peer.line is not line:
            peer = self._peers[line.name] = _Peer(line)
        return peer
