"""What replicas say to each other: messages, each a msgpack array `[tag, ...]`, one to a frame.

A frame comes from someone who knows the agent's secret, which is not to say from a correct replica: `decode` checks
every type and size and raises `MessageInvalid`. Document bytes inside `Push` are checked by `actonce_crdt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from actonce import compare_messages, overlay_messages, transfer_messages
from actonce.compare_messages import CompareMessage, Rows, Sums
from actonce.errors import ConfigError, MessageInvalid
from actonce.overlay_messages import OverlayMessage
from actonce.ownership import Member, View
from actonce.placement import Traits
from actonce.transfer_messages import Offer, Part, Take, TransferMessage

MEMBERS_MAX = 1024
"""Members in one view."""

VIEW_NUMBER_MAX = 2**50
"""No mesh gets there by changing views; epochs, which follow the numbers, stay within what entries can hold."""

CHUNKS_MAX = 4096
"""Parts of one message."""

ADDRESS_CHARS_MAX = 255

WALL_S_MAX = 2.0**40
"""Some 35,000 years."""
RESOURCES_MAX = 1024
"""Limited resources of one agent."""

CLIENTS_MAX = 65_536
"""Client ids in one heartbeat's changes of a state vector."""


BEAT_DIGEST_BYTES = 8
"""Of the document's digest, in a heartbeat: enough to see by accident that two differ, ten times a second."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent every `heartbeat_s`, at once when something changed, and at once in answer to a first one.

    `sent` is the sender's clock; `echo` is the newest `sent` it has read from the receiver. A round trip is thereby
    dated from its *sending*: after a pause, old heartbeats in the socket date nothing but the past.
    `read` holds what the sender has integrated, as changes of its state vector since its last heartbeat on this link.
    """

    sent: float
    echo: float
    view: int
    digest: bytes
    read: Mapping[int, int]
    heard: int = 0
    """Number of the newest view of the receiver that the sender has read; 0 if it needs no promise of the receiver."""
    free: int = 0
    """Tasks that the sender could start at once."""
    refused: tuple[str, ...] = ()
    """Names of replicas whose link was read to its end and whose address refuses: rule "certain death"."""
    wall_s: float = 0.0
    """What the sender's wall clock says, in unix seconds; 0 for nothing. For schedules only."""
    basis: int = 0
    """The statement of the sender on this link that `read` adds to (see `comparing`); 0: the heartbeats say it all."""
    first: bool = False
    """Without a statement: `read` is all that the sender has read. The others on this link add to it."""


@dataclass(frozen=True, slots=True)
class Announce:
    """The sender's view. First on every link, then at each change, before the heartbeats that refer to it."""

    view: View
    settled: bool
    leaving: bool
    vouches: bool = True
    """Others may settle on the sender's word: it has read all of everybody who may have acted."""
    accused: frozenset[Member] = frozenset()
    """Lingering members that were removed because they are too slow: they have to give up what they do."""
    addresses: tuple[str, ...] = ()
    """Where replicas that the sender is linked to can be dialed."""


@dataclass(frozen=True, slots=True)
class Push:
    """A document update: of one transaction (eager push) or a difference (answer to `Ask`)."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """As `Push`, of entries that the sender just appended to its own chain: see `actonce_crdt.appends`."""

    append: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """The sender has integrated the receiver's own entries below this clock of its present client id."""

    clock: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Anti-entropy: send me what this encoded state vector lacks. Of a replica with few chains: see `comparing`."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part `index` of `count` of a message too large for one frame. Parts of one message come in order."""

    index: int
    count: int
    part: bytes


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender has stopped acting and will not act again in this incarnation: its death is certain."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The receiver's own entries below this clock of its present client id are on the sender's disk."""

    clock: int


@dataclass(frozen=True, slots=True)
class Want:
    """What the sender needs of limited resources: resource -> (rights in use or soon needed, how many of them are
    waited for in vain). It lists every resource that its agent declares."""

    needs: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Edit:
    """As `Push`, with what changed in the texts in the same turn; with an empty `update`, the answer to a `TextAsk`."""

    update: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class TextAsk:
    """Anti-entropy of the texts: send me what this encoded state vector lacks."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class TextDigest:
    """Fingerprint of the sender's texts, when it is another than the one that it told before on this link."""

    digest: bytes


Message = (
    Heartbeat
    | Announce
    | Push
    | Append
    | Ack
    | Ask
    | Chunk
    | Bye
    | Kept
    | Want
    | Edit
    | TextAsk
    | TextDigest
    | CompareMessage
    | OverlayMessage
    | TransferMessage
)


def encode(message: Message) -> bytes:
    """One frame. The caller splits it when it exceeds the transport's frame limit."""
    match message:
        case Heartbeat(sent, echo, view, digest, read, heard, free, refused, wall_s, basis, first):
            body: list[Any] = [1, sent, echo, view, digest, dict(read), heard, free, list(refused), wall_s]
            body += [basis] if basis or first else []
        case Announce(view, settled, leaving, vouches, accused, addresses):
            rows = [_members(view.members), _members(view.lingering), _members(accused)]
            body = [2, view.number, *rows, settled, leaving, vouches, list(addresses)]
        case Push(update):
            body = [3, update]
        case Ack(clock):
            body = [4, clock]
        case Ask(state_vector):
            body = [5, state_vector]
        case Chunk(index, count, part):
            body = [6, index, count, part]
        case Bye():
            body = [7]
        case Kept(clock):
            body = [8, clock]
        case Append(append):
            body = [9, append]
        case Want(needs):
            body = [16, {resource: list(counts) for resource, counts in needs.items()}]
        case Edit(update, text):
            body = [32, update, text]
        case TextAsk(state_vector):
            body = [33, state_vector]
        case TextDigest(digest):
            body = [34, digest]
        case Sums() | Rows():
            body = compare_messages.body_of(message)
        case Offer() | Take() | Part():
            body = transfer_messages.body_of(message)
        case _:
            body = overlay_messages.body_of(message)
    packed: bytes = msgpack.packb(body)
    return packed


def decode(frame: bytes) -> Message:
    """The message in a frame.

    Raises:
        MessageInvalid: not a message of this protocol. Nothing else is ever raised, whatever the bytes.
    """
    try:
        body = msgpack.unpackb(frame, strict_map_key=False)
        match body:
            case [
                1, float(sent), float(echo), int(view), bytes(digest), dict(read), int(heard), int(free), list(refused),
                float(wall_s), *rest,
            ] if len(rest) <= 1:  # fmt: skip
                _check(0 <= wall_s <= WALL_S_MAX and all(map(_is_count, rest)))
                _check(len(digest) == BEAT_DIGEST_BYTES and len(read) <= CLIENTS_MAX and len(refused) <= MEMBERS_MAX)
                _check(all(_is_count(client) and _is_count(clock) for client, clock in read.items()))
                _check(all(isinstance(name, str) for name in refused))
                basis, first = (*rest, 0)[0], rest == [0]
                return Heartbeat(sent, echo, view, digest, read, heard, free, tuple(refused), wall_s, basis, first)
            case [
                2, int(number), list(members), list(lingering), list(accused),
                bool(settled), bool(leaving), bool(vouches), list(addresses),
            ]:  # fmt: skip
                _check(0 <= number <= VIEW_NUMBER_MAX)
                _check(len(addresses) <= MEMBERS_MAX and all(_is_address(a) for a in addresses))
                announced = View(number, _read_members(members), _read_members(lingering))
                return Announce(announced, settled, leaving, vouches, _read_members(accused), tuple(addresses))
            case [3, bytes(update)]:
                return Push(update)
            case [4, int(clock)]:
                return Ack(clock)
            case [5, bytes(state_vector)]:
                return Ask(state_vector)
            case [6, int(index), int(count), bytes(part)]:
                _check(0 <= index < count <= CHUNKS_MAX and len(part) > 0)
                return Chunk(index, count, part)
            case [7]:
                return Bye()
            case [8, int(clock)]:
                return Kept(clock)
            case [9, bytes(append)]:
                return Append(append)
            case [16, dict(needs)]:
                _check(len(needs) <= RESOURCES_MAX)
                return Want({resource: _read_need(resource, counts) for resource, counts in needs.items()})
            case [32, bytes(update), bytes(text)]:
                return Edit(update, text)
            case [33, bytes(state_vector)]:
                return TextAsk(state_vector)
            case [34, bytes(digest)]:
                _check(len(digest) == 16)
                return TextDigest(digest)
            case list():
                said = compare_messages.read(body) or transfer_messages.read(body) or overlay_messages.read(body)
                if said is not None:
                    return said
    except (ValueError, TypeError, ConfigError) as error:  # of msgpack; of unhashable map keys; of traits
        raise MessageInvalid(f"a frame of {len(frame)} bytes is not a message: {error}") from None
    raise MessageInvalid(f"a frame of {len(frame)} bytes holds no message of this protocol")


def pack_view(view: View) -> bytes:
    """A view as it stands in the journal."""
    return encode(Announce(view, settled=True, leaving=False))


def unpack_view(data: bytes | None) -> View | None:
    """
    Raises:
        MessageInvalid: not what `pack_view` makes.
    """
    if data is None:
        return None
    word = decode(data)
    assert isinstance(word, Announce)
    return word.view


def _members(members: frozenset[Member]) -> list[list[Any]]:
    # Not `astuple`: it copies deeply, and views are a tenth of what a mesh says while it forms.
    return [
        [one.name, one.incarnation, one.traits.weight, one.traits.priority, one.traits.region]
        for one in sorted(members)
    ]


def _read_members(rows: list[Any]) -> frozenset[Member]:
    _check(len(rows) <= MEMBERS_MAX)
    members = set()
    for row in rows:
        match row:
            case [str(name), int(incarnation), int(weight), int(priority), str(region)] if len(name) <= 64:
                members.add(Member(name, incarnation, Traits(weight, priority, region)))
            case _:
                raise ValueError("a member is a name, an incarnation and traits")
    return frozenset(members)


def _read_need(resource: object, counts: object) -> tuple[int, int]:
    match counts:
        case [int(demand), int(queued)] if isinstance(resource, str) and _is_count(demand) and _is_count(queued):
            return demand, queued
    raise ValueError("a need is two counts")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_address(value: object) -> bool:
    return isinstance(value, str) and len(value) <= ADDRESS_CHARS_MAX


def _check(ok: bool) -> None:
    if not ok:
        raise ValueError("out of its bounds")
