"""Plain HTTP on a replica's port."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import httpx
import pytest

from actonce_transports import HTTP_BODY_BYTES_MAX, HttpRequest, HttpResponse, Identity, Timings, WebsocketTransport
from actonce_transports.contract_tools import Recorder
from actonce_transports.http import is_websocket

from .meshes import SECRET

pytestmark = pytest.mark.anyio
WAIT_S = 10.0


async def echo(request: HttpRequest) -> HttpResponse:
    if request.path == "/fail":
        raise ZeroDivisionError("planted")
    if request.path == "/bad":
        return HttpResponse(200, b"", {"x": "line\nbreak"})
    if request.path == "/odd":
        return HttpResponse(204, b"no content")
    told = {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "idempotency-key": request.headers.get("idempotency-key"),
        "body": len(request.body),
        "loopback": request.loopback,
    }
    return HttpResponse(202 if request.method == "POST" else 200, json.dumps(told).encode(), {"Content-Type": "a/b"})


@asynccontextmanager
async def serving(
    handler: Callable[[HttpRequest], object] | None = echo, **timings: float
) -> AsyncIterator[WebsocketTransport]:
    transport = WebsocketTransport("127.0.0.1:0", SECRET, handler, timings=Timings(close_s=0.5, **timings))  # type: ignore[arg-type]
    await transport.start(Identity("a"), Recorder())
    try:
        yield transport
    finally:
        await transport.stop()


async def talk(transport: WebsocketTransport, data: bytes, *, end: bool = False) -> bytes:
    """Send bytes, read until the server closes."""
    host, _, port = transport.address.rpartition(":")
    with anyio.fail_after(WAIT_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        if end:
            writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        writer.close()
        with suppress(ConnectionResetError, BrokenPipeError):
            await writer.wait_closed()
        return answer


async def test_get_and_post_with_keep_alive() -> None:
    async with serving() as transport, httpx.AsyncClient(base_url=f"http://{transport.address}") as client:
        got = await client.get("/a%20b", params={"x": "1", "y": ""})
        assert got.status_code == 200
        assert got.headers["content-type"] == "a/b"
        assert got.json() | {"path": "/a b", "query": {"x": "1", "y": ""}, "loopback": True} == got.json()
        for size in (0, 1, 100_000, HTTP_BODY_BYTES_MAX):
            posted = await client.post("/tasks", content=bytes(size), headers={"Idempotency-Key": "k"})
            assert posted.status_code == 202
            assert posted.json() | {"method": "POST", "body": size, "idempotency-key": "k"} == posted.json()
        assert transport._listener is not None
        assert len(transport._listener.http) == 1, "one connection served them all"


async def test_a_chunked_body_is_put_together() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100

    async with serving() as transport, httpx.AsyncClient() as client:
        assert (await client.post(f"http://{transport.address}/", content=chunks())).json()["body"] == 1000


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_413(chunked: bool) -> None:
    size = HTTP_BODY_BYTES_MAX + 1

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 1000 + 1):
            yield bytes(1000)

    async with serving() as transport, httpx.AsyncClient() as client:
        answer = await client.post(f"http://{transport.address}/", content=chunks() if chunked else bytes(size))
        assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/fail", "/bad"])
async def test_a_handler_that_fails_is_500_and_logged(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as transport, httpx.AsyncClient() as client:
        answer = await client.get(f"http://{transport.address}{path}")
        assert answer.status_code == 500
        assert answer.text.count("\n") == 1
        assert "planted" not in answer.text
        assert f"the handler of GET {path} raised" in caplog.text
        assert (await client.get(f"http://{transport.address}/")).status_code == 200


async def test_what_cannot_be_sent_costs_its_connection_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with serving() as transport, httpx.AsyncClient() as client:
        assert b"no content" not in await talk(transport, b"GET /odd HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "cannot go on" in caplog.text
        assert (await client.get(f"http://{transport.address}/")).status_code == 200
    assert not faults


async def test_without_a_handler_there_are_no_pages() -> None:
    async with serving(None) as transport, httpx.AsyncClient() as client:
        assert (await client.get(f"http://{transport.address}/")).status_code == 404


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"HEAD / HTTP/1.0\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000, b"431"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 18 + b"\r\n\r\n", b"413"),
        (b"GET /?" + b"a=1&" * 200 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\nHost: x\nConnection: close\n\n", b"200"),
    ],
)
async def test_requests_on_the_edge(request_bytes: bytes, status: bytes) -> None:
    async with serving() as transport:
        assert (await talk(transport, request_bytes)).split(b" ", 2)[1] == status


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as transport:
        one = b"GET /%d HTTP/1.1\r\nHost: x\r\n%s\r\n"
        answer = await talk(transport, one % (1, b"") + one % (2, b"") + one % (3, b"Connection: close\r\n"))
        positions = [answer.index(b'"/%d"' % number) for number in (1, 2, 3)]
        assert positions == sorted(positions)


async def test_a_client_that_half_closes_gets_its_answer() -> None:
    async with serving() as transport:
        assert b"200" in await talk(transport, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", end=True)


async def test_expect_continue_is_answered() -> None:
    async with serving() as transport:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        host, _, port = transport.address.rpartition(":")
        with anyio.fail_after(WAIT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head)
            assert b"100" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"x")
            assert b"202" in await reader.read()
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("start", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_never_comes_is_cut_off(start: bytes) -> None:
    async with serving(handshake_s=0.05) as transport:
        assert await talk(transport, start) == b""


async def test_a_body_that_never_comes_is_cut_off() -> None:
    async with serving(http_idle_s=0.05) as transport:
        assert await talk(transport, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf") == b""


async def test_stop_lets_a_request_finish() -> None:
    begun, finish = anyio.Event(), anyio.Event()

    async def slow(request: HttpRequest) -> HttpResponse:
        begun.set()
        await finish.wait()
        return HttpResponse(200, b"done")

    async with serving(slow) as transport, httpx.AsyncClient() as client, anyio.create_task_group() as group:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await client.get(f"http://{transport.address}/"))

        group.start_soon(ask)
        with anyio.fail_after(WAIT_S):
            await begun.wait()
            group.start_soon(transport.stop)
            await anyio.lowlevel.checkpoint()
            finish.set()
            while not answers:
                await anyio.lowlevel.checkpoint()
        assert answers[0].text == "done"


async def test_stop_does_not_wait_for_ever() -> None:
    begun = anyio.Event()

    async def stuck(request: HttpRequest) -> HttpResponse:
        begun.set()
        await anyio.Event().wait()
        raise AssertionError

    async with serving(stuck) as transport:
        host, _, port = transport.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with anyio.fail_after(WAIT_S):
            await begun.wait()
            await transport.stop()
        writer.close()


def test_what_is_a_websocket() -> None:
    assert is_websocket(b"GET /link HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\r\n")
    assert not is_websocket(b"POST / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
    assert not is_websocket(b"GET / HTTP/1.1\r\nX-Upgrade: websocket\r\n\r\n")
    assert not is_websocket(b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n")
