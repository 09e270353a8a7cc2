"""A feed that people could read: it records each post, deduplicates nothing, and can be asked by key.

    POST /posts                  records the request, answers {"id": n}
    GET  /posts/by-key/{key}     the answer to the first request with that Idempotency-Key, or 404
    GET  /posts                  all records: [{"id", "key", "body", "fence", "at"}, ...]

Whatever reaches it twice stands there twice, which is what makes it a fair witness. It keeps all in memory, for ever.
Run it alone with `python -m actonce.demo.feed`; the first line that it prints ends with its URL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import h11

BODY_BYTES_MAX = 1_048_576
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Post:
    """One request, as it arrived."""

    id: int
    key: str | None
    """The Idempotency-Key, without the quotes of a structured field."""
    body: Any
    fence: int | None
    at: float
    """Unix seconds of its arrival."""


class Feed:
    """The feed as a server in this event loop: `async with Feed() as feed: ... feed.url, feed.posts`."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        delay_ms: float = 0.0,
        on_post: Callable[[Post], None] | None = None,
    ) -> None:
        """
        Args:
            delay_ms: mean of a random wait between recording a post and answering it: time for a sender to die in.
            on_post: told of each post as it comes.
        """
        self.posts: list[Post] = []
        self._first: dict[str, Post] = {}
        self._delay_s = delay_ms / 1000
        self._on_post = on_post
        self._address = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> int:
        """Listen; returns the port. Raises OSError when the address is taken."""
        host, port = self._address
        self._server = await asyncio.start_server(self._connected, host, port, backlog=1024)
        self._address = (host, self._server.sockets[0].getsockname()[1])
        return self._address[1]

    async def stop(self) -> None:
        """Close the listener and all connections. The posts stay."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Feed:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            with suppress(ConnectionError):
                while (request := await read_request(connection, reader)) is not None:
                    status, answer = await self._answer(*request)
                    writer.write(response(connection, status, answer))
                    await writer.drain()
                    if connection.our_state is h11.MUST_CLOSE:
                        break
                    connection.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                writer.write(response(connection, error.error_status_hint, {"error": str(error)}))
        except h11.LocalProtocolError:  # a HEAD: what it may be answered, nobody here wants to know
            pass
        finally:
            writer.close()

    async def _answer(self, request: h11.Request, content: bytes) -> tuple[int, Any]:
        path = request.target.decode("ascii").partition("?")[0]
        match request.method, path:
            case b"POST", "/posts":
                return await self._record(request, content)
            case b"GET", "/posts":
                return 200, [as_json(post) for post in self.posts]
            case b"GET", _ if path.startswith("/posts/by-key/"):
                post = self._first.get(unquote(path.removeprefix("/posts/by-key/")))
                return (404, {"error": "no post has this key"}) if post is None else (200, {"id": post.id})
        return 404, {"error": f"this is a feed, not a replica: there is no {request.method.decode('ascii')} {path}"}

    async def _record(self, request: h11.Request, content: bytes) -> tuple[int, Any]:
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return 400, {"error": "the body is not JSON"}
        key = headers.get("idempotency-key")
        fence = headers.get("actonce-fence", "")
        post = Post(
            id=len(self.posts) + 1,
            key=None if key is None else bare(key),
            body=body,
            fence=int(fence) if fence.isascii() and fence.isdigit() else None,
            at=time.time(),
        )
        self.posts.append(post)
        if post.key is not None:
            self._first.setdefault(post.key, post)
        if self._on_post is not None:
            self._on_post(post)
        if self._delay_s:
            await asyncio.sleep(random.uniform(0, 2 * self._delay_s))
        return 200, {"id": post.id}


async def read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes] | None:
    """The next request with its content; None when the other side is done.

    Raises:
        h11.RemoteProtocolError: not HTTP, cut short, or content of more than BODY_BYTES_MAX.
    """
    request: h11.Request | None = None
    content = bytearray()
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(READ_BYTES))
            case h11.Request():
                request = event
            case h11.Data():
                content += event.data
                if len(content) > BODY_BYTES_MAX:
                    raise h11.RemoteProtocolError(f"more than {BODY_BYTES_MAX} bytes", error_status_hint=413)
            case h11.EndOfMessage():
                assert request is not None
                return request, bytes(content)
            case _:  # ConnectionClosed
                return None


def response(connection: h11.Connection, status: int, answer: Any) -> bytes:
    content = json.dumps(answer).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    head = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    return head + (connection.send(h11.Data(data=content)) or b"") + (connection.send(h11.EndOfMessage()) or b"")


def bare(key: str) -> str:
    """A structured-field string without quotes and escapes (RFC 9651, section 4.2.5); anything else as it is."""
    if len(key) < 2 or not (key.startswith('"') and key.endswith('"')):
        return key
    return re.sub(r"\\(.)", r"\1", key[1:-1])


def as_json(post: Post) -> dict[str, Any]:
    return {"id": post.id, "key": post.key, "body": post.body, "fence": post.fence, "at": post.at}


async def serve(host: str, port: int, delay_ms: float) -> None:
    async with Feed(host=host, port=port, delay_ms=delay_ms) as feed:
        print(f"feed at {feed.url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m actonce.demo.feed", description="A feed that records each post.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7400, help="0 for any free one")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="mean wait before each answer to a post")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.host, options.port, options.delay_ms))
    except OSError as error:
        sys.exit(f"the feed cannot listen on {options.host}:{options.port}: {error.strerror}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
