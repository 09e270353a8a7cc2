"""A link without a network: two ends, each with the queue of what travels towards it."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from .contract import End, Identity, Receiver
from .errors import FrameTooLarge
from .limits import FRAME_BYTES_MAX, QUEUE_BYTES_MAX
from .links import Candidate, LinkTable

__all__ = ["Half"]


class Home(Protocol):
    """What one end needs of its transport."""

    receiver: Receiver
    table: "LinkTable[Half]"

    @property
    def address(self) -> str:
        """Where it listens."""

    def held(self, sender: str) -> bool:
        """True while what comes from there is held."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run after what runs now."""

    def report(self, exc: Exception) -> None:
        """A callback of the receiver raised."""

    def link_ended(self, name: str) -> None:
        """A link to this peer has ended."""


class Half(Candidate):
    """One end of a link: a `contract.Link`, and the queue of what travels towards it."""

    other: "Half"

    def __init__(self, home: Home, peer: Identity, *, dialed: bool, address: str) -> None:
        super().__init__(peer, dialed)
        self.home = home
        self.address = address
        self._arriving: deque[bytes | End] = deque()
        self._arriving_bytes = 0
        self._scheduled = False
        self._usable = False  # we may send
        self._announced = False  # the receiver has had `link_up`, and not yet `link_down`

    @property
    def queued_bytes(self) -> int:
        """See `Link.queued_bytes`."""
        return self.other._arriving_bytes

    def send(self, frame: bytes) -> bool:
        """See `Link.send`."""
        if len(frame) > FRAME_BYTES_MAX:
            raise FrameTooLarge(f"a frame has at most {FRAME_BYTES_MAX} bytes, not {len(frame)}")
        if not self._usable or self.queued_bytes + len(frame) > QUEUE_BYTES_MAX:
            return False
        self.other._arrive(bytes(frame))
        return True

    def close(self, goodbye: bool = True) -> None:
        """See `Link.close`."""
        if self._usable:
            self._leave(End.CLOSED if goodbye else End.EOF)
            self.home.call_soon(lambda: self.down(End.CLOSED))

    # For the transport and the network.

    def rise(self) -> None:
        """Both sides have agreed."""
        self._usable = self._announced = True
        try:
            self.home.receiver.link_up(self)
        except Exception as exc:
            self._fault(exc)

    def finish(self, end: End) -> None:
        """End the link from this side; the receiver hears at once, the peer after what was sent before."""
        if self._usable:
            self._leave(end)
            self.down(end)
        else:
            self.down(End.CLOSED)  # closed in this very turn

    def break_off(self) -> None:
        """This side will see EOF after what is on its way to it."""
        self._arrive(End.EOF)

    def vanish(self) -> None:
        """Our process is gone: the peer sees EOF after what was sent before; nobody hears anything here."""
        if self._usable:
            self._leave(End.EOF)
        self._announced = False

    def pump_soon(self) -> None:
        """Deliver what has arrived, soon."""
        if not self._scheduled and self._arriving:
            self._scheduled = True
            self.home.call_soon(self._pump)

    def down(self, end: End) -> None:
        """Tell the receiver, once."""
        if not self._announced:
            return
        self._usable = self._announced = False
        self.home.table.drop(self)
        try:
            self.home.receiver.link_down(self, end)
        except Exception as exc:
            self.home.report(exc)
        self.home.link_ended(self.peer.name)

    # Private.

    def _leave(self, end: End) -> None:
        self._usable = False
        self._arriving.clear()
        self._arriving_bytes = 0
        self.other._arrive(end)

    def _arrive(self, item: bytes | End) -> None:
        self._arriving.append(item)
        self._arriving_bytes += len(item) if isinstance(item, bytes) else 0
        self.pump_soon()

    def _pump(self) -> None:
        self._scheduled = False
        while self._announced and self._arriving and not self.home.held(self.other.home.address):
            item = self._arriving.popleft()
            if isinstance(item, End):
                self._usable = False
                self.down(item)
            elif self._usable:
                self._arriving_bytes -= len(item)
                try:
                    self.home.receiver.frame(self, item)
                except Exception as exc:
                    self._fault(exc)

    def _fault(self, exc: Exception) -> None:
        self.home.report(exc)
        self.finish(End.LOST)
