"""Anti-entropy by digest first: what a link costs when it comes up, however many processes there ever were.

Every process run is a client id, and a document never forgets one. Up to `CLIENTS_FEW` of them a new link begins as
ever: a state vector in the first heartbeat, a state vector in `Ask`, and an answer with all removals. Beyond that both
would be as long as the past. Instead each side sends the fingerprints of its chains (`Sums`, at most 8 KiB); the other
one compares them with its own and answers with its rows in the buckets that differ (`Rows`); from that the first knows
*all* that the other one holds, and sends what it lacks, with the removals that it lacks and no others.

What both rest on, so that neither order, nor doubles, nor losses, nor removals in between can do harm:

1. *A statement is about one moment.* Rows are compared with the table that we had when we sent the sums, which we keep
   until then, never with what we have when the answer comes: in the buckets that were equal the other one has what we
   had, not what we have. An answer about another moment than the last is ignored.
2. *A statement is whole.* It says all that its sender holds at one moment. So what we send, made from all of that, is
   as good as an answer to a state vector: a removal comes with what it rests on, or that is there already, also if both
   came here between the sums and the answer. (Answering for the differing buckets alone would part them.)
3. *A heartbeat counts for what was said before it.* It carries only changes, so it names the statement that they add
   to; without one, the first on a link says that it is. Whoever has not had that does not know what the sender has
   read, and counts on nothing that it promises (`Peer.unsaid`) until it comes. It asks: at once for a first one, else
   after `ask_again_s`. No loss of a message passes unseen, whoever lost it (nor one from before the two sides left this
   link for another way, and came back to it); a message that comes twice, or late, says nothing new: all of it is
   maxima.

The same when a replica has learnt of so much at once that a heartbeat would be long: it states anew.

Not bounded: what is really missing. A replica that comes for the first time is told every chain that ever was, about 30
bytes each, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from actonce.compare_messages import CompareMessage, Rows, Sums
from actonce.ledger import Ledger
from actonce.lines import Line
from actonce.messages import Ask, Push
from actonce.settings import Settings
from actonce.state_transfer import StateTransfer
from actonce.world import World
from actonce_crdt import StateVectorInvalid
from actonce_crdt.buckets import (
    Row,
    Standing,
    Table,
    differing,
    encode_rows,
    encode_sums,
    parse_rows,
    parse_sums,
    width_for,
)

CLIENTS_FEW = 64
"""Up to so many client ids are named one by one, which saves half a round trip. From about 100 on it takes longer than
fingerprints do (`benchmarks/incarnations.py`)."""

NEWS_MAX = 256
"""More clocks than this do not go into one heartbeat: a replica that has learnt so much at once states anew."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """Fingerprints that we sent, and nobody has answered yet."""

    moment: int
    table: Table
    width: int
    at: float


@dataclass(slots=True)
class _Side:
    """One link: what we said on it, and what the peer did."""

    line: Line
    said: int = 0
    """Our statements."""
    basis: int = 0
    """The one that our heartbeats add to; 0: they say it all. Above `said` while we owe it."""
    version: int = 0
    """Of our document, up to which the peer has been told."""
    told: dict[int, int] = field(default_factory=dict)
    """Clocks that heartbeats told since the statement."""
    began: bool = False
    """A heartbeat of ours is on its way: the others add to it."""
    heard_first: bool = False
    """The peer's heartbeat that says all."""
    heard: int = 0
    """The peer's statements that we took in."""
    heard_basis: int = -1
    """The one that its newest heartbeat adds to; -1 before the first that came."""
    moment: int = 0
    sent: _Sent | None = None
    asking: bool = False
    """We want what we lack, and have not said so in a statement yet."""


class Comparing:
    """Anti-entropy of the document on all links of one kind."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        ledger: Ledger,
        transfer: StateTransfer,
        stated: Callable[[Line, dict[int, int], Mapping[int, int]], None] | None = None,
    ) -> None:
        """
        Args:
            stated: called with all that a peer has read: a part that we had, too (ours to keep), and the rest. None:
                nobody counts on it.
        """
        self._world, self._settings, self._ledger, self._transfer = world, settings, ledger, transfer
        self._send, self._refuse, self._stated = transfer.send, transfer.refuse, stated
        self._sides: dict[str, _Side] = {}

    @property
    def many(self) -> bool:
        """Whether our document has too many chains to name them all."""
        return self._ledger.document.client_count > CLIENTS_FEW

    def _side(self, line: Line) -> _Side:
        side = self._sides.get(line.name)
        if side is None or side.line is not line:
            side = self._sides[line.name] = _Side(line, basis=1 if self.many else 0)
        return side

    def link_down(self, line: Line) -> None:
        """This link is gone: nothing of it is kept, for its peer may never come back."""
        if (side := self._sides.get(line.name)) is not None and side.line is line:
            del self._sides[line.name]

    # What we lack

    def ask(self, line: Line) -> None:
        """Ask for all that we lack; and for a statement, where the peer owes us one."""
        side = self._side(line)
        if self.many or self.owes(line):
            side.asking = True
            self._send_sums(side, back=True)
        else:
            self._send(line, Ask(self._ledger.document.encoded_state_vector()))

    def _send_sums(self, side: _Side, *, back: bool) -> None:
        document = self._ledger.document
        width = width_for(document.client_count)
        side.moment += 1
        if self._send(side.line, Sums(side.moment, encode_sums(document.sums(width)), back)):
            side.sent = _Sent(side.moment, document.table(), width, self._world.now())

    def take(self, line: Line, message: CompareMessage) -> None:
        """A peer compares its document with ours."""
        side = self._side(line)
        try:
            if isinstance(message, Sums):
                self._state(side, message.moment, parse_sums(message.sums))
                waits = side.sent is not None and self._world.now() - side.sent.at < self._settings.ask_again_s
                if message.back and not waits:
                    self._send_sums(side, back=False)
            elif side.sent is not None and side.sent.moment == message.moment:
                sent, side.sent = side.sent, None
                self._read(side, message, Standing(sent.table, sent.width, *self._rows(message.rows, sent.width)))
        except StateVectorInvalid as error:
            self._refuse(line, str(error))

    def _rows(self, data: bytes, width: int) -> tuple[frozenset[int], dict[int, Row]]:
        return parse_rows(data, width, self._ledger.document.limits.known_clients_max)

    def _state(self, side: _Side, moment: int, theirs: tuple[int, ...]) -> None:
        """Say all that we hold, beside what the peer held at that moment; of our own entries only those on disk."""
        document, ledger, width = self._ledger.document, self._ledger, len(theirs)
        buckets = differing(document.sums(width), theirs)
        rows = document.rows(width, buckets)
        if ledger.client_id in rows:
            _, removed = rows.pop(ledger.client_id)
            if ledger.durable_clock:
                rows[ledger.client_id] = ledger.durable_clock, min(removed, ledger.durable_clock)
        number = side.said + 1
        if self._send(side.line, Rows(moment, number, encode_rows(width, buckets, rows), side.asking)):
            side.said = side.basis = number
            side.version, side.asking = document.version, False
            side.told = {ledger.client_id: ledger.durable_clock}

    def _read(self, side: _Side, message: Rows, standing: Standing) -> None:
        if message.number > side.heard:
            side.heard = message.number
            if self._stated is not None:
                equal = self._ledger.document.equal_part(standing)
                self._stated(side.line, equal, {client: clock for client, (clock, _) in standing.rows.items()})
        if message.ask and not self._transfer.repeats(side.line, Push):
            self._ledger.lacking(standing, lambda update: self._answer(side, update))

    def _answer(self, side: _Side, update: bytes) -> None:
        if self._sides.get(side.line.name) is side:
            self._transfer.give(side.line, Push(update))

    # What we have read, in heartbeats

    def news(self, line: Line) -> tuple[dict[int, int], int, bool]:
        """For a heartbeat: what we have read since the peer was told; the statement that this adds to; or whether it is
        all."""
        side, ledger = self._side(line), self._ledger
        if side.basis > side.said:
            return {}, side.basis, False
        document, own = ledger.document, ledger.client_id
        clocks = {client: document.clock_of(client) for client in document.changed_since(side.version)}
        clocks.pop(own, None)
        if ledger.durable_clock:
            clocks[own] = ledger.durable_clock
        fresh = {client: clock for client, clock in clocks.items() if side.told.get(client) != clock}
        if len(fresh) > NEWS_MAX and self.many:
            side.basis = side.said + 1
            self.ask(line)
            return {}, side.basis, False
        return fresh, side.basis, not side.basis and not side.began

    def told(self, line: Line, news: Mapping[int, int]) -> None:
        """That heartbeat, which was just made, is on its way."""
        side = self._side(line)
        if side.basis <= side.said:
            side.began = True
            side.told.update(news)
            side.version = self._ledger.document.version

    def heard(self, line: Line, basis: int, first: bool) -> bool:
        """A heartbeat of the peer adds to this statement of it, or to its first one. Whether that is missing here."""
        side = self._side(line)
        side.heard_basis = basis
        side.heard_first |= first
        return self.owes(line)

    def owes(self, line: Line) -> bool:
        """Whether we do not know all that the peer has read."""
        side = self._side(line)
        return side.heard_basis > side.heard or (side.heard_basis == side.heard == 0 and not side.heard_first)
