"""The HTTP sink against a real server on a real socket, which answers as each test scripts it."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from actonce.errors import ConfigError, GateClosed, SinkError, SinkRefused, SinkUnknown
from actonce.http_sink import RECEIPT_BYTES_MAX, RETRY_AFTER_S_MAX
from actonce.sinks import FileSink, HttpSink, Sink
from actonce_crdt import Json

pytestmark = pytest.mark.anyio
WAIT_S = 20
SHORT_S = 0.2
BODY: Json = {"text": "hello"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def http(status: int, content: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


@dataclass
class Server:
    """Answers the requests one after the other with `answers`; then hangs."""

    answers: list[bytes]
    hang_up: bool = False
    """Close the connection after each answer, whatever its headers say."""
    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    received_bytes: int = 0
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection ended."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await self.head(reader):
                length = next((line for line in head.split("\r\n") if line.lower().startswith("content-length:")), ":0")
                body = await reader.read(int(length.partition(":")[2]))
                self.received_bytes += len(body)
                self.heads.append(head)
                self.bodies.append(body)
                if not self.answers:
                    await reader.read()  # until the client gives up
                    break
                writer.write(self.answers.pop(0))
                await writer.drain()
                if self.hang_up:
                    break
        finally:
            writer.close()
            self.ended.set()

    async def head(self, reader: asyncio.StreamReader) -> str:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            head = error.partial
        self.received_bytes += len(head)
        return head.decode()


@asynccontextmanager
async def serving(*answers: bytes, hang_up: bool = False) -> AsyncIterator[Server]:
    server = Server(list(answers), hang_up)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(server.serve(reader, writer)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await asyncio.wait_for(asyncio.gather(*tasks), WAIT_S)


@asynccontextmanager
async def using(url: str, **options: Any) -> AsyncIterator[HttpSink]:
    sink = HttpSink(url, **options)
    try:
        yield sink
    finally:
        await sink.aclose()


def opened() -> None:
    """A gate that lets everything pass."""


def closed() -> None:
    raise GateClosed("superseded")


async def published(*answers: bytes, hang_up: bool = False, **options: Any) -> Any:
    async with serving(*answers, hang_up=hang_up) as server, using(server.url, **options) as sink:
        return await sink.publish(BODY, "t1/0", 7, opened)


async def failing(*answers: bytes, hang_up: bool = False, **options: Any) -> SinkError:
    with pytest.raises(SinkError) as caught:
        await published(*answers, hang_up=hang_up, **options)
    return caught.value


async def test_the_request_names_key_and_fence() -> None:
    async with serving(http(201, b'{"id": 5}')) as server, using(server.url + "/posts", headers={"X-Own": "1"}) as sink:
        assert await sink.publish({"text": "caf\u00e9"}, "t1/0", 7, opened) == {"id": 5}
    head = server.heads[0].lower()
    assert head.startswith("post /posts http/1.1")
    for line in ('idempotency-key: "t1/0"', "actonce-fence: 7", "content-type: application/json", "x-own: 1"):
        assert f"\r\n{line}\r\n" in head
    assert server.bodies == ['{"text":"caf\u00e9"}'.encode()]


@pytest.mark.parametrize(
    ("key", "quoted", "bare"),
    [
        ("plain-1/0", '"plain-1/0"', "plain-1/0"),
        ('a "b" \\c', '"a \\"b\\" \\\\c"', 'a%20"b"%20\\c'),
        ("caf\u00e9\r\nX: y", '"caf%C3%A9%0D%0AX: y"', "caf%C3%A9%0D%0AX:%20y"),
        ("caf%C3%A9", '"caf%25C3%25A9"', "caf%25C3%25A9"),
        (" ", '" "', "%20"),
    ],
)
async def test_any_key_survives_the_header(key: str, quoted: str, bare: str) -> None:
    for quote_key, expected in ((True, quoted), (False, bare)):
        async with serving(http(200, b"1")) as server, using(server.url, quote_key=quote_key) as sink:
            await sink.publish(BODY, key, 1, opened)
        assert f"Idempotency-Key: {expected}\r\n" in server.heads[0]


@pytest.mark.parametrize(
    ("content", "receipt"),
    [
        (b'{"id": 5, "tags": ["a"]}', {"id": 5, "tags": ["a"]}),
        (b"12", 12),
        (b"ok", "ok"),
        (b"", ""),
        (b"null", "null"),
        (b"NaN", "NaN"),
        (b"1" + b"0" * 40, "1" + "0" * 40),
        (b'"\\ud800"', '"\\ud800"'),
        (b"[" * 40 + b"]" * 40, "[" * 40 + "]" * 40),
        (b"[" * 60_000, "[" * 60_000),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"7" * (RECEIPT_BYTES_MAX + 1), "7" * RECEIPT_BYTES_MAX),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_what_was_done_has_a_receipt_whatever_the_answer_holds(content: bytes, receipt: object) -> None:
    assert await published(http(200, content)) == receipt


@pytest.mark.parametrize("status", [300, 302, 307, 400, 401, 404, 410, 422])
async def test_a_redirect_or_a_client_error_is_refused_for_good(status: int) -> None:
    error = await failing(http(status, b"because", "Location: /elsewhere"))
    assert isinstance(error, SinkRefused)
    assert error.permanent
    assert f"{status} because" in error.reason


@pytest.mark.parametrize(
    ("status", "headers", "retry_after_s"),
    [
        (429, ["Retry-After: 3"], 3.0),
        (503, ["Retry-After: 120"], 120.0),
        (429, [], None),
        (408, [], None),
        (425, [], None),
        (429, ["Retry-After: soon"], None),
        (429, ["Retry-After: \u00b2".encode().decode("latin-1")], None),
        (429, ["Retry-After: 99999999999"], RETRY_AFTER_S_MAX),
        (503, ["Retry-After: Fri, 13 Nov 2026 10:00:30 GMT", "Date: Fri, 13 Nov 2026 10:00:00 GMT"], 30.0),
        (503, ["Retry-After: Fri, 13 Nov 2026 09:00:00 GMT", "Date: Fri, 13 Nov 2026 10:00:00 GMT"], 0.0),
        (429, ["Retry-After: Fri, 13 Nov 2026 10:00:30 GMT"], None),
    ],
)
async def test_a_sink_that_is_busy_refuses_for_now(
    status: int, headers: list[str], retry_after_s: float | None
) -> None:
    error = await failing(http(status, b"", *headers))
    assert isinstance(error, SinkRefused)
    assert (error.permanent, error.retry_after_s) == (False, retry_after_s)


@pytest.mark.parametrize("status", [409, 500, 502, 503, 504, 599])
async def test_what_may_have_been_done_is_unknown(status: int) -> None:
    assert isinstance(await failing(http(status)), SinkUnknown)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 20", http(200, b"cut short")[:-4], b"\x00\x01 garbage\r\n\r\n", b"HTTP/1.1 999999 X\r\n\r\n"],
)
async def test_a_broken_answer_is_unknown(answer: bytes) -> None:
    assert isinstance(await failing(answer, hang_up=True), SinkUnknown)


async def test_no_answer_in_time_is_unknown() -> None:
    assert isinstance(await failing(timeout_s=SHORT_S), SinkUnknown)


async def test_an_answer_that_never_ends_is_unknown() -> None:
    assert isinstance(await failing(http(200, b"1234")[:-1], timeout_s=SHORT_S), SinkUnknown)


async def test_a_server_that_is_not_there_refuses() -> None:
    async with serving() as server:
        pass
    async with using(server.url) as sink:
        with pytest.raises(SinkRefused) as caught:
            await sink.publish(BODY, "k", 1, opened)
    assert not caught.value.permanent


@pytest.mark.parametrize("body", [{"a": b"bytes"}, {"a": math.nan}, "\ud800", {1, 2}])
async def test_a_body_that_is_no_json_is_refused_for_good(body: Any, tmp_path: Path) -> None:
    sinks: list[Sink] = [HttpSink("http://127.0.0.1:9"), FileSink(tmp_path / "file")]
    for sink in sinks[: 1 if body == "\ud800" else 2]:  # a file escapes what is not ASCII
        with pytest.raises(SinkRefused) as caught:
            await sink.publish(body, "k", 1, opened)
        assert caught.value.permanent


async def test_a_closed_gate_sends_nothing_on_a_fresh_connection() -> None:
    async with serving(http(200)) as server, using(server.url) as sink:
        with pytest.raises(GateClosed, match="superseded"):
            await sink.publish(BODY, "k", 1, closed)
        await asyncio.wait_for(server.ended.wait(), WAIT_S)
    assert (server.connections, server.received_bytes) == (1, 0)


async def test_a_closed_gate_sends_nothing_on_a_kept_connection() -> None:
    async with serving(http(200), http(200), http(200)) as server, using(server.url) as sink:
        for number in range(2):
            await sink.publish(number, "k", 1, opened)
        with pytest.raises(GateClosed):
            await sink.publish(2, "k", 1, closed)
        await asyncio.wait_for(server.ended.wait(), WAIT_S)
        before = server.received_bytes
        await sink.publish(3, "k", 1, opened)
    assert server.bodies == [b"0", b"1", b"3"]
    assert server.connections == 2
    assert before == sum(len(head) + 1 for head in server.heads[:2])


async def test_the_gate_runs_before_the_first_byte_and_again_before_the_body() -> None:
    async with serving(http(200, b"1")) as server, using(server.url) as sink:
        seen: list[int] = []
        await sink.publish(BODY, "k", 1, lambda: seen.append(server.received_bytes))
    assert seen[0] == 0
    assert len(seen) == 2


async def test_a_gate_that_closes_between_headers_and_body_keeps_the_body_back() -> None:
    async with serving(http(200), http(200)) as server, using(server.url) as sink:
        answers = iter([None, GateClosed("superseded")])

        def gate() -> None:
            refusal = next(answers)
            if refusal is not None:
                raise refusal

        with pytest.raises(GateClosed, match="superseded"):
            await sink.publish(BODY, "k", 1, gate)
        await asyncio.wait_for(server.ended.wait(), WAIT_S)
    assert not any(server.bodies)


async def test_a_server_that_closes_idle_connections_causes_no_doubt() -> None:
    async with serving(*[http(200, b"1")] * 20, hang_up=True) as server, using(server.url) as sink:
        for _ in range(20):
            server.ended.clear()
            assert await sink.publish(BODY, "k", 1, opened) == 1
            await asyncio.wait_for(server.ended.wait(), WAIT_S)
    assert server.connections == 20


class Stale(httpx.AsyncBaseTransport):
    """A kept connection that turns out to be dead, before or after the body began to leave."""

    def __init__(self, *events: str) -> None:
        self.events = events

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            sent = httpcore.Request(request.method, str(request.url))
            await request.extensions["trace"](event, {"request": sent})
        raise httpx.WriteError("broken pipe")


async def test_a_dead_connection_is_replaced_once_if_nothing_can_have_been_done() -> None:
    gates: list[bool] = []
    async with serving(http(200, b"1")) as server:
        sink = HttpSink(server.url)
        sink._client = httpx.AsyncClient(transport=Stale("http11.send_request_headers.started"))
        assert await sink.publish(BODY, "k", 1, lambda: gates.append(True)) == 1
        await sink.aclose()
    assert len(gates) == 3  # once for the dead connection, twice for the fresh one
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["http11.send_request_headers.started", "http11.send_request_body.started"], SinkUnknown),
        (["connection.connect_tcp.started", "http11.send_request_headers.started"], SinkRefused),
    ],
)
async def test_a_connection_that_was_fresh_or_used_is_not_tried_again(
    events: list[str], expected: type[SinkError]
) -> None:
    async with serving(http(200, b"1")) as server:
        sink = HttpSink(server.url)
        sink._client = httpx.AsyncClient(transport=Stale(*events))
        with pytest.raises(expected):
            await sink.publish(BODY, "k", 1, opened)
        await sink.aclose()
    assert server.bodies == []


async def test_lookup() -> None:
    answers = (http(200, b'{"id": 1}'), http(404, b"no"), http(200, b"null"), http(500), http(302), b"garbage\r\n\r\n")
    async with serving(*answers) as server, using(server.url, lookup_url=server.url + "/by-key/{key}") as sink:
        assert sink.can_lookup
        assert await sink.lookup("a/b caf\u00e9") == {"id": 1}
        assert await sink.lookup("k") is None
        assert await sink.lookup("k") == "null"
        for _ in range(3):
            with pytest.raises(SinkUnknown):
                await sink.lookup("k")
    assert server.heads[0].startswith("GET /by-key/a%2Fb%20caf%25C3%25A9 HTTP/1.1")
    async with using(server.url, lookup_url=server.url + "/{key}") as sink:
        with pytest.raises(SinkUnknown):
            await sink.lookup("k")


async def test_a_sink_without_lookup_says_so() -> None:
    async with using("http://127.0.0.1:9") as sink:
        assert not sink.can_lookup
        with pytest.raises(SinkUnknown, match="no lookup_url"):
            await sink.lookup("k")


@pytest.mark.parametrize(
    "options",
    [
        {"url": "127.0.0.1:9/posts"},
        {"url": "ftp://a.example"},
        {"url": "http://"},
        {"url": "http://a.example", "lookup_url": "http://a.example/by-key"},
        {"url": "http://a.example", "lookup_url": "/by-key/{key}"},
        {"url": "http://a.example", "headers": {"X": "caf\u00e9"}},
    ],
)
async def test_a_wrong_setting_is_told_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        HttpSink(**options)
