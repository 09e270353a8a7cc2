"""Whole binary messages over one websocket, on asyncio, with as little between socket and caller as possible.

The protocol is websockets' sans-I/O core; this module moves its bytes. A message that arrives is handed up inside
`data_received`, in the turn of the event loop that read it from the socket; one that is sent goes to the socket at once
(asyncio sets TCP_NODELAY), except that what is sent while a read is being handled leaves together at its end.

No compression (a small frame can inflate without end, RFC 7692 section 7), no fragments, no text: we never send them,
and whoever does is no replica.
"""

import asyncio
import contextlib
import enum
import logging
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from .address import Address
from .contract import End
from .handshake import MAC_BYTES, cut_reason
from .limits import FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX, QUEUE_BYTES_MAX
from .tcp import is_silence, tune

__all__ = ["LINK_PATH", "CloseCode", "MessageSocket", "Owner", "client_protocol", "server_protocol"]

LINK_PATH = "/link"
SUBPROTOCOL = Subprotocol("actonce")
READ_BYTES = 1 << 18

logger = logging.getLogger("actonce.transports")
# What websockets has to say (each opened and closed connection) belongs below our own messages.
websockets_logger = logging.getLogger("actonce.transports.websockets")
websockets_logger.setLevel(logging.WARNING)


class CloseCode(enum.IntEnum):
    """The websocket close codes that we use (RFC 6455, section 7.4; 4000 to 4999 are private)."""

    GOODBYE = 1001
    VIOLATION = 1008
    FAULT = 1011
    REFUSED = 4000
    REPLACED = 4001


# What the peer means by closing with a code (1005 is a close frame without one). Anything else: it found fault with us.
ENDS = {1000: End.CLOSED, 1005: End.CLOSED, CloseCode.GOODBYE: End.CLOSED, CloseCode.REPLACED: End.REPLACED}


class Owner(Protocol):
    """Who uses a MessageSocket. No method is called from inside a call to the socket."""

    def opened(self) -> None:
        """Messages can be sent from now on."""

    def message(self, data: bytes) -> None:
        """A message has arrived."""

    def ended(self, end: End, reason: str) -> None:
        """Called once: no message comes or goes after this. Not called after `close` or `abort`."""

    def gone(self) -> None:
        """Called once, last: the TCP connection does not exist any more."""


def client_protocol(address: Address) -> ClientProtocol:
    """The websocket side that dials."""
    return ClientProtocol(
        parse_uri(f"ws://{address}{LINK_PATH}"),
        subprotocols=[SUBPROTOCOL],
        max_size=FRAME_BYTES_MAX + MAC_BYTES,
        logger=websockets_logger,
    )


def server_protocol() -> ServerProtocol:
    """The websocket side that listens.

    Only requests without an `Origin` are accepted: a page in a browser on this host can reach a loopback port, but
    cannot leave that header out (RFC 6455, section 10.2).
    """
    return ServerProtocol(
        origins=[None],
        subprotocols=[SUBPROTOCOL],
        max_size=FRAME_BYTES_MAX + MAC_BYTES,
        logger=websockets_logger,
    )


class MessageSocket(asyncio.Protocol):
    """One websocket connection.

    Args:
        ws: the protocol of our side, unused.
        owner: gets what happens.
        close_s: how long the connection may linger after its end (flushing, the peer's goodbye) before it is cut.
    """

    def __init__(self, ws: ClientProtocol | ServerProtocol, owner: Owner, close_s: float) -> None:
        self._ws = ws
        self._owner = owner
        self._close_s = close_s
        self._transport: asyncio.Transport | None = None  # None before the connection, and when it is gone
        self._over = False  # nothing goes up to the owner any more, but `gone`
        self._reading = False  # inside data_received: writes are gathered
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._eof_sent = False
        self._linger: asyncio.TimerHandle | None = None
        self.received_bytes = 0
        self.received_bytes_max: int | None = HANDSHAKE_BYTES_MAX  # until the owner knows the peer and lifts it

    # Called by the owner.

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait in this process."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return waiting + self._gathered_bytes

    @property
    def peer_host(self) -> str:
        """The IP address of the other end, or ""."""
        peername = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(peername[0]) if peername else ""

    def fits(self, message_bytes: int) -> bool:
        """True if the connection lives and its queue has room for a message of this size."""
        return not self._over and self._ws.state is State.OPEN and self.queued_bytes + message_bytes <= QUEUE_BYTES_MAX

    def send(self, data: bytes) -> bool:
        """Send one message. False: it does not fit, and was dropped."""
        if not self.fits(len(data)):
            return False
        self._ws.send_binary(data)
        self._flush()
        return True

    def tune(self) -> None:
        """The connection is a link now: see tcp.py."""
        if self._transport is not None:
            tune(self._transport.get_extra_info("socket"))

    def ping(self) -> None:
        """Make the peer answer something."""
        if not self._over and self._ws.state is State.OPEN:
            self._ws.send_ping(b"")
            self._flush()

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Flush, say goodbye, wait for the peer's, each within `close_s`; the owner hears only `gone`."""
        self._over = True
        if self._transport is None:
            return
        if self._ws.state is State.CONNECTING:
            self._transport.abort()
            return
        if self._ws.state is State.OPEN:
            self._ws.send_close(code, cut_reason(reason).decode())
        self._flush()
        self._linger_on()

    def abort(self) -> None:
        """Cut the connection without a word; what is queued is lost. The owner hears only `gone`."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._over:
            transport.abort()
        elif isinstance(self._ws, ClientProtocol):
            self._ws.send_request(self._ws.connect())
            self._flush()

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self._reading = True
        try:
            self._parse(data)
            for event in self._ws.events_received():
                if self._over:
                    break  # the connection only lingers
                self._handle(event)
        finally:
            self._reading = False
        self._check_failure()
        if self.received_bytes_max is not None and self.received_bytes > self.received_bytes_max:
            self._fail("too many bytes before the link is up")
        self._flush()
        # Answers to pings are written without regard to the queue: someone who pings and never reads is cut here.
        if self.queued_bytes > QUEUE_BYTES_MAX + FRAME_BYTES_MAX:
            self._end(End.LOST, "the peer sends and does not read")
            self.abort()

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._end(End.EOF, "the peer is gone without a goodbye")
        if self._transport is not None:
            # Nobody reads what is still queued; without this, asyncio would go on trying to send it.
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over and exc is not None:
            self._drain()
        self._end(End.LOST if is_silence(exc) else End.EOF, str(exc or "the connection is gone"))
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        self._owner.gone()

    # Private.

    def _parse(self, data: bytes) -> None:
        """Note that what websockets has parsed runs ahead of the events that we handle: its state may be CLOSING while
        the last frames before the close are still to be handed up."""
        try:
            self._ws.receive_data(data)
        except Exception as exc:
            # Its parsers catch what they expect; an assertion must cost no more than this connection.
            logger.exception("websockets failed on what %s sent", self.peer_host)
            self._end(End.LOST, f"websockets failed: {exc!r}")
            self.abort()

    def _handle(self, event: Request | Response | Frame) -> None:
        if isinstance(event, Frame):
            if event.opcode is Opcode.BINARY and event.fin:
                self._owner.message(bytes(event.data))
            elif event.opcode is Opcode.CLOSE:
                assert self._ws.close_rcvd is not None
                code, reason = self._ws.close_rcvd.code, self._ws.close_rcvd.reason
                self._end(ENDS.get(code, End.LOST), f"closed by the peer ({code}{reason and ': '}{reason})")
            elif event.opcode not in (Opcode.PING, Opcode.PONG):
                self._fail("only whole binary messages are spoken here")
        elif isinstance(event, Request):
            assert isinstance(self._ws, ServerProtocol)
            on_path = event.path == LINK_PATH
            self._ws.send_response(self._ws.accept(event) if on_path else self._ws.reject(404, "no websocket here\n"))
            if self._ws.state is State.OPEN:
                self._owner.opened()
        elif self._ws.state is not State.CONNECTING:
            self._owner.opened()

    def _check_failure(self) -> None:
        """End the connection if websockets has found fault with what came in."""
        if self._over:
            return
        if self._ws.parser_exc is not None:
            self._end(End.LOST, f"a violation of the websocket protocol: {self._ws.parser_exc}")
        elif self._ws.handshake_exc is not None:
            exc = self._ws.handshake_exc
            status = f" (HTTP {exc.response.status_code})" if isinstance(exc, InvalidStatus) else f": {exc}"
            self._end(End.LOST, f"the other end does not speak websocket with us{status}")
        elif self._ws.eof_sent:
            self._end(End.LOST, "a websocket on a path that is not ours")

    def _fail(self, reason: str) -> None:
        if self._over:
            return
        self._ws.fail(CloseCode.VIOLATION, cut_reason(reason).decode())
        self._end(End.LOST, reason)

    def _end(self, end: End, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._linger_on()
        self._owner.ended(end, reason)

    def _linger_on(self) -> None:
        """Give the last bytes their time. Closing at once, with bytes unread, would reset the connection, and what we
        sent last (why we refuse, say) would be lost with it (RFC 9112, section 9.6)."""
        if self._linger is None and self._transport is not None:
            self._linger = asyncio.get_running_loop().call_later(self._close_s, self._transport.abort)

    def _flush(self) -> None:
        for data in self._ws.data_to_send():
            if self._eof_sent:
                break  # someone who sends frames before our 101 makes websockets do this
            if data == SEND_EOF:
                self._write()
                if self._transport is not None and not self._transport.is_closing():
                    self._eof_sent = True
                    self._transport.write_eof()
                    self._linger_on()
            else:
                self._gathered.append(data)
                self._gathered_bytes += len(data)
        if not self._reading:
            self._write()

    def _write(self) -> None:
        if self._gathered and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._gathered))
        self._gathered.clear()
        self._gathered_bytes = 0

    def _drain(self) -> None:
        """Read what the kernel still holds.

        When a write fails (the peer was killed and its kernel answers with a reset), asyncio stops reading at once, and
        frames that had arrived before would be lost.
        """
        assert self._transport is not None
        with contextlib.suppress(OSError), self._transport.get_extra_info("socket").dup() as sock:
            sock.setblocking(False)
            while not self._over and (data := sock.recv(READ_BYTES)):
                self.data_received(data)
