"""The seam between a replica and its peers: frames of bytes over links.

A `Transport` makes `Link`s and tells a `Receiver` about them. Everything happens on one event loop: the receiver's
methods are plain functions called on its thread, one after the other, never from inside a call that the receiver made
(no send, close or dial ever calls back before it returns). A callback must not raise; one that does ends its link
(LOST) and is reported to the event loop's exception handler.

Guaranteed, while a link lives: frames arrive whole, in the order of sending, at most once, and unaltered. Each
`link_up` is followed by exactly one `link_down` of the same link, with nothing after it. Between two names there is
at most one link at any time: a duplicate is folded, and on each side the `link_down(REPLACED)` of the old link comes
before the `link_up` of the new one.

NOT guaranteed: that a frame arrives which was sent shortly before the end of its link; any order across links; that a
link which is silent is dead, or one that is up is alive; that both sides hear of an end with the same `End`, or at the
same time; secrecy (frames are authenticated by a secret, not encrypted); that a `REPLACED` link's successor lives.
After `link_up` a receiver therefore brings the peer up to date from scratch, whatever was sent before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from .limits import ABOUT_BYTES_MAX, NAME_BYTES_MAX

__all__ = ["End", "Identity", "Link", "Reach", "Receiver", "Transport"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a side says of itself in the handshake.

    `name` is the durable name of the replica, at most NAME_BYTES_MAX bytes of UTF-8 and not empty. `about` is at most
    ABOUT_BYTES_MAX bytes that the transport carries and compares, and never reads: two of the same name with different
    `about` are two processes. Both travel in the clear.
    """

    name: str
    about: bytes = b""

    def __post_init__(self) -> None:
        if not 1 <= len(self.name.encode()) <= NAME_BYTES_MAX:
            raise ValueError(f"a name has 1 to {NAME_BYTES_MAX} bytes: {self.name[:NAME_BYTES_MAX]!r}")
        if len(self.about) > ABOUT_BYTES_MAX:
            raise ValueError(f"`about` has at most {ABOUT_BYTES_MAX} bytes, not {len(self.about)}")


class End(Enum):
    """How a link ended, as seen from here."""

    CLOSED = "closed"
    """One of the two sides closed it on purpose: the peer said goodbye, or we did."""

    EOF = "eof"
    """The stream was read to its end, or was reset, without a goodbye. All that had arrived was delivered."""

    LOST = "lost"
    """It was given up: keepalive ran out, or one side saw a violation of the protocol (a wrong MAC, for instance)."""

    REPLACED = "replaced"
    """It was folded into another link between the same two names. Never a sign of death."""


class Reach(Enum):
    """What an attempt to reach an address found."""

    OPEN = "open"
    """Somebody accepts connections there."""

    REFUSED = "refused"
    """The host answered that nobody listens there."""

    SILENT = "silent"
    """Anything else: a timeout, no route, no such host, an end that does not speak our protocol."""

    DENIED = "denied"
    """A replica is there and does not want us, or has another secret."""


class Link(Protocol):
    """A connection to one peer that both sides have agreed on."""

    @property
    def peer(self) -> Identity:
        """What the peer said of itself; with a secret, proven to come from someone who knows it."""

    @property
    def dialed(self) -> bool:
        """True if we dialed, False if the peer did."""

    @property
    def address(self) -> str:
        """The address that we dialed, as given to `Transport.dial`; "" if the peer dialed."""

    @property
    def queued_bytes(self) -> int:
        """Bytes of this link that wait in this process, the transport's own headers included."""

    def send(self, frame: bytes) -> bool:
        """Send one frame; never blocks.

        False: the frame was dropped, because the queue holds QUEUE_BYTES_MAX bytes or the link has ended; the link
        stays as it is, and later frames may succeed. True promises order, not arrival.
        Raises FrameTooLarge beyond FRAME_BYTES_MAX.
        """

    def close(self, goodbye: bool = True) -> None:
        """End the link. `link_down(CLOSED)` follows soon, no `frame` does; closing again does nothing.

        With `goodbye` the queue is flushed, for a bounded time, and the peer sees CLOSED. Without it what is queued is
        lost and the peer sees EOF, as if this process had been killed.
        """


class Receiver(Protocol):
    """What the user of a transport implements. See the module docstring for what every method may rely on."""

    def accept(self, peer: Identity, dialed: bool) -> str | None:
        """Do we want a link to this peer? None: yes. Otherwise a short reason, which the peer is told.

        Asked on both sides once the peer is authenticated; the other side may still refuse, so that a yes is not always
        followed by `link_up`. A peer with our own name is refused in any case.
        """

    def link_up(self, link: Link) -> None:
        """A link can be used from now on."""

    def frame(self, link: Link, data: bytes) -> None:
        """A frame has arrived."""

    def link_down(self, link: Link, end: End) -> None:
        """The link has ended; nothing more comes from it, and `send` returns False."""

    def dial_failed(self, address: str, reach: Reach, reason: str) -> None:
        """One attempt to dial `address` failed; `reason` is a sentence. The next attempt follows by itself."""


class Transport(Protocol):
    """Makes links, keeps them, and says goodbye. One transport serves one replica for one run."""

    @property
    def address(self) -> str:
        """The `host:port` at which peers reach this transport; the real port once started."""

    async def start(self, me: Identity, receiver: Receiver) -> None:
        """Listen. Raises AddressInvalid, AddressBusy or SecretNeeded. Can be called once."""

    def dial(self, address: str) -> None:
        """Keep one link to whoever listens at `address`, until `undial`. Repeating it does nothing.

        Failed attempts are repeated with exponential backoff and jitter; after the end of a link the first attempt is
        immediate. While a link to the same peer exists, whoever dialed it, no attempt is made.
        Raises AddressInvalid, SecretNeeded or NotRunning.
        """

    def undial(self, address: str) -> None:
        """Stop dialing `address`; an attempt under way is given up, a link that is up stays."""

    def probe(self, address: str, done: Callable[[Reach], None]) -> None:
        """Make one bare TCP connection and call `done` once with what it found (never DENIED), unless stopped before.

        Raises AddressInvalid, SecretNeeded or NotRunning.
        """

    async def stop(self) -> None:
        """Say goodbye on every link (each gets its `link_down`), stop listening, wait for both; bounded by time."""
