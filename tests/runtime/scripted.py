"""A homeserver that answers as a test scripts it, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from actonce.matrix import MatrixSink

API = "/_matrix/client/v3"
WAIT_S = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    """Below the API's root, unquoted."""
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


Answer = bytes | None
"""A whole HTTP answer; None to say nothing, ever."""


def http(status: int, content: object, *headers: str) -> bytes:
    """`content`: bytes as they are, anything else as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return "\r\n".join([f"HTTP/1.1 {status} R", f"Content-Length: {len(data)}", *headers, "", ""]).encode() + data


@dataclass
class Scripted:
    """`answer(asked)` decides. It hangs up after each answer if `hang_up`."""

    answer: Callable[[Asked], Answer]
    hang_up: bool = False
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await self.read(reader)) is not None:
                self.asked.append(asked)
                answer = self.answer(asked)
                if answer is None:
                    await reader.read()  # until the client gives up
                    break
                writer.write(answer)
                await writer.drain()
                if self.hang_up:
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def read(self, reader: asyncio.StreamReader) -> Asked | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = first.split()
        parts = urlsplit(target)
        query = {key: unquote(value) for key, _, value in (pair.partition("=") for pair in parts.query.split("&"))}
        path = unquote(parts.path.removeprefix(API))
        return Asked(method, path, query, headers, json.loads(body) if body else None)


@asynccontextmanager
async def scripted(answer: Callable[[Asked], Answer], *, hang_up: bool = False) -> AsyncIterator[Scripted]:
    server, tasks = Scripted(answer, hang_up), set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(server.serve(reader, writer)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await asyncio.wait_for(asyncio.gather(*tasks), WAIT_S)


@asynccontextmanager
async def using_sink(url: str, token: str = "token", **options: Any) -> AsyncIterator[MatrixSink]:
    sink = MatrixSink(url, token, **options)
    try:
        yield sink
    finally:
        await sink.aclose()
