"""Whatever a stranger sends to the port, it costs him his connection and nobody else anything."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from websockets.frames import Frame, Opcode

from actonce_transports import Identity, Timings, WebsocketTransport
from actonce_transports.contract_tools import Recorder
from actonce_transports.handshake import NONCE_BYTES, Handshake
from actonce_transports.limits import CONNECTIONS_MAX

from .meshes import SECRET, collected_faults

pytestmark = pytest.mark.anyio
WAIT_S = 10.0

UPGRADE = (
    b"GET /link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: actonce\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
)


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, data, fin).serialize(mask=True)


@asynccontextmanager
async def victim(secret: bytes | None = SECRET, *, handshake_s: float = 5.0) -> AsyncIterator[WebsocketTransport]:
    """A listener, which at the end must be as well as at the start: a friend gets a link, and no callback failed."""
    timings = Timings(handshake_s=handshake_s, close_s=0.2)
    transport, receiver = WebsocketTransport("127.0.0.1:0", secret, timings=timings), Recorder()
    with collected_faults() as faults:
        await transport.start(Identity("victim"), receiver)
        try:
            yield transport
            friend, at_friend = WebsocketTransport("127.0.0.1:0", secret, timings=timings), Recorder()
            await friend.start(Identity("friend"), at_friend)
            friend.dial(transport.address)
            (await at_friend.link("victim")).send(b"still there?")
            await receiver.until(lambda: receiver.frames == [b"still there?"])
            await friend.stop()
        finally:
            await transport.stop()
    assert not faults
    assert {event[1] for event in receiver.events} == {"friend"}


async def send(transport: WebsocketTransport, data: bytes) -> bytes:
    """Send bytes, read until the victim closes."""
    host, _, port = transport.address.rpartition(":")
    answer = b""
    with anyio.fail_after(WAIT_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(data)
            while chunk := await reader.read(1 << 16):
                answer += chunk
        except ConnectionError:
            pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return answer


async def test_noise() -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    starts = [
        b"",
        b"GET ",
        b"GET /link HTTP/1.1\r\n",
        UPGRADE,
        UPGRADE + b"\r\n",
        b"\x16\x03\x01",
        b"PRI * HTTP/2.0\r\n\r\n",
    ]
    async with victim(handshake_s=0.05) as transport:
        for _ in range(60):
            await send(transport, rng.choice(starts) + rng.randbytes(rng.randrange(1, 3000)))
    print(f"seed {seed}")


HELLO = Handshake(Identity("x"), dialed=True, secret=SECRET, nonce=bytes(NONCE_BYTES)).messages_to_send()[0]


@pytest.mark.parametrize(
    "frames",
    [
        b"",
        masked(Opcode.TEXT, b"hello"),
        masked(Opcode.BINARY, b"no handshake"),
        masked(Opcode.BINARY, b""),
        masked(Opcode.BINARY, b"part", fin=False),
        masked(Opcode.CONT, b"part"),
        masked(Opcode.BINARY, bytes(1 << 20)),
        masked(Opcode.PING, b"x") * 5000,
        masked(Opcode.CLOSE, b""),
        masked(Opcode.CLOSE, b"\x03"),
        masked(Opcode.BINARY, HELLO),
        masked(Opcode.BINARY, HELLO) * 2,
        masked(Opcode.BINARY, HELLO) + masked(Opcode.BINARY, b"\x02" + bytes(32)),
        masked(Opcode.BINARY, HELLO) + masked(Opcode.CLOSE, b"\x03\xe8"),
        masked(Opcode.BINARY, HELLO) + b"\x02\x7f" + b"\xff" * 8,
        Frame(Opcode.BINARY, HELLO).serialize(mask=False),
        b"\xff" * 100,
    ],
    ids=lambda frames: f"{len(frames)} bytes {frames[:2].hex()}",
)
async def test_a_websocket_that_is_no_replica(frames: bytes) -> None:
    """The frames come with the request, before any 101, and again after it, byte by byte in part."""
    async with victim(handshake_s=0.1) as transport:
        await send(transport, UPGRADE + b"\r\n" + frames)
        host, _, port = transport.address.rpartition(":")
        with anyio.fail_after(WAIT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(UPGRADE + b"\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            for index in range(min(len(frames), 20)):
                writer.write(frames[index : index + 1])
                await anyio.lowlevel.checkpoint()
            writer.write(frames[20:])
            try:
                while await reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (UPGRADE.replace(b"/link", b"/other") + b"\r\n", b"404"),
        (UPGRADE + b"Origin: http://evil.example\r\n\r\n", b"403"),
        (UPGRADE.replace(b"actonce", b"chat") + b"\r\n", b"400"),
        (UPGRADE.replace(b"Version: 13", b"Version: 12") + b"\r\n", b"400"),
    ],
)
async def test_upgrades_that_are_refused(request_bytes: bytes, status: bytes) -> None:
    async with victim(handshake_s=0.2) as transport:
        answer = await send(transport, request_bytes)
        assert answer.split(b" ", 2)[1] == status


async def test_strangers_cannot_fill_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Both are ended long before all of it has come; what still comes is forgotten."""
    caplog.set_level("INFO", "actonce.transports")
    async with victim() as transport:
        assert (await send(transport, b"x" * 10_000_000))[:12] in (b"HTTP/1.1 431", b"")
        assert "too many bytes" not in caplog.text
        await send(transport, UPGRADE + b"\r\n" + masked(Opcode.BINARY, bytes(900_000)) * 10)
        assert "too many bytes before the link is up" in caplog.text


async def test_slow_strangers_are_cut_off() -> None:
    async with victim(handshake_s=0.05) as transport:
        for start in (b"", b"G", UPGRADE, UPGRADE + b"\r\n", UPGRADE + b"\r\n" + masked(Opcode.BINARY, HELLO)):
            await send(transport, start)


async def test_too_many_connections_are_turned_away() -> None:
    async with victim(handshake_s=60) as transport:
        host, _, port = transport.address.rpartition(":")
        writers = []
        for _ in range(CONNECTIONS_MAX):
            _, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
        assert transport._listener is not None
        with anyio.fail_after(WAIT_S):
            while not transport._listener.full:
                await anyio.lowlevel.checkpoint()
        assert await send(transport, b"") == b""
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        with anyio.fail_after(WAIT_S):
            while transport._listener.full:
                await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x00" * 1000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Protocol: actonce\r\nSec-WebSocket-Accept: %s\r\n\r\n" + b"\x82\x04nono",
    ],
)
async def test_a_dialer_survives_whoever_listens(answer: bytes) -> None:
    """And says SILENT, not REFUSED: somebody is there, but it is no replica."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            key = next(line[19:] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
            writer.write(answer.replace(b"%s", accept_key(key)))
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with victim(handshake_s=0.5) as transport:
        port = server.sockets[0].getsockname()[1]
        assert transport._hub is not None
        receiver = transport._hub.receiver
        assert isinstance(receiver, Recorder)
        transport.dial(f"127.0.0.1:{port}")
        failure = await receiver.failure()
        transport.undial(f"127.0.0.1:{port}")
        assert failure[1].name == "SILENT"  # type: ignore[attr-defined]
        assert failure[2]
        receiver.events = [event for event in receiver.events if event[0] != "failed"]
    server.close()
    await server.wait_closed()


def accept_key(key: bytes) -> bytes:
    from websockets.utils import accept_key as compute

    return compute(key.decode()).encode()
