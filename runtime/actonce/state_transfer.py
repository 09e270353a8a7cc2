"""State transfer: a large answer comes from one peer, in parts, with a checksum, and resumes where it broke off.

A replica that joins, or comes back, asks all that it is linked to for what it lacks. An answer of less than
`OFFER_BYTES_MIN` is sent at once, a larger one is only offered. The replica takes the first offer and leaves the
others; nor does it ask anybody while parts come in. It requests as many bytes at a time as come in `PACE_S`: heartbeats
are never long behind them. Whose offer was taken keeps the very bytes for `KEEP_S`, and offers them again when the same
replica asks again, as it does on its next link. Replicas that hold the same give the same answer, byte for byte: each
of them can go on where another one stopped. When no part has come for a while, or the peer is slow, the replica asks
everybody, and takes another answer beside the first: nothing is lost where all links are slow. When all is there, it
asks for what was written meanwhile.

The answer is applied in one step, when it is whole: a part of it would not do. Compaction writes down what is still
needed of a log before it shortens that, in another log; so both come together, or neither (`compaction`). Raft's
InstallSnapshot does the same (Ongaro and Ousterhout, 2014, section 7), with the offset as its only state.

Late is harmless: an answer is true of what the replica had when it asked, and it has not lost anything since.

Not promised: parts survive neither the process that takes them nor the one that offers them; one answer has at most
`MESSAGE_BYTES_MAX`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from actonce.errors import MessageInvalid
from actonce.ledger import Ledger
from actonce.lines import CHUNK_BYTES, Line, decode_large
from actonce.messages import Edit, Message, Push, encode
from actonce.settings import Settings
from actonce.transfer_messages import DIGEST_BYTES, Offer, Part, Take, TransferMessage
from actonce.world import World
from actonce_crdt import StateVectorInvalid, parse_state_vector

OFFER_BYTES_MIN = 256 * 1024
"""Below this a round trip costs more than the same bytes from several peers."""

KEEP_S = 30.0
"""How long what was offered is kept, since it was asked for last: a link that broke is back by then, or its peer is
gone."""

STALLS = 3.0
"""Times `ask_again_s` without a part, and other peers are asked."""

PACE_S = 0.1
"""How long one request may take: some round trips, and less than a contact window by far."""

FIRST_BYTES, LEAST_BYTES, MOST_BYTES = 64 * 1024, 16 * 1024, 4 * 1024 * 1024
"""Of one request. A peer that sends less than the first in `PACE_S` is slow."""

PART_BYTES = CHUNK_BYTES - 64
"""With what says where it belongs, a part fits into a frame."""

FASTER = 4
"""Times what the last request was."""


OVER_MAX = 16
"""Answers that we remember to have or not to need: more than those of all peers at one time."""


@dataclass(slots=True)
class _Kept:
    """What we offered to one process."""

    digest: bytes
    data: bytes
    until: float
    taken: bool = False


@dataclass(slots=True)
class _Coming:
    """What we take."""

    line: Line
    digest: bytes
    size: int
    heard: float
    """When something of it came last."""
    count: int
    """Bytes of the request under way."""
    data: bytearray = field(default_factory=bytearray)
    until: int = 0
    """Where that ends."""
    asked_at: float = 0.0


class StateTransfer:
    """Large answers on all links of one kind: those that we give, and the one that we take."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        ledger: Ledger,
        *,
        send: Callable[[Line, Message], bool],
        refuse: Callable[[Line, str], None],
        arrived: Callable[[Line, Message], None],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            send: send on a link that is live; whether that went well.
            refuse: drop the link, for this reason.
            arrived: called with a large message that is whole.
        """
        self._world, self._ledger = world, ledger
        self._stall_s = settings.ask_again_s * STALLS
        self.send, self.refuse, self._arrived, self._note = send, refuse, arrived, note
        self._kept: dict[tuple[int, type[Message]], _Kept] = {}
        """By the client id of who asked: another process of its name remembers no part of it."""
        self._coming: dict[bytes, _Coming] = {}
        self._over: dict[bytes, None] = {}
        """Checksums of what came last, and of what was given up for that. Newest last."""

    # What we give

    def asked(self, line: Line, state_vector: bytes) -> None:
        """A peer asks for all that a replica with this state vector lacks."""
        try:
            theirs = parse_state_vector(state_vector)
        except StateVectorInvalid as error:
            self.refuse(line, str(error))
            return
        if not self.repeats(line, Push):
            self._ledger.difference(theirs, lambda difference: self.give(line, Push(difference)))

    def repeats(self, line: Line, kind: type[Push | Edit]) -> bool:
        """Whether the answer to an earlier question is on its way still, or is offered once more."""
        if line.backlog:
            return True
        kept = self._kept.get((line.about.client, kind))
        if kept is None or not kept.taken:
            return False  # it had another offer: what it lacks now is less
        kept.until = self._world.now() + KEEP_S
        self.send(line, Offer(kept.digest, len(kept.data)))
        return True

    def give(self, line: Line, message: Push | Edit) -> None:
        """Answer: at once, or with an offer."""
        if sum(map(len, _bytes_of(message))) < OFFER_BYTES_MIN:
            self.send(line, message)
            return
        data, key = encode(message), (line.about.client, type(message))
        kept = self._kept[key] = _Kept(_checksum(data), data, self._world.now() + KEEP_S)
        self._world.call_later(KEEP_S, lambda: self._let_go(key, kept))
        self.send(line, Offer(kept.digest, len(data)))

    def _let_go(self, key: tuple[int, type[Message]], kept: _Kept) -> None:
        if self._kept.get(key) is not kept:
            return
        left = kept.until - self._world.now()
        if left > 0:
            self._world.call_later(left, lambda: self._let_go(key, kept))
        else:
            del self._kept[key]

    def _send_parts(self, line: Line, wanted: Take) -> None:
        for key, kept in list(self._kept.items()):
            if key[0] != line.about.client or kept.digest != wanted.digest:
                continue
            if not wanted.count:
                del self._kept[key]
                continue
            kept.until, kept.taken = self._world.now() + KEEP_S, True
            end = min(wanted.offset + wanted.count, len(kept.data))
            for at in range(wanted.offset, end, PART_BYTES):
                line.send(Part(kept.digest, at, kept.data[at : min(at + PART_BYTES, end)]))

    # What we take

    @property
    def busy(self) -> bool:
        """Whether parts are coming in at a good pace: then nobody is asked."""
        since = self._world.now() - self._stall_s  # a request that takes longer is no good pace, whatever comes of it
        fast = (one for one in self._coming.values() if one.count >= FIRST_BYTES and one.asked_at > since)
        return any(map(self._goes_on, fast))

    def _goes_on(self, coming: _Coming) -> bool:
        return self._world.now() - coming.heard < self._stall_s and coming.line.is_live(coming.line)

    def take(self, line: Line, message: TransferMessage) -> None:
        """A peer offers, takes or sends."""
        match message:
            case Offer(digest, size):
                self._offered(line, digest, size)
            case Take():
                self._send_parts(line, message)
            case Part(digest, offset, data):
                self._part(line, digest, offset, data)

    def _offered(self, line: Line, digest: bytes, size: int) -> None:
        coming, now = self._coming.get(digest), self._world.now()
        if digest in self._over:
            del self._over[digest]
            self.send(line, Take(digest, 0, 0))  # it did not hear that we have it, or the like of it
            return
        if self.busy or (coming is not None and coming.line is line and self._goes_on(coming)):
            return
        if coming is not None:
            line.counts["state_transfers_resumed"] += 1
            self._note(f"resuming at {len(coming.data):,} of {size:,} bytes from {line.name}")
            coming.line, coming.heard = line, now
        else:
            line.counts["state_transfers"] += 1
            self._note(f"fetching {size:,} bytes from {line.name}")
            others = {one.digest: one for one in self._coming.values() if one.line.name != line.name}
            # Who did not keep to what it offered before, must show first that it does: nobody waits for it meanwhile.
            count = FIRST_BYTES if len(others) == len(self._coming) else LEAST_BYTES
            self._coming = others
            coming = self._coming[digest] = _Coming(line, digest, size, now, count)
            self._drop_later(coming, KEEP_S)
        self._request(coming)

    def _drop_later(self, coming: _Coming, wait_s: float) -> None:
        """When nothing of it has come for so long, whoever offered it is gone, or keeps it no more."""

        def look() -> None:
            if self._coming.get(coming.digest) is coming:
                left_s = coming.heard + KEEP_S - self._world.now()
                if left_s > 0:
                    self._drop_later(coming, left_s)
                else:
                    del self._coming[coming.digest]

        self._world.call_later(wait_s, look)

    def _request(self, coming: _Coming) -> None:
        coming.asked_at, coming.until = self._world.now(), min(len(coming.data) + coming.count, coming.size)
        self.send(coming.line, Take(coming.digest, len(coming.data), coming.until - len(coming.data)))

    def _part(self, line: Line, digest: bytes, offset: int, data: bytes) -> None:
        coming, now = self._coming.get(digest), self._world.now()
        if coming is None or offset != len(coming.data):
            return  # of an offer that was left for another one
        coming.data += data
        coming.heard, coming.line = now, line
        if len(coming.data) >= coming.size:
            self._whole(coming)
        elif len(coming.data) >= coming.until:
            pace = PACE_S / max(now - coming.asked_at, PACE_S / FASTER)
            coming.count = round(min(max(coming.count * pace, LEAST_BYTES), MOST_BYTES))
            self._request(coming)

    def _whole(self, coming: _Coming) -> None:
        """It is applied, if it is what was offered; whatever else is under way is given up."""
        line, digest, others = coming.line, coming.digest, self._coming
        for one in others.values():
            self.send(one.line, Take(one.digest, 0, 0))
        self._coming = {}
        if len(coming.data) > coming.size or _checksum(coming.data) != digest:
            self.refuse(line, f"{len(coming.data)} bytes that are not the {coming.size} bytes that it offered")
            return
        self._over = dict.fromkeys([*self._over, *others][-OVER_MAX:])
        try:
            message = decode_large(bytes(coming.data))
        except MessageInvalid as error:
            self.refuse(line, str(error))
            return
        self._arrived(line, message)


def _bytes_of(message: Push | Edit) -> tuple[bytes, ...]:
    return (message.update,) if isinstance(message, Push) else (message.update, message.text)


def _checksum(data: bytes | bytearray) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
