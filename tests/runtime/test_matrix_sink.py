"""The Matrix sink against scripted homeservers, good and bad. With a real one: `python -m tests.matrix`."""

import math
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from actonce.errors import ConfigError, GateClosed, SinkError, SinkRefused, SinkUnknown
from actonce.http_sink import RETRY_AFTER_S_MAX
from actonce.matrix import MatrixSink, answer
from actonce.matrix.homeserver import SENT_BYTES_MAX
from actonce.matrix.sink import AT_ONCE, KEY_FIELD, SHARED_WINDOW_S, transaction_id
from actonce_crdt import Json

from .scripted import WAIT_S, Answer, Asked, http, scripted, using_sink

pytestmark = pytest.mark.anyio
ROOM, OTHER = "!room:here", "!other:here"
BODY: Json = {"room": ROOM, "text": "hello"}
DONE = http(200, {"event_id": "$e1"})
SHORT_S = 0.2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def always(answered: Answer) -> Callable[[Asked], Answer]:
    return lambda asked: answered


def opened() -> None:
    """A gate that lets everything pass."""


async def published(body: Json, *, answered: Answer = DONE, **options: Any) -> tuple[Json, list[Asked]]:
    async with scripted(always(answered)) as server, using_sink(server.url, **options) as sink:
        return await sink.publish(body, "t1/0", 7, opened), server.asked


async def failing(answered: Answer, *, body: Json = BODY, hang_up: bool = False, **options: Any) -> SinkError:
    async with scripted(always(answered), hang_up=hang_up) as server, using_sink(server.url, **options) as sink:
        with pytest.raises(SinkError) as caught:
            await sink.publish(body, "t1/0", 7, opened)
        return caught.value


async def test_an_event_is_put_under_a_transaction_id_made_of_its_key() -> None:
    receipt, (asked,) = await published(BODY)
    assert receipt == {"event_id": "$e1"}
    assert asked.method == "PUT"
    assert asked.path == f"/rooms/{ROOM}/send/m.room.message/{transaction_id('t1/0')}"
    assert asked.headers["authorization"] == "Bearer token"
    assert asked.body == {"msgtype": "m.notice", "body": "hello", KEY_FIELD: transaction_id("t1/0")}
    keys = ["t1/0", "t1/1", "t1", "", "\ud7ff", "a/b c%", "k" * 512]
    assert len({transaction_id(key) for key in keys}) == len(keys)
    assert all(len(transaction_id(key)) == 48 and transaction_id(key).replace("-", "").isalnum() for key in keys)


async def test_what_can_be_posted() -> None:
    message = {"room": ROOM, "id": "$m", "sender": "@a:here", "at_ms": 1, "type": "m.text", "text": "hi"}
    _, (asked,) = await published(answer(message, "yes"))
    assert asked.body["m.relates_to"] == {"m.in_reply_to": {"event_id": "$m"}}
    assert (asked.body["msgtype"], asked.body["body"]) == ("m.notice", "yes")
    _, (asked,) = await published({"type": "org.example.t/x", "content": {"n": 1}}, room=OTHER)
    assert asked.path == f"/rooms/{OTHER}/send/org.example.t/x/{transaction_id('t1/0')}"
    assert asked.body == {"n": 1, KEY_FIELD: transaction_id("t1/0")}
    _, (asked,) = await published({"text": "caf\u00e9", "room": ROOM}, room=OTHER)
    assert (asked.path.split("/")[2], asked.body["body"]) == (ROOM, "caf\u00e9")


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        None,
        [],
        {},
        {"text": "no room"},
        {"room": "#alias:here", "text": "x"},
        {"room": 7, "text": "x"},
        {"room": "!" + "r" * 255, "text": "x"},
        {"room": "!r\n:here", "text": "x"},
        {"room": ROOM, "text": 7},
        {"room": ROOM, "text": None},
        {"room": ROOM, "content": "x"},
        {"room": ROOM, "content": {}, "text": "x"},
        {"room": ROOM, "content": {}, "type": ""},
        {"room": ROOM, "content": {}, "type": 7},
        {"room": ROOM, "content": {}, "colour": "red"},
        {"room": ROOM, "content": {"n": math.nan}},
        {"room": ROOM, "text": "\ud800"},
    ],
)
async def test_anything_else_is_refused_for_good_and_not_sent(body: Json) -> None:
    async with scripted(always(DONE)) as server, using_sink(server.url) as sink:
        with pytest.raises(SinkRefused) as caught:
            await sink.publish(body, "k", 1, opened)
    assert caught.value.permanent
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "body", "headers", "retry_after_s"),
    [
        (429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}, [], 1.5),
        (429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}, ["Retry-After: 2"], 1.5),
        (429, {"errcode": "M_LIMIT_EXCEEDED"}, ["Retry-After: 2"], 2.0),
        (429, {"errcode": "M_LIMIT_EXCEEDED"}, [], None),
        (400, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 0}, [], 0.0),
        (429, {"retry_after_ms": -1}, [], None),
        (429, {"retry_after_ms": "soon"}, [], None),
        (429, {"retry_after_ms": True}, [], None),
        (429, b'{"retry_after_ms": NaN}', [], None),
        (429, b'{"retry_after_ms": 1e999}', [], RETRY_AFTER_S_MAX),
        (429, b'{"retry_after_ms": 1' + b"0" * 400 + b"}", [], RETRY_AFTER_S_MAX),
        (429, b"slow down", ["Retry-After: 3"], 3.0),
        (503, b"", ["Retry-After: 3"], 3.0),
        (408, b"", [], None),
    ],
)
async def test_a_server_that_is_busy_refuses_for_now(
    status: int, body: object, headers: list[str], retry_after_s: float | None
) -> None:
    error = await failing(http(status, body, *headers))
    assert isinstance(error, SinkRefused)
    assert (error.permanent, error.retry_after_s) == (False, retry_after_s)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "M_UNKNOWN_TOKEN"),
        (401, "M_MISSING_TOKEN"),
        (403, "M_FORBIDDEN"),
        (404, "M_UNRECOGNIZED"),
        (400, "M_BAD_JSON"),
        (413, "M_TOO_LARGE"),
        (302, ""),
        (404, ""),
    ],
)
async def test_a_refusal_is_for_good(status: int, code: str) -> None:
    error = await failing(http(status, {"errcode": code, "error": "because"} if code else b"<html>", "Location: /x"))
    assert isinstance(error, SinkRefused)
    assert error.permanent
    assert f"PUT /rooms/{ROOM}/send/m.room.message: {status} {code}" in error.reason
    assert ("log in again" in error.reason) == (status == 401)
    assert "Bearer" not in error.reason


@pytest.mark.parametrize(
    "answered",
    [
        http(500, {"errcode": "M_UNKNOWN", "error": "Internal server error"}),
        http(502, b"<html>bad gateway"),
        http(503, b""),
        http(504, b""),
        http(409, b""),
        http(201, {"event_id": "$e"}),
        http(200, b""),
        http(200, b"<html>log in to this network"),
        http(200, []),
        http(200, {}),
        http(200, {"event_id": 7}),
        http(200, {"event_id": "e1"}),
        http(200, {"event_id": "$" + "e" * 255}),
        http(200, b'{"event_id": "$\\ud800"}'),
        http(200, b"[" * 100_000),
        http(500, b'{"errcode": "\\ud800", "error": "\\ud800"}'),
        http(500, {"errcode": {}, "error": []}),
        b"",
        b"HTTP/1.1 20",
        DONE[:-4],
        b"\x00\x01 garbage\r\n\r\n",
    ],
    ids=lambda answered: answered[:30].decode("latin-1") + str(len(answered)),
)
async def test_any_other_answer_is_a_doubt(answered: bytes) -> None:
    error = await failing(answered, hang_up=True)
    assert isinstance(error, SinkUnknown)
    assert str(error).encode()  # a document can hold it


async def test_no_answer_in_time_is_a_doubt_and_so_is_one_without_end() -> None:
    assert isinstance(await failing(None, timeout_s=SHORT_S), SinkUnknown)
    endless = http(200, b"x")[:-1].replace(b"Length: 1", b"Length: 99999999") + b" " * (2 * SENT_BYTES_MAX)
    error = await failing(endless)
    assert isinstance(error, SinkUnknown)
    assert "more than" in error.reason


async def test_a_server_that_is_not_there_refuses_for_now() -> None:
    async with scripted(always(DONE)) as server:
        pass
    async with using_sink(server.url) as sink:
        with pytest.raises(SinkRefused) as caught:
            await sink.publish(BODY, "k", 1, opened)
    assert not caught.value.permanent


async def test_a_closed_gate_keeps_the_event_back() -> None:
    def closed() -> None:
        raise GateClosed("superseded")

    async with scripted(always(DONE)) as server, using_sink(server.url) as sink:
        with pytest.raises(GateClosed, match="superseded"):
            await sink.publish(BODY, "k", 1, closed)
        assert server.asked == []
        seen: list[int] = []
        await sink.publish(BODY, "k", 1, lambda: seen.append(len(server.asked)))
    assert seen == [0, 0]


async def test_idle_connections_that_the_server_closes_cause_no_doubt() -> None:
    async with scripted(always(DONE), hang_up=True) as server, using_sink(server.url) as sink:
        for _ in range(20):
            assert await sink.publish(BODY, "k", 1, opened) == {"event_id": "$e1"}
    assert len(server.asked) == 20


async def test_a_dead_connection_is_replaced_once_if_no_body_left() -> None:
    class Stale(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.WriteError("broken pipe")

    async with scripted(always(DONE)) as server, using_sink(server.url) as sink:
        sink._server._client = httpx.AsyncClient(transport=Stale())
        assert await sink.publish(BODY, "k", 1, opened) == {"event_id": "$e1"}
    assert len(server.asked) == 1


async def test_no_more_than_a_few_requests_are_under_way() -> None:
    """The others wait before the gate, and off the clock."""
    gates: list[int] = []
    asked, full = list[Asked](), anyio.Event()

    def silent(one: Asked) -> Answer:
        asked.append(one)
        if len(asked) == AT_ONCE:
            full.set()
        return None

    async def publish(sink: MatrixSink, number: int) -> None:
        with pytest.raises(SinkUnknown):
            await sink.publish(BODY, f"k/{number}", 1, lambda: gates.append(number))

    async with (
        scripted(silent) as server,
        using_sink(server.url, timeout_s=SHORT_S) as sink,
        anyio.create_task_group() as group,
    ):
        for number in range(2 * AT_ONCE):
            group.start_soon(publish, sink, number)
        with anyio.fail_after(WAIT_S):
            await full.wait()
        assert len(set(gates)) == AT_ONCE
    assert len(asked) == len(set(gates)) == 2 * AT_ONCE


async def test_what_a_sink_declares() -> None:
    shared, own = MatrixSink("http://h", "t", shared_device=True), MatrixSink("http://h", "t")
    assert (shared.dedupe_window_s, shared.can_lookup) == (SHARED_WINDOW_S, False)
    assert (own.dedupe_window_s, own.can_lookup) == (0.0, True)
    assert MatrixSink("http://h", "t", shared_device=True, dedupe_window_s=86_400).dedupe_window_s == 86_400


@pytest.mark.parametrize(
    ("url", "token", "options", "says"),
    [
        ("h:8008", "t", {}, "not an http"),
        ("http://h", "", {}, "empty"),
        ("http://h", "t\n", {}, "blanks"),
        ("http://h", "caf\u00e9", {}, "characters"),
        ("http://h", "t", {"room": "#room:here"}, "alias"),
    ],
)
async def test_a_wrong_setting_is_told_at_once(url: str, token: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        MatrixSink(url, token, **options)
