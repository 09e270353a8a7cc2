"""What replicas say to each other about the ways between them: `Routes` writes and reads it, `Gossip` never sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import msgpack

from actonce.errors import MessageInvalid
from actonce_transports import NAME_BYTES_MAX

_HEAD = b"\x97\x20"
"""A msgpack array of 7 that begins with 32: no message of `messages` begins so."""


class Kind(IntEnum):
    """What an envelope is for; see `routes`."""

    OPEN = 0
    ACCEPT = 1
    DATA = 2
    END = 3
    TRY = 4
    ANSWER = 5
    USE = 6


@dataclass(frozen=True, slots=True)
class Envelope:
    """One frame from `source` to `target`, which may pass through a third replica."""

    kind: Kind
    source: str
    target: str
    number: int
    """Names the relayed link, or the trial."""
    sequence: int
    """Of DATA: counts from 0 in each direction."""
    body: bytes
    """DATA: the frame. OPEN and ACCEPT: what the sender says of itself. Otherwise empty."""


def is_envelope(frame: bytes) -> bool:
    """Whether `open_envelope` should look at it."""
    return frame.startswith(_HEAD)


def seal(envelope: Envelope) -> bytes:
    """One frame: the body and at most 200 bytes."""
    row = [int(envelope.kind), envelope.source, envelope.target, envelope.number, envelope.sequence, envelope.body]
    packed: bytes = msgpack.packb([32, *row])
    return packed


def open_envelope(frame: bytes) -> Envelope:
    """
    Raises:
        MessageInvalid: not what `seal` makes. Nothing else is ever raised, whatever the bytes.
    """
    try:
        match msgpack.unpackb(frame):
            case [32, int(kind), str(source), str(target), int(number), int(sequence), bytes(body)] if (
                0 < len(source) <= NAME_BYTES_MAX and 0 < len(target) <= NAME_BYTES_MAX and number >= 0 <= sequence
            ):
                return Envelope(Kind(kind), source, target, number, sequence, body)
    except (ValueError, TypeError) as error:
        raise MessageInvalid(f"not an envelope: {error}") from None
    raise MessageInvalid("not an envelope")
