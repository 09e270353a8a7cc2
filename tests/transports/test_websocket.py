"""What the websocket transport has beyond the contract: secrets, kills, resets, keepalive, errors at the start."""

import asyncio
import gc
import signal
import socket
import struct
import sys
from pathlib import Path

import anyio
import pytest

import actonce_transports
from actonce_transports import (
    AddressBusy,
    AddressInvalid,
    End,
    Identity,
    Link,
    Reach,
    SecretNeeded,
    Timings,
    WebsocketTransport,
)
from actonce_transports.connection import Connection
from actonce_transports.contract_tools import Recorder, Stage

from .meshes import SECRET, SHORT, WebsocketMesh

pytestmark = pytest.mark.anyio
WAIT_S = 10.0


async def test_the_real_port_is_told() -> None:
    async with Stage(WebsocketMesh()) as stage:
        side = await stage.start("a")
        assert side.transport.address.startswith("127.0.0.1:")
        assert not side.transport.address.endswith(":0")


async def test_ipv6_and_names() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with Stage(WebsocketMesh()) as stage:
        six = await stage.start("six", transport=WebsocketTransport("[::1]:0", timings=SHORT))
        named = await stage.start("named", transport=WebsocketTransport("localhost:0", timings=SHORT))
        one = await stage.start("one")
        assert named.transport.address.startswith("localhost:")
        for other in (six, named):
            one.transport.dial(other.transport.address)
        await one.receiver.link("six")
        await one.receiver.link("named")


@pytest.mark.parametrize("host", ["pod..svc", "a" * 64 + ".example"])
async def test_a_name_that_dns_cannot_hold_is_an_address_at_which_nobody_answers(host: str) -> None:
    """A peer may say that it is there."""
    faults, found, told = list[object](), list[Reach](), anyio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))

    def done(reach: Reach) -> None:
        found.append(reach)
        told.set()

    async with Stage(WebsocketMesh()) as stage:
        one = await stage.start("one", transport=WebsocketTransport("127.0.0.1:0", SECRET, timings=SHORT))
        one.transport.probe(f"{host}:7420", done)
        one.transport.dial(f"{host}:7420")
        with anyio.fail_after(WAIT_S):
            await told.wait()
    gc.collect()
    assert found == [Reach.SILENT]
    assert not faults


async def test_what_start_and_dial_refuse() -> None:
    with pytest.raises(SecretNeeded):
        WebsocketTransport("0.0.0.0:0")
    with pytest.raises(SecretNeeded):
        WebsocketTransport("127.0.0.1:0", b"")
    with pytest.raises(AddressInvalid):
        WebsocketTransport("nonsense")
    with pytest.raises(AddressInvalid, match="cannot listen"):
        await WebsocketTransport("192.0.2.1:7420", SECRET).start(Identity("a"), Recorder())
    with pytest.raises(AddressInvalid, match="cannot listen"):
        await WebsocketTransport("no-such-host.invalid:7420", SECRET).start(Identity("a"), Recorder())
    async with Stage(WebsocketMesh()) as stage:
        side = await stage.start("a")
        with pytest.raises(SecretNeeded):
            side.transport.dial("192.0.2.1:7420")
        with pytest.raises(AddressBusy):
            await WebsocketTransport(side.transport.address).start(Identity("b"), Recorder())


@pytest.mark.parametrize(
    ("secret_a", "secret_b", "reason"),
    [
        (b"one", b"two", "wrong secret"),
        (None, SECRET, "this mesh needs a secret"),
        (SECRET, None, "the peer has no secret, and this mesh needs one"),
    ],
)
async def test_a_wrong_secret_is_denied_and_logged(
    secret_a: bytes | None, secret_b: bytes | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Stage(WebsocketMesh()) as stage:
        a = await stage.start("a", transport=WebsocketTransport("127.0.0.1:0", secret_a, timings=SHORT))
        b = await stage.start("b", transport=WebsocketTransport("127.0.0.1:0", secret_b, timings=SHORT))
        a.transport.dial(b.transport.address)
        assert await a.receiver.failure() == (b.transport.address, Reach.DENIED, reason)
        assert not a.receiver.links
        assert b.receiver.events == []
    assert "no link with 127.0.0.1: " in caplog.text


async def test_a_forged_frame_ends_the_link() -> None:
    async with Stage(WebsocketMesh(SECRET)) as stage:
        _, b, at_a, _ = await stage.pair()
        assert isinstance(at_a, Connection)
        at_a.socket.send(bytes(100))
        assert await b.receiver.end("a") is End.LOST
        assert b.receiver.frames == []


CHILD = """
import anyio, sys
from actonce_transports import Identity, WebsocketTransport
from actonce_transports.contract_tools import Recorder

async def main():
    transport, receiver = WebsocketTransport("127.0.0.1:0", sys.argv[2].encode()), Recorder()
    await transport.start(Identity("child"), receiver)
    transport.dial(sys.argv[1])
    link = await receiver.link("parent")
    for i in range(1000):
        link.send(b"%d" % i)
    await anyio.Event().wait()

anyio.run(main)
"""


async def test_kill_9_is_eof_after_all_frames() -> None:
    """A real process, really killed; the parent keeps writing to it, so that its kernel answers with resets."""
    async with Stage(WebsocketMesh(SECRET)) as stage:
        parent = await stage.start("parent")
        root = str(Path(actonce_transports.__file__).parent.parent)
        command = [sys.executable, "-c", CHILD, parent.transport.address, SECRET.decode()]
        child = await anyio.open_process(command, env={"PYTHONPATH": root}, stdout=None, stderr=None)
        try:
            link = await parent.receiver.link("child")
            await parent.receiver.until(lambda: bool(parent.receiver.frames))
            while link.send(bytes(100_000)):  # more than its sockets hold: unread bytes make the kill a reset
                if link.queued_bytes > 1_000_000:
                    break
            await parent.receiver.until(lambda: len(parent.receiver.frames) == 1000)
            child.send_signal(signal.SIGKILL)
            assert await parent.receiver.end("child") is End.EOF
            assert parent.receiver.frames == [b"%d" % i for i in range(1000)]
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def test_frames_that_arrived_before_a_reset_are_delivered() -> None:
    """The write that meets the reset comes before the read: asyncio gives up reading then, and we do not."""
    async with Stage(WebsocketMesh()) as stage:
        a, b, at_a, at_b = await stage.pair()
        a.transport.undial(b.transport.address)
        assert isinstance(at_a, Connection)
        assert at_a.socket._transport is not None
        sent = [b"%d" % i for i in range(5)]  # within the first window of TCP: all of them reach the kernel of `b`
        for frame in sent:
            at_a.send(frame)
        # A close with zero linger resets; no await until `b` has written into it, twice: the first write is answered by
        # the reset, the second one fails.
        raw = at_a.socket._transport.get_extra_info("socket").dup()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        at_a.socket._transport.abort()
        raw.shutdown(socket.SHUT_RD)
        raw.close()
        await anyio.lowlevel.checkpoint()
        at_b.send(b"x")
        at_b.send(b"y")
        assert await b.receiver.end("a") is End.EOF
        assert b.receiver.frames == sent


async def test_keepalive_ends_a_silent_link_and_no_other() -> None:
    keen = Timings(keepalive_s=0.05, close_s=0.2)
    async with Stage(WebsocketMesh(timings=keen)) as stage:
        a, b, at_a, _ = await stage.pair()
        a.transport.undial(b.transport.address)
        c = await stage.start("c")
        c.transport.dial(b.transport.address)
        await c.receiver.link("b")
        assert isinstance(at_a, Connection)
        assert at_a.socket._transport is not None
        at_a.socket._transport.pause_reading()  # `a` answers nothing any more
        if at_a._keepalive is not None:
            at_a._keepalive.cancel()
        assert await b.receiver.end("a") is End.LOST
        assert b.receiver.ends("c") == []


async def test_stop_in_the_middle_of_handshakes() -> None:
    """No task, socket or timer outlives `stop`, wherever the handshakes are."""
    for turns in range(0, 30, 3):
        async with Stage(WebsocketMesh(SECRET)) as stage:
            a, b = await stage.start("a"), await stage.start("b")
            a.transport.dial(b.transport.address)
            b.transport.dial(a.transport.address)
            b.transport.probe(a.transport.address, lambda reach: None)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            await a.transport.stop()


async def test_the_first_redial_is_immediate_and_the_next_ones_are_not() -> None:
    """Each pause asks for jitter: none before the first redial, one before each next one while links die young."""
    pauses: list[int] = []
    ups: list[str] = []

    def jitter() -> float:
        pauses.append(len(ups))
        return 0.0

    def close(link: Link) -> None:
        ups.append(link.peer.name)
        if len(ups) < 5:
            link.close()

    async with Stage(WebsocketMesh()) as stage:
        b = await stage.start("b")
        a = await stage.start("a", transport=WebsocketTransport("127.0.0.1:0", jitter=jitter, timings=SHORT))
        a.receiver.on_link_up = close
        a.transport.dial(b.transport.address)
        await a.receiver.until(lambda: len(ups) == 5)
        await a.receiver.link("b")
    assert pauses == [2, 3, 4]


async def test_a_pinged_peer_answers_and_a_flood_is_cut() -> None:
    async with Stage(WebsocketMesh()) as stage:
        a, b, at_a, _ = await stage.pair()
        a.transport.undial(b.transport.address)
        assert isinstance(at_a, Connection)
        tcp = at_a.socket._transport
        assert tcp is not None
        tcp.pause_reading()
        ping = bytes([0x89, 0x80 | 125]) + bytes(4 + 125)
        with anyio.fail_after(WAIT_S):
            while not b.receiver.ends("a"):
                tcp.write(ping * 1000)
                await anyio.lowlevel.checkpoint()
        assert b.receiver.ends("a") == [End.LOST]
