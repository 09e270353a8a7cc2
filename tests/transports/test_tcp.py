"""How a link's TCP connection waits, and how it is told apart whether a peer or the network went away."""

import asyncio
import errno
import socket
import sys

import pytest

from actonce_transports import End
from actonce_transports.address import parse_address
from actonce_transports.tcp import GIVE_UP_MS, RTO_MAX_MS, tune
from actonce_transports.websocket_messages import MessageSocket, client_protocol


class Owner:
    """Notes how a connection ended."""

    def __init__(self) -> None:
        self.ends: list[End] = []

    def opened(self) -> None: ...

    def message(self, data: bytes) -> None: ...

    def ended(self, end: End, reason: str) -> None:
        self.ends.append(end)

    def gone(self) -> None: ...


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("number", "end"),
    [
        (errno.ETIMEDOUT, End.LOST),
        (errno.EHOSTUNREACH, End.LOST),
        (errno.ECONNRESET, End.EOF),
        (errno.EPIPE, End.EOF),
        (0, End.EOF),
    ],
)
async def test_an_end_by_silence_is_no_sign_of_death(number: int, end: End) -> None:
    owner = Owner()
    message_socket = MessageSocket(client_protocol(parse_address("127.0.0.1:7420")), owner, 1.0)
    here, there = socket.socketpair()
    with there:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: message_socket, sock=here)
        assert isinstance(transport, asyncio.Transport)
        message_socket.connection_lost(OSError(number, "planted") if number else None)
        transport.abort()
    assert owner.ends[:1] == [end]


@pytest.mark.skipif(sys.platform != "linux", reason="the options are Linux's")
def test_a_tuned_connection_gives_up_late() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        tune(client)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == GIVE_UP_MS
        try:
            longest_ms = client.getsockopt(socket.IPPROTO_TCP, 44)
        except OSError:
            return  # a kernel before 6.15 keeps its own
        assert longest_ms == RTO_MAX_MS
