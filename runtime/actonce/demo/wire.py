"""A small HTTP/1.1 client for many small requests: connections are kept, and cost a tenth of a general client's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import h11

from actonce.errors import ActonceError

READ_BYTES = 65_536


class Unreached(ActonceError):
    """No answer: refused, reset, silent for too long, or not HTTP."""


class Wire:
    """One kept connection to `host:port`, for one request at a time."""

    def __init__(self, port: int, host: str = "127.0.0.1", headers: Sequence[tuple[str, str]] = ()) -> None:
        """`headers` go with each request."""
        self.port, self.host = port, host
        self._headers = [("Host", f"{host}:{port}"), *headers]
        self._http = h11.Connection(h11.CLIENT)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, body: object = None, *, limit_s: float) -> tuple[int, Any]:
        """Status and JSON of the answer.

        A request that fails is not sent again: the caller knows whether that is safe.

        Raises:
            Unreached: no answer within `limit_s`. The request may have arrived.
        """
        try:
            async with asyncio.timeout(limit_s):
                return await self._ask(method, target, b"" if body is None else json.dumps(body).encode())
        except TimeoutError:
            self.close()
            raise Unreached(f"no answer from {self.host}:{self.port} within {limit_s:g} s") from None
        except (OSError, h11.ProtocolError, ValueError) as error:
            self.close()
            raise Unreached(f"no answer from {self.host}:{self.port}: {error}") from None
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next request makes another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _ask(self, method: str, target: str, content: bytes) -> tuple[int, Any]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
            self._http = h11.Connection(h11.CLIENT)
        reader, writer = self._streams
        headers = [*self._headers, ("Content-Length", str(len(content)))]
        head = h11.Request(method=method, target=target, headers=[*headers, ("Content-Type", "application/json")])
        parts = [self._http.send(head), self._http.send(h11.Data(data=content)), self._http.send(h11.EndOfMessage())]
        writer.write(b"".join(part for part in parts if part))
        status, answer = 0, bytearray()
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA:
                    self._http.receive_data(await reader.read(READ_BYTES))
                case h11.Response():
                    status = event.status_code
                case h11.Data():
                    answer += event.data
                case h11.EndOfMessage():
                    break
                case h11.ConnectionClosed():
                    raise ConnectionResetError("closed without an answer")
        if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is h11.MUST_CLOSE:
            self.close()
        else:
            self._http.start_next_cycle()
        return status, json.loads(answer)
