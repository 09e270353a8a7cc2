"""One live link and what we said on it: messages as frames, large ones in chunks, never more than the queue takes."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from actonce.compare_messages import Rows
from actonce.errors import MessageInvalid
from actonce.messages import Append, Chunk, Edit, Message, Push, decode, encode
from actonce.peers import About
from actonce.transfer_messages import MESSAGE_BYTES_MAX
from actonce.world import World
from actonce_crdt import UpdateInvalid
from actonce_crdt.appends import lengthen, shorten
from actonce_transports import FRAME_BYTES_MAX, QUEUE_BYTES_MAX, Link

CHUNK_BYTES = FRAME_BYTES_MAX - 1024
"""Leaves room for the envelope of a relayed frame."""

DRAIN_AGAIN_S = 0.02
"""Between two looks whether a link has room for more of a large message."""

LARGE_HEADS = tuple(encode(one)[:2] for one in (Push(b""), Edit(b"", b""), Rows(1, 1, b"", False)))
"""How large messages begin."""

SCALARS = {0xC2: 0, 0xC3: 0, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
"""What may stand beside bytes in a large message, in msgpack: truth values and counts; how many bytes follow."""

BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Bytes in msgpack: how many bytes their length has."""


@dataclass(slots=True, eq=False)
class Line:
    """A link in use. Wakes up only while a large message waits for room."""

    world: World
    link: Link
    about: About
    counts: Counter[str]
    """Of all lines together: frames and bytes sent, overflows."""
    is_live: Callable[[Line], bool]
    unanswered: int = 0
    """Heartbeats that we sent since the newest one that was answered."""
    asked_at: float = -math.inf
    announced_at: float = -math.inf
    """When we last told it our view."""
    missed: bool = False
    """We asked for what the peer had said on this link before we used it again: see `comparing`."""
    kept: int = 0
    """What we told of the peer's entries on our disk."""
    backlog: deque[bytes] = field(default_factory=deque)
    """Parts of large messages that wait for room in the link's queue."""
    _parts: list[bytes] = field(default_factory=list)
    _parts_bytes: int = 0

    @property
    def name(self) -> str:
        """Of the peer."""
        return self.link.peer.name

    @property
    def receiving(self) -> bool:
        """A message in chunks is just coming in."""
        return bool(self._parts)

    def send(self, message: Message) -> bool:
        """Send, or queue the parts of a large message. False: the link's queue is full, the message is lost."""
        return self.send_frames(frames(message))

    def send_frames(self, parts: list[bytes]) -> bool:
        """What `frames` made; it may be sent on several lines."""
        if len(parts) == 1:
            return self._send(parts[0])
        idle = not self.backlog
        self.backlog.extend(parts)
        if idle:
            self._drain()
        return True

    def _send(self, frame: bytes) -> bool:
        if not self.link.send(frame):
            self.counts["overflows"] += 1
            return False
        self.counts["frames_sent"] += 1
        self.counts["bytes_sent"] += len(frame)
        return True

    def _drain(self) -> None:
        """Feed the link with what waits, leaving half of its queue to everything else."""
        if not self.is_live(self):
            return
        while self.backlog and self.link.queued_bytes < QUEUE_BYTES_MAX // 2:
            if not self._send(self.backlog[0]):
                break
            self.backlog.popleft()
        if self.backlog:
            self.world.call_later(DRAIN_AGAIN_S, self._drain)

    def receive(self, frame: bytes) -> Message | None:
        """The message in a frame; None while it is not whole.

        Raises:
            MessageInvalid: no correct replica sends this.
        """
        message = decode(frame)
        if isinstance(message, Append):
            return self._full(message)
        if not isinstance(message, Chunk):
            return message
        whole = self._assemble(message)
        if whole is None:
            return None
        return decode_large(whole)

    def _full(self, message: Append) -> Push:
        try:
            return Push(lengthen(message.append, self.about.client))
        except UpdateInvalid as error:
            raise MessageInvalid(str(error)) from None

    def _assemble(self, chunk: Chunk) -> bytes | None:
        if chunk.index == 0:
            self._parts, self._parts_bytes = [], 0
        if chunk.index != len(self._parts):
            self._parts, self._parts_bytes = [], 0  # the rest of a message whose start was dropped from a full queue
            return None
        self._parts.append(chunk.part)
        self._parts_bytes += len(chunk.part)
        if self._parts_bytes > MESSAGE_BYTES_MAX:
            raise MessageInvalid(f"a message in chunks is larger than {MESSAGE_BYTES_MAX} bytes")
        if chunk.index + 1 < chunk.count:
            return None
        whole = b"".join(self._parts)
        self._parts, self._parts_bytes = [], 0
        return whole


def decode_large(whole: bytes) -> Message:
    """The message in more bytes than a frame has.

    Raises:
        MessageInvalid: no correct replica sends this.
    """
    if not (whole.startswith(LARGE_HEADS) and is_flat(whole)):
        raise MessageInvalid("only a push, an edit or rows may be larger than a frame")
    return decode(whole)


def brief(message: Message, author: int) -> Message:
    """As the links of this author carry it: without what they say already, if it is a push of one append."""
    if isinstance(message, Push) and len(message.update) < CHUNK_BYTES:
        append = shorten(message.update, author)
        return message if append is None else Append(append)
    return message


def is_flat(whole: bytes) -> bool:
    """Whether an encoded message of few parts holds nothing but bytes, counts and truth values.

    Looked at before it is unpacked: nested lists of this size would take eighty times as much memory.
    """
    at = 1
    for _ in range(whole[0] & 0x0F):
        head = whole[at] if at < len(whole) else 0xC1  # which is nothing
        if head in BYTES:
            begin = at + 1 + BYTES[head]
            at = begin + int.from_bytes(whole[at + 1 : begin], "big")
        elif head < 0x80 or head in SCALARS:
            at += 1 + SCALARS.get(head, 0)
        else:
            return False
    return at == len(whole)


def frames(message: Message) -> list[bytes]:
    """A message as one frame, or in chunks."""
    whole = encode(message)
    if len(whole) <= CHUNK_BYTES:
        return [whole]
    parts = [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]
    return [encode(Chunk(index, len(parts), part)) for index, part in enumerate(parts)]
