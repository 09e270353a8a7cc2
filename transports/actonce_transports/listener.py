"""One port for replicas and for HTTP clients: the first bytes of a connection tell which.

websockets' own server parser refuses anything but GET and reads no bodies, hence the look before it.
"""

import asyncio
import logging
import re
import socket

from .address import is_loopback
from .connection import Connection, Hub
from .http import HttpHandler, is_websocket
from .limits import CONNECTIONS_MAX, HEAD_BYTES_MAX
from .listener_http import HttpConnection
from .websocket_messages import server_protocol

__all__ = ["Listener"]

BACKLOG_CONNECTIONS = 128
ACCEPT_PAUSE_S = 0.1

logger = logging.getLogger("actonce.transports")

HEAD_END = re.compile(rb"\r?\n\r?\n")


class Listener:
    """All connections that were accepted.

    Args:
        hub: of the transport.
        handler: answers HTTP requests.
    """

    def __init__(self, hub: Hub, handler: HttpHandler) -> None:
        self.hub = hub
        self.handler = handler
        self.unknown: set[FirstBytes] = set()
        self.http: set[HttpConnection] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._socket: socket.socket | None = None
        self._entering: set[asyncio.Task[None]] = set()  # accepted, and not yet handed to their protocol

    def listen(self, host: str, port: int) -> int:
        """Listen on an IP address; returns the port. Raises OSError.

        Not asyncio's own server: on 3.11 it loses sight of connections that are accepted while it closes.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
        self._socket.setblocking(False)
        self._accept_on()
        return int(self._socket.getsockname()[1])

    def _accept_on(self) -> None:
        if self._socket is not None and not self._closed:
            self.hub.loop.add_reader(self._socket, self._accept_waiting, self._socket)

    def _accept_waiting(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG_CONNECTIONS):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:  # out of file descriptors, most likely: it would be reported again at once
                logger.warning("cannot accept a connection: %s", exc)
                self.hub.loop.remove_reader(listening)
                self.hub.loop.call_later(ACCEPT_PAUSE_S, self._accept_on)
                return
            accepted.setblocking(False)
            task = self.hub.loop.create_task(self._enter(accepted))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def _enter(self, accepted: socket.socket) -> None:
        try:
            # asyncio sets it only on sockets that were made with the protocol's number, which accepted ones are not.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self.hub.loop.connect_accepted_socket(self.accept, accepted)
        except OSError as exc:
            logger.info("a connection was gone before it began: %s", exc)
            accepted.close()

    def accept(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        first_bytes = FirstBytes(self, welcome=not self._closed and not self.full)
        self.unknown.add(first_bytes)
        self._idle.clear()
        return first_bytes

    @property
    def full(self) -> bool:
        """No room for one more."""
        return len(self.unknown) + len(self.http) + len(self.hub.connections) >= CONNECTIONS_MAX

    async def close(self) -> None:
        """Accept no more, cut each connection of which nothing is known yet, finish the HTTP requests under way."""
        self._closed = True
        if self._socket is not None:
            self.hub.loop.remove_reader(self._socket)
            self._socket.close()
        await asyncio.gather(*self._entering)
        for first_bytes in list(self.unknown):
            first_bytes.cut()
        for connection in list(self.http):
            connection.stop()

    async def wait_closed(self, within_s: float) -> None:
        """Wait for the end of all that `close` has ended; cut what takes longer than `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            for connection in list(self.http):
                connection.cut()
            await self._idle.wait()

    def http_connection(self, *, loopback: bool) -> HttpConnection:
        """A new HTTP connection."""

        def gone() -> None:
            self.http.discard(connection)
            self.one_less()

        connection = HttpConnection(self.handler, loopback=loopback, timings=self.hub.timings, gone=gone)
        self.http.add(connection)
        self._idle.clear()
        return connection

    def one_less(self) -> None:
        """A connection has left `unknown` or `http`."""
        if not self.http and not self.unknown:
            self._idle.set()


class FirstBytes(asyncio.Protocol):
    """A connection of which nothing is known yet; becomes a Connection or an HttpConnection with its first whole
    head."""

    def __init__(self, listener: Listener, *, welcome: bool) -> None:
        self._listener = listener
        self._welcome = welcome
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._welcome:
            transport.abort()
            return
        self._deadline = self._listener.hub.loop.call_later(self._listener.hub.timings.handshake_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._head += data
        if not self._head[:1].isalpha():
            self._transport.abort()  # TLS, or noise: HTTP starts with the name of a method
        elif HEAD_END.search(self._head) or len(self._head) > HEAD_BYTES_MAX:
            self._become(self._next())

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def cut(self) -> None:
        """End at once, or as soon as there is a connection."""
        self._welcome = False
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> asyncio.Protocol:
        if is_websocket(bytes(self._head)):
            return Connection(self._listener.hub, server_protocol()).socket
        assert self._transport is not None
        peername = self._transport.get_extra_info("peername")
        return self._listener.http_connection(loopback=bool(peername) and is_loopback(str(peername[0])))

    def _become(self, protocol: asyncio.Protocol) -> None:
        assert self._transport is not None
        self._transport.set_protocol(protocol)
        self._leave()
        protocol.connection_made(self._transport)
        protocol.data_received(bytes(self._head))

    def _leave(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._listener.unknown.discard(self)
        self._listener.one_less()
