"""The meshes of our own transports, for the contract suite and the tests beside it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from actonce_transports import HttpHandler, Link, MemoryNetwork, MemoryTransport, Timings, Transport, WebsocketTransport
from actonce_transports.connection import Connection
from actonce_transports.memory_link import Half

SECRET = b"a secret of thirty-two bytes ..."
SHORT = Timings(connect_s=0.3, probe_s=0.3, backoff_min_s=0.01, backoff_max_s=0.1, close_s=1.0)


@contextmanager
def collected_faults() -> Iterator[list[BaseException]]:
    """What reaches the exception handler of the running loop."""
    faults: list[BaseException] = []
    loop = asyncio.get_running_loop()

    def collect(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        faults.append(context["exception"])

    loop.set_exception_handler(collect)
    try:
        yield faults
    finally:
        loop.set_exception_handler(None)


class MemoryMesh:
    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.addresses: list[str] = []

    def transport(self) -> Transport:
        self.addresses.append(f"host{len(self.addresses)}")
        self.network.cut(self.addresses[-1], "silent")
        return MemoryTransport(self.network, self.addresses[-1], timings=SHORT)

    def unused_address(self) -> str:
        return "nobody"

    def silent_address(self) -> str | None:
        return "silent"

    async def kill(self, transport: Transport) -> None:
        self.network.kill(transport.address)

    async def drop(self, transport: Transport, link: Link) -> None:
        assert isinstance(link, Half)
        self.network.drop_link(transport.address, link.other.home.address)

    def faults(self) -> Any:
        return collected_faults()

    def twin(self, transport: Transport) -> Transport:
        return MemoryTransport(self.network, transport.address, timings=SHORT)


class WebsocketMesh:
    def __init__(
        self, secret: bytes | None = None, *, http: HttpHandler | None = None, timings: Timings = SHORT
    ) -> None:
        self.secret = secret
        self.http = http
        self.timings = timings
        self.sockets: list[socket.socket] = []

    def transport(self) -> WebsocketTransport:
        return WebsocketTransport("127.0.0.1:0", self.secret, self.http, timings=self.timings)

    def unused_address(self) -> str:
        """Bound, so that nobody else gets it, but nobody listens."""
        taken = self._socket()
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"

    def silent_address(self) -> str | None:
        """A listener whose backlog is full: Linux drops further SYNs."""
        full = self._socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            self._socket().connect_ex(full.getsockname())
        return f"127.0.0.1:{full.getsockname()[1]}"

    def _socket(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        self.sockets.append(sock)
        return sock

    async def kill(self, transport: Transport) -> None:
        assert isinstance(transport, WebsocketTransport)
        hub, listener = transport._hub, transport._listener
        assert hub is not None
        assert listener is not None
        for address in list(transport._dialers):
            transport.undial(address)
        for connection in list(hub.connections):
            connection.socket.abort()
        await listener.close()

    async def drop(self, transport: Transport, link: Link) -> None:
        assert isinstance(link, Connection)
        assert link.socket._transport is not None
        link.socket._transport.abort()

    def faults(self) -> Any:
        return collected_faults()

    def twin(self, transport: Transport) -> Transport:
        return WebsocketTransport(transport.address, self.secret, self.http, timings=self.timings)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
