"""From a websocket to a link: the handshake, the choice among duplicates, frames, the end.

`Hub` is what the connections of one transport have in common; `Connection` is one of them and, once both sides have
agreed, the `Link` that the receiver sees. The only mutable state shared by connections is the hub's two fields `table`
and `connections`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from websockets.client import ClientProtocol
from websockets.server import ServerProtocol

from .contract import End, Identity, Reach, Receiver
from .errors import FrameTooLarge, HandshakeFailed
from .handshake import MAC_BYTES, NONCE_BYTES, Handshake, State
from .limits import FRAME_BYTES_MAX, Timings
from .links import Candidate, LinkTable, Ready
from .websocket_messages import CloseCode, MessageSocket

__all__ = ["Connection", "Hub", "Outcome"]

KEEPALIVE_SILENCES_MAX = 3
"""Intervals of keepalive without a byte, after which the link is given up."""

logger = logging.getLogger("actonce.transports")


class Hub:
    """What all connections of a transport share.

    Args:
        me, receiver: as given to `Transport.start`.
        secret: of the mesh, or None.
        nonce: gives n random bytes.
        timings: waits.
        link_ended: called after each `link_down`, for the dialers.
    """

    def __init__(
        self,
        me: Identity,
        receiver: Receiver,
        *,
        secret: bytes | None,
        nonce: Callable[[int], bytes],
        timings: Timings,
        link_ended: Callable[[], None],
    ) -> None:
        self.me = me
        self.receiver = receiver
        self.secret = secret
        self.nonce = nonce
        self.timings = timings
        self.link_ended = link_ended
        self.loop = asyncio.get_running_loop()
        self.table: LinkTable[Connection] = LinkTable(me.name)
        self.connections: set[Connection] = set()  # all that are not gone, links or not

    def report(self, exc: Exception) -> None:
        """A callback of the receiver raised: a bug, which must be seen and must not stop the transport."""
        self.loop.call_exception_handler({"message": "a callback of the transport's receiver raised", "exception": exc})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: a link (OPEN), another one that the peer keeps (`duplicate`), or the reason why
    not."""

    reach: Reach
    reason: str = ""
    duplicate: bool = False


class Connection(Candidate):
    """One websocket to one peer. Implements `contract.Link` from `link_up` to `link_down`, and MessageSocket's Owner.

    `settled` is done when the handshake is over; `gone_event` is set when the TCP connection is gone.
    """

    def __init__(self, hub: Hub, ws: ClientProtocol | ServerProtocol, *, address: str = "") -> None:
        # `peer` is put right when it is authenticated; until then nobody asks.
        super().__init__(peer=hub.me, dialed=isinstance(ws, ClientProtocol))
        self.address = address
        self.socket = MessageSocket(ws, self, hub.timings.close_s)
        self.settled: asyncio.Future[Outcome] = hub.loop.create_future()
        self.gone_event = asyncio.Event()
        self._hub = hub
        self._handshake = Handshake(hub.me, dialed=self.dialed, secret=hub.secret, nonce=hub.nonce(NONCE_BYTES))
        self._usable = False  # frames may be sent and received
        self._announced = False  # the receiver has had `link_up`, and not yet `link_down`
        self._deadline = hub.loop.call_later(hub.timings.handshake_s, self._too_slow)
        self._keepalive: asyncio.TimerHandle | None = None
        hub.connections.add(self)

    # The Link.

    @property
    def queued_bytes(self) -> int:
        """See `Link.queued_bytes`."""
        return self.socket.queued_bytes

    def send(self, frame: bytes) -> bool:
        """See `Link.send`."""
        if len(frame) > FRAME_BYTES_MAX:
            raise FrameTooLarge(f"a frame has at most {FRAME_BYTES_MAX} bytes, not {len(frame)}")
        # The seal numbers what is sent, so that a frame must be known to fit before it is sealed.
        if not self._usable or not self.socket.fits(len(frame) + MAC_BYTES):
            return False
        return self.socket.send(self._handshake.seal(frame))

    def close(self, goodbye: bool = True) -> None:
        """See `Link.close`."""
        if not self._usable:
            return
        self._usable = False
        if goodbye:
            self.socket.close(CloseCode.GOODBYE)
        else:
            self.socket.abort()
        self._hub.loop.call_soon(self._down, End.CLOSED)

    # For the dialer and the transport.

    def stop(self) -> None:
        """The transport stops: goodbye, heard by the receiver before this returns. A handshake is cut."""
        if self._usable:
            self._finish(End.CLOSED, CloseCode.GOODBYE)
        else:
            self.give_up()

    def give_up(self) -> None:
        """Cut a handshake; leave anything else alone."""
        if not self.settled.done():
            self._settle(Outcome(Reach.SILENT, "given up"))
            self.socket.abort()

    # MessageSocket's Owner.

    def opened(self) -> None:
        """The websocket is there."""
        self._send_handshake()

    def message(self, data: bytes) -> None:
        """A message is there: a frame if this is a link, otherwise a part of the handshake."""
        try:
            if self._handshake.state is not State.UP:
                self._agree(data)
                return
            frame = self._handshake.open(data)
            if len(frame) > FRAME_BYTES_MAX:
                raise HandshakeFailed("a frame that is too large")
        except HandshakeFailed as failure:
            self._violated(failure)
            return
        try:
            self._hub.receiver.frame(self, frame)
        except Exception as exc:
            self._fault(exc)

    def ended(self, end: End, reason: str) -> None:
        """The peer, or the network, ended it."""
        if self._usable:
            self._usable = False
            self._down(end, reason)
        else:
            self._settle(Outcome(Reach.SILENT, reason))

    def gone(self) -> None:
        """The TCP connection is gone."""
        self._settle(Outcome(Reach.SILENT, "the connection is gone"))
        self._hub.connections.discard(self)
        self.gone_event.set()

    # Private: the way up.

    def _agree(self, data: bytes) -> None:
        before = self._handshake.state
        self._handshake.receive(data)
        if self._handshake.state is State.AGREE and before is not State.AGREE:
            self._authenticated()
        elif self._handshake.peer_ready is not None:
            self._lead(self._handshake.peer_ready)
        elif self._handshake.peer_go:
            self._follow(self._handshake.peer_go)
        else:
            self._send_handshake()

    def _send_handshake(self) -> None:
        for message in self._handshake.messages_to_send():
            self.socket.send(message)

    def _authenticated(self) -> None:
        assert self._handshake.peer is not None
        self.peer = self._handshake.peer
        try:
            reason = self._hub.receiver.accept(self.peer, self.dialed)
        except Exception as exc:
            self._hub.report(exc)
            reason = "a fault at the other end"
        if reason is None and self.peer.name == self._hub.me.name:
            reason = f"both ends are named {self.peer.name!r}"
        if reason is None and not self._hub.table.leads(self):
            ready = self._hub.table.offer(self)
            if ready is None:
                reason = "too many connections at once"
            else:
                self._handshake.ready(ready)
        if reason is not None:
            self._handshake.refuse(reason)
            self._fail(Outcome(Reach.DENIED, reason), CloseCode.REFUSED)
        self._send_handshake()

    def _lead(self, ready: Ready) -> None:
        chosen, replaced = self._hub.table.choose(self, ready)
        if chosen:
            self._handshake.go(self.go)
            self._send_handshake()
            self._rise(replaced)
        else:
            self._handshake.refuse("duplicate", duplicate=True)
            self._fail(Outcome(Reach.OPEN, duplicate=True), CloseCode.REPLACED)

    def _follow(self, go: int) -> None:
        chosen, replaced = self._hub.table.obey(self, go)
        if chosen:
            self._rise(replaced)
        else:
            self._fail(Outcome(Reach.OPEN, duplicate=True), CloseCode.REPLACED)

    def _rise(self, replaced: "Connection | None") -> None:
        if replaced is not None:
            replaced._finish(End.REPLACED, CloseCode.REPLACED)
        self._usable = self._announced = True
        self.socket.received_bytes_max = None
        self.socket.tune()
        self._settle(Outcome(Reach.OPEN))
        if self._hub.timings.keepalive_s is not None:
            self._listen_in(self._hub.timings.keepalive_s, 0, self.socket.received_bytes)
        logger.info("link with %s: up (%s)", self.peer.name, "dialed" if self.dialed else "accepted")
        try:
            self._hub.receiver.link_up(self)
        except Exception as exc:
            self._fault(exc)

    # Private: the way down.

    def _settle(self, outcome: Outcome) -> None:
        if self.settled.done():
            return
        self._deadline.cancel()
        self.settled.set_result(outcome)
        if outcome.reach is not Reach.OPEN:
            self._hub.table.drop(self)
            if not self.dialed:
                level = logging.WARNING if outcome.reach is Reach.DENIED else logging.INFO
                logger.log(level, "no link with %s: %s", self.socket.peer_host or "a stranger", outcome.reason)

    def _fail(self, outcome: Outcome, code: CloseCode) -> None:
        """End a connection that will not be a link, after what the handshake still has to say."""
        self._send_handshake()
        self._hub.table.drop(self)
        self._settle(outcome)
        self.socket.close(code, outcome.reason)

    def _violated(self, failure: HandshakeFailed) -> None:
        if self._usable:
            self._finish(End.LOST, CloseCode.VIOLATION, failure.reason)
        elif failure.duplicate:
            self._fail(Outcome(Reach.OPEN, duplicate=True), CloseCode.REPLACED)
        elif failure.denied:
            self._fail(Outcome(Reach.DENIED, failure.reason), CloseCode.REFUSED)
        else:
            self._fail(Outcome(Reach.SILENT, failure.reason), CloseCode.VIOLATION)

    def _too_slow(self) -> None:
        self._settle(Outcome(Reach.SILENT, f"no link within {self._hub.timings.handshake_s:g} s"))
        self.socket.abort()

    def _fault(self, exc: Exception) -> None:
        self._hub.report(exc)
        self._finish(End.LOST, CloseCode.FAULT, "a fault in the receiver")

    def _finish(self, end: End, code: CloseCode, reason: str = "") -> None:
        """End the link from this side; the receiver hears at once."""
        if self._usable:
            self._usable = False
            self.socket.close(code, reason)
            self._down(end, reason)
        else:
            self._down(End.CLOSED)  # closed in this very turn of the loop

    def _down(self, end: End, reason: str = "") -> None:
        if not self._announced:
            return
        self._announced = False
        self._hub.table.drop(self)
        if self._keepalive is not None:
            self._keepalive.cancel()
        logger.info("link with %s: %s %s", self.peer.name, end.value, reason)
        try:
            self._hub.receiver.link_down(self, end)
        except Exception as exc:
            self._hub.report(exc)
        self._hub.link_ended()

    def _listen_in(self, keepalive_s: float, silences: int, heard_bytes: int) -> None:
        """Keepalive: any bytes count as life; a ping asks for some."""
        if self.socket.received_bytes != heard_bytes:
            silences = 0
        if silences >= KEEPALIVE_SILENCES_MAX:
            if self._usable:
                self._finish(End.LOST, CloseCode.VIOLATION, "keepalive ran out")
                self.socket.abort()
            return
        if silences:
            self.socket.ping()
        self._keepalive = self._hub.loop.call_later(
            keepalive_s, self._listen_in, keepalive_s, silences + 1, self.socket.received_bytes
        )
