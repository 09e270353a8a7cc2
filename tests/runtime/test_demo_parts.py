"""The feed as a fair witness, and the proxy that cuts without losing."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from actonce.demo.feed import BODY_BYTES_MAX, Feed, bare
from actonce.demo.proxy import Proxy
from actonce.sinks import HttpSink

pytestmark = pytest.mark.anyio
WAIT_S = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def gate() -> None:
    """Open."""


async def raw(feed: Feed, request: bytes) -> bytes:
    """What the feed answers to bytes, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(feed.url.rpartition(":")[2]))
    writer.write(request)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()
    return answer


async def test_the_feed_records_all_and_answers_by_key() -> None:
    async with Feed() as feed, httpx.AsyncClient(base_url=feed.url) as client:
        for key, body in (("a/1", {"n": 1}), ("a/1", {"n": 2}), ('"q \\"uoted\\\\"', "three")):
            headers = {"Idempotency-Key": key, "Actonce-Fence": "4"}
            answer = await client.post("/posts", json=body, headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"id": len(feed.posts)})
        assert (await client.post("/posts", content=b"null")).json() == {"id": 4}
        assert (await client.get("/posts/by-key/a%2F1")).json() == {"id": 1}
        assert (await client.get("/posts/by-key/q%20%22uoted%5C")).json() == {"id": 3}
        assert (await client.get("/posts/by-key/other")).status_code == 404
        records = (await client.get("/posts")).json()
        assert [(record["id"], record["key"], record["body"], record["fence"]) for record in records] == [
            (1, "a/1", {"n": 1}, 4),
            (2, "a/1", {"n": 2}, 4),
            (3, 'q "uoted\\', "three", 4),
            (4, None, None, None),
        ]
        assert [record["at"] for record in records] == sorted(record["at"] for record in records)


async def test_the_feed_refuses_what_is_no_post() -> None:
    async with Feed() as feed, httpx.AsyncClient(base_url=feed.url) as client:
        assert (await client.post("/posts", content=b"{no json")).status_code == 400
        assert (await client.post("/posts", content=b"[" * 100_000)).status_code == 400
        assert (await client.post("/posts", content=b"1" * (BODY_BYTES_MAX + 1))).status_code == 413
        assert (await client.get("/other")).status_code == 404
        assert (await client.delete("/posts")).status_code == 404
        assert (await client.post("/posts", json=1)).status_code == 200
        assert (await raw(feed, b"\x00garbage\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert await raw(feed, b"") == b""
        assert await raw(feed, b"HEAD /posts HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    assert len(feed.posts) == 1


async def test_a_post_that_is_cut_short_is_not_recorded() -> None:
    async with Feed() as feed:
        await raw(feed, b"POST /posts HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234")
    assert feed.posts == []


async def test_a_delayed_answer_leaves_the_post_recorded() -> None:
    """What a doubt is made of: done, and nobody told."""
    async with Feed(delay_ms=60_000) as feed, httpx.AsyncClient(base_url=feed.url) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/posts", json=1, timeout=0.2)
        assert [post.body for post in feed.posts] == [1]


async def test_the_sink_and_the_feed_fit() -> None:
    async with Feed() as feed:
        sink = HttpSink(feed.url + "/posts", lookup_url=feed.url + "/posts/by-key/{key}")
        for number, key in enumerate(("t1/0", 'a "b" \\ % caf\u00e9/\u2603', " "), 1):
            assert await sink.lookup(key) is None
            assert await sink.publish({"n": number}, key, number, gate) == {"id": number}
            assert await sink.publish({"n": number}, key, number, gate) == {"id": len(feed.posts)}
            assert await sink.lookup(key) == {"id": len(feed.posts) - 1}
            assert feed.posts[-1].fence == number
            feed.posts.pop()
        await sink.aclose()


def test_a_structured_string_is_bared() -> None:
    for sent, meant in (('"a"', "a"), ("a", "a"), ('"', '"'), ('""', ""), ('"\\\\\\""', '\\"'), ('"a', '"a')):
        assert bare(sent) == meant


async def test_the_feed_runs_as_a_program() -> None:
    path = ":".join(entry for entry in sys.path if entry)
    command = [sys.executable, "-m", "actonce.demo.feed", "--port"]
    process = await asyncio.create_subprocess_exec(
        *command, "0", env={"PYTHONPATH": path}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), WAIT_S)).decode()
    found = re.fullmatch(r"feed at (http://127\.0\.0\.1:(\d+))\n", line)
    assert found is not None
    async with httpx.AsyncClient(base_url=found[1]) as client:
        assert (await client.post("/posts", json={"text": "hello"})).json() == {"id": 1}
    second = await asyncio.create_subprocess_exec(
        *command, found[2], env={"PYTHONPATH": path}, stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(second.communicate(), WAIT_S)
    assert (second.returncode, told.decode().count("\n")) == (1, 1)
    assert f"cannot listen on 127.0.0.1:{found[2]}" in told.decode()
    process.terminate()
    await process.communicate()


class Echo:
    """A server that answers each line with itself."""

    def __init__(self) -> None:
        self.port = 0
        self.lines: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self.tasks.add(asyncio.ensure_future(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.lines.append(line)
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Echo, Proxy, int]]:
    """An echo server, a proxy before it, and the proxy's port."""
    echo = Echo()
    listener = await asyncio.start_server(echo.connected, "127.0.0.1", 0)
    echo.port = listener.sockets[0].getsockname()[1]
    proxy = Proxy(f"127.0.0.1:{echo.port}")
    port = await proxy.start()
    try:
        yield echo, proxy, port
    finally:
        await proxy.stop()
        listener.close()
        await asyncio.wait_for(asyncio.gather(*echo.tasks), WAIT_S)


async def say(writer: asyncio.StreamWriter, *lines: bytes) -> None:
    writer.writelines(lines)
    await writer.drain()


async def hear(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readline(), WAIT_S)


async def turns(count: int = 50) -> None:
    """Let the event loop do all that it can do now: everything here is in this process."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_proxy_forwards_both_ways_to_the_end() -> None:
    async with proxied() as (echo, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [b"%d" % number * 200 + b"\n" for number in range(500)]
        await say(writer, *lines)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b"".join(lines)
        assert echo.lines == lines
        writer.close()


async def test_a_cut_holds_everything_and_loses_nothing() -> None:
    async with proxied() as (echo, proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await say(writer, b"before\n")
        assert await hear(reader) == b"before\n"
        proxy.cut()
        proxy.cut()
        await say(writer, b"during\n")
        echo.connections[0].write(b"from there\n")
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        await say(other_writer, b"new\n")
        other_writer.write_eof()
        await turns()
        assert echo.lines == [b"before\n"]
        assert len(echo.connections) == 1
        proxy.heal()
        assert sorted([await hear(reader), await hear(reader)]) == [b"during\n", b"from there\n"]
        assert await hear(other_reader) == b"new\n"
        assert await hear(other_reader) == b""
        await say(writer, b"after\n")
        assert await hear(reader) == b"after\n"
        writer.close()
        other_writer.close()


async def test_an_end_waits_behind_its_bytes() -> None:
    async with proxied() as (echo, proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await say(writer, b"one\n")
        assert await hear(reader) == b"one\n"
        proxy.cut()
        echo.connections[0].write(b"last words\n")
        echo.connections[0].close()
        await turns()
        proxy.heal()
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b"last words\n"
        writer.close()


async def test_nobody_behind_the_proxy_ends_the_connection() -> None:
    proxy = Proxy("127.0.0.1:1")
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    try:
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
    except ConnectionResetError:
        answer = b""
    assert answer == b""
    writer.close()
    await proxy.stop()


async def test_stopping_a_cut_proxy_resets_all() -> None:
    async with proxied() as (_, proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await say(writer, b"one\n")
        assert await hear(reader) == b"one\n"
        proxy.cut()
        await say(writer, b"lost\n")
        await turns()
        await proxy.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()
