"""What two replicas say about a message that is too large to be sent unasked: see `state_transfer`.

Each is a msgpack array `[tag, ...]`; tags from 72 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DIGEST_BYTES = 16
MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""The largest message: a difference between two documents."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The sender has an answer of so many bytes, with this BLAKE2b checksum. It keeps it for a while: `Take` it."""

    digest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Take:
    """Send so many bytes of what was offered, from this one on. 0: all of it is here, or not wanted any more."""

    digest: bytes
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of what was offered, beginning at `offset`."""

    digest: bytes
    offset: int
    data: bytes


TransferMessage = Offer | Take | Part


def body_of(message: TransferMessage) -> list[Any]:
    """The array that stands for a message."""
    match message:
        case Offer(digest, size):
            return [72, digest, size]
        case Take(digest, offset, count):
            return [73, digest, offset, count]
        case Part(digest, offset, data):
            return [74, digest, offset, data]


def read(body: list[Any]) -> TransferMessage | None:
    """What `body_of` made; None for what it never makes."""
    match body:
        case [72, bytes(digest), int(size)] if len(digest) == DIGEST_BYTES and _is_size(size) and size:
            return Offer(digest, size)
        case [73, bytes(digest), int(offset), int(count)] if len(digest) == DIGEST_BYTES and _is_size(offset):
            return Take(digest, offset, count) if _is_size(count) else None
        case [74, bytes(digest), int(offset), bytes(data)] if len(digest) == DIGEST_BYTES and _is_size(offset) and data:
            return Part(digest, offset, data)
    return None


def _is_size(value: int) -> bool:
    return not isinstance(value, bool) and 0 <= value <= MESSAGE_BYTES_MAX
