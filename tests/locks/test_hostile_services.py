"""Servers that answer as no lock service does: each request ends, in time, and nothing ends the loop of the engine."""

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest

from actonce.edge.locks import EdgeLocks
from actonce.locks import LockError, LockRefused, Register, open_locks
from actonce.locks import etcd as etcd_locks
from actonce.locks import nats as nats_locks
from actonce.locks.records import SessionRecord, TaskRecord, decode, encode

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

INFO = b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576,"headers":true}\r\n'
STREAM = b'{"config":{"name":"KV_x","storage":"file","max_age":0},"state":{},"created":"x"}'
DEEP = b"[" * 100_000
WORDS = (
    *(b"", b"\r\n", b"\xff\xfe\r\n", b"-ERR 'x'\r\n", b"-ERR '\xff'\r\n", b"-ERR\r\n", b"-ERR 'stale connection'\r\n"),
    *(b"INFO {\r\n", b"INFO null\r\n", b"INFO [1]\r\n", b'INFO {"connect_urls":[1]}\r\n', b"INFO \xff\r\n"),
    *(b'INFO {"connect_urls":["["]}\r\n', b'INFO {"connect_urls":5,"ldm":true}\r\n', b'INFO {"tls_required":true}\r\n'),
    *(b'INFO {"max_payload":"x","nonce":5,"auth_required":1}\r\n', b"INFO " + DEEP + b"\r\n", b"INFO " + DEEP),
    *(b"MSG x y z\r\n", b"MSG a 1 99999999999999999999\r\n", b"MSG a 7 1\r\nx\r\n", b"HMSG a 1 9 3\r\nNATS/1.0\r\n"),
    *(b"HMSG a 1 12 12\r\nNATS/1.0\r\n\xff\xff\r\n", b"PONG\r\nPONG\r\nPONG\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
)
BODIES = (
    *(b"", b"null", b"[]", b"{}", b"5", b"\xff", b"{", DEEP, b'{"error":null}', b'{"error":5}', b'{"error":{}}'),
    *(b'{"error":{"code":"x","err_code":[],"description":5}}', b'{"error":{"code":404}}', b'{"config":5}'),
    *(b'{"config":{"name":5,"storage":5,"max_age":"x"}}', b'{"message":5}', b'{"message":{}}', b'{"message":null}'),
    *(b'{"message":{"data":"!","seq":"x","hdrs":"!"}}', b'{"message":{"data":5,"seq":-1}}', b'{"seq":"x","stream":5}'),
    *(b'{"kvs":null}', b'{"kvs":5}', b'{"kvs":[5]}', b'{"kvs":[{}]}', b'{"kvs":[{"mod_revision":"x","value":5}]}'),
    *(b'{"kvs":[{"mod_revision":[],"value":"!"}]}', b'{"succeeded":true}', b'{"succeeded":1,"header":{"revision":{}}}'),
    *(b'{"ID":{}}', b'{"message":"auth token"}', b'{"error":{"a":[]}}', b'{"kvs":[{"mod_revision":1e999}]}'),
)


def nats_says(word: bytes, instead_of: str, *, then_close: bool) -> Serve:
    """Says `word` in place of one of its ordinary answers: "INFO", "PONG", or that to a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def hostile() -> None:
            writer.write(word)
            if then_close:
                await writer.drain()
                writer.close()

        if instead_of == "INFO":
            await hostile()
        else:
            writer.write(INFO)
        while line := await reader.readline():
            if line.startswith(b"PING"):
                await (hostile() if instead_of == "PONG" else _write(writer, b"PONG\r\n"))
            elif line.startswith((b"PUB", b"HPUB")):
                await hostile()

    return serve


def nats_answers(body: bytes, *, bucket: bool) -> Serve:
    """Answers requests with `body`; all of them, or all but the one whether there is a bucket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
            elif line.startswith((b"PUB", b"HPUB")):
                _, subject, reply, *_ = line.split()
                said = STREAM if bucket and b"STREAM.INFO" in subject else body
                writer.write(b"MSG %s 1 %d\r\n%s\r\n" % (reply, len(said), said))

    return serve


def etcd_answers(raw: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    return serve


def over_http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)


async def ask(scheme: str, serve: Serve) -> list[Any]:
    """What a read and a write came to."""

    async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serving, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    locks = EdgeLocks(open_locks(f"{scheme}://127.0.0.1:{port}/x"))
    answers: list[Any] = []
    got, put = asyncio.Event(), asyncio.Event()

    def keep(answer: Any, done: asyncio.Event) -> None:
        answers.append(answer)
        done.set()

    locks.get("key", lambda answer: keep(answer, got))
    await got.wait()
    locks.put("key", b"value", 0, lambda answer: keep(answer, put))
    await put.wait()
    await locks.aclose()
    server.close()
    return answers


def all_end(cases: list[tuple[str, Serve]]) -> None:
    raised: list[Any] = []

    async def go() -> list[list[Any]]:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
        found = await asyncio.wait_for(asyncio.gather(*(ask(*case) for case in cases)), 60.0)
        gc.collect()  # a task says when it is freed that nobody asked for its exception
        return found

    for got, put in asyncio.run(go()):
        assert got is None or isinstance(got, LockError | Register)
        assert got is None or isinstance(got, LockError) or type(got.revision) is int
        assert isinstance(put, LockError | int)
    assert not raised


TASK = TaskRecord("reply/m", "held", "a:1", "journal", 10_000, 1, 0, 1_700_000_000_000, ("a:1",), doubtful=False)
SESSION = SessionRecord("a:1", "journal", 10_000, 1)


@pytest.mark.parametrize("record", [TASK, SESSION], ids=["task", "session"])
@pytest.mark.parametrize(
    "value", [-1, 10**400, True, None, "x", 1.5, ["a"], ["a:"], ["a:-1"], ["a:\u0661"], ["a:" + "9" * 99], "abc", DEEP]
)
def test_registers_that_somebody_else_wrote_are_refused(record: Any, value: Any) -> None:
    """None of them may reach sums and names that fail on the engine's loop."""
    assert decode(type(record), "key", encode(record)) == record
    if value is DEEP:
        with pytest.raises(LockRefused, match="did not write"):
            decode(type(record), "key", DEEP)
        return
    for name, known in asdict(record).items():
        changed = json.dumps({**asdict(record), name: value}).encode()
        if type(value) is type(known) and isinstance(known, str | bool):
            decode(type(record), "key", changed)
        else:
            with pytest.raises(LockRefused, match="did not write"):
                decode(type(record), "key", changed)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "nats")
    for module in (nats_locks, etcd_locks):
        monkeypatch.setattr(module, "REQUEST_S", 1.0)


def test_a_nats_server_that_talks_nonsense() -> None:
    places = [(word, at, close) for word in WORDS for at in ("INFO", "PONG", "answer") for close in (False, True)]
    places = [place for place in places if place[2] or place[1] == "answer"]
    all_end([("nats", nats_says(word, at, then_close=close)) for word, at, close in places])


def test_answers_of_nats_that_are_no_answers() -> None:
    all_end([("nats", nats_answers(body, bucket=bucket)) for body in BODIES for bucket in (False, True)])


def test_answers_of_etcd_that_are_no_answers() -> None:
    said = [over_http(body, status) for body in BODIES for status in (b"200 OK", b"503 No", b"999 \xff")]
    cut = [b"", b"\xff", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\n\xff: x\r\n\r\n", over_http(b"{}")[:-1]]
    all_end([("etcd", etcd_answers(raw)) for raw in (*said, *cut)])
