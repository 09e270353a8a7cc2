"""Requests to a Matrix homeserver, and what its answers mean (client-server API v1.15, sections 2 and 3).

Whatever a server sends, an answer is a JSON object with status 200, or a `MatrixError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

import anyio
import httpx

from actonce.errors import ActonceError, ConfigError
from actonce.http_sink import RETRY_AFTER_S_MAX, Sending, checked_url, described, http_date, retry_after
from actonce.http_stream import GateTransport

API = "/_matrix/client/v3"
ANSWER_BYTES_MAX = 32 * 1_048_576
"""Of what is asked for. A longer answer is an error; a sync of a hundred rooms has some hundred kilobytes."""
SENT_BYTES_MAX = 65_536
"""Of the answer to what was sent: an event id."""
CHUNK_BYTES = 65_536
ID_BYTES_MAX = 255
ERROR_CHARS_MAX = 200


class MatrixError(ActonceError):
    """No usable answer of the homeserver."""

    def __init__(self, reason: str, *, status: int = 0, code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        """Of HTTP; 0 when there was no whole answer."""
        self.code = code
        """The server's errcode, as `M_FORBIDDEN`; empty where it gave none."""
        self.retry_after_s = retry_after_s
        """How long the server asked us to wait, where it did."""

    @property
    def is_limit(self) -> bool:
        """Too many requests: not done, and to be repeated later."""
        return self.status == 429 or self.code == "M_LIMIT_EXCEEDED"


class Homeserver:
    """One homeserver, as one access token sees it."""

    def __init__(self, url: str, token: str) -> None:
        """
        Args:
            url: as `https://matrix.example`.
            token: an access token, as logging in returns it.

        Raises:
            ConfigError: not a URL, or nothing that can be a token.
        """
        self.url = checked_url(url).rstrip("/")
        if not token:
            raise ConfigError(f"the access token for {url} is empty: log in and give the access_token of the answer")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ConfigError(f"the access token for {url} has blanks or other characters that no token has")
        self._headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
        self.answered_ms: float | None = None
        """The server's own time at its last answer, in unix milliseconds, to the second; None if it never told."""
        self._client: httpx.AsyncClient | None = None

    async def get(self, path: str, params: Mapping[str, str | int], timeout_s: float) -> dict[str, Any]:
        """The answer to a GET below the API's root.

        Raises:
            MatrixError: any other answer than 200 with a JSON object, or none within `timeout_s`.
        """
        return await self._asked("GET", path, timeout_s, params=params)

    async def post(self, path: str, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """As `get`."""
        return await self._asked("POST", path, timeout_s, json=body)

    async def put(self, path: str, content: bytes, gate: Callable[[], None], timeout_s: float) -> dict[str, Any]:
        """As `get`. `gate` runs before the first byte, and again just before the body: see `Sending`.

        Raises:
            NotSent: no byte of the body can have left.
            MatrixError: as `get`; the request may have been acted upon.
        """
        what, sending = f"{self.url}: PUT {unquote(path.rpartition('/')[0])}", Sending(gate)
        headers = {**self._headers, "Content-Type": "application/json"}
        request = {"headers": headers, "content": content, "extensions": {"trace": sending.trace}}

        async def attempt(client: httpx.AsyncClient) -> dict[str, Any]:
            return await self._request(client, what, "PUT", path, **request)

        try:
            with anyio.fail_after(timeout_s):
                return await sending.sent(self._one_client(), new_client, attempt)
        except (httpx.TransportError, TimeoutError) as error:
            reason = f"{what}: {described(error)}"
            raise MatrixError(reason) if sending.body_began else NotSent(reason) from None

    async def user(self, timeout_s: float) -> str:
        """Whose token it is. Raises as `get`."""
        user = (await self.get("/account/whoami", {}, timeout_s)).get("user_id")
        if not isinstance(user, str) or not is_id(user, "@"):
            raise MatrixError(f"{self.url}: the answer to /account/whoami has no user_id: not a homeserver?")
        return user

    async def aclose(self) -> None:
        """Let go of connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _asked(self, method: str, path: str, timeout_s: float, **request: Any) -> dict[str, Any]:
        what = f"{self.url}: {method} {unquote(path)}"
        try:
            with anyio.fail_after(timeout_s):
                return await self._request(self._one_client(), what, method, path, headers=self._headers, **request)
        except (httpx.TransportError, TimeoutError) as error:
            raise MatrixError(f"{what}: {described(error)}") from None

    async def _request(
        self, client: httpx.AsyncClient, what: str, method: str, path: str, **request: Any
    ) -> dict[str, Any]:
        limit = SENT_BYTES_MAX if method == "PUT" else ANSWER_BYTES_MAX
        async with client.stream(method, f"{self.url}{API}{path}", **request) as response:
            answer = bytearray()
            async for chunk in response.aiter_raw(CHUNK_BYTES):
                answer += chunk
                if len(answer) > limit:
                    raise MatrixError(f"{what}: an answer of more than {limit} bytes")
            date = http_date(response.headers.get("Date", ""))
            self.answered_ms = None if date is None else date.timestamp() * 1000
            return understood(what, response.status_code, response.headers, bytes(answer))

    def _one_client(self) -> httpx.AsyncClient:
        if self._client is None:  # not before: it belongs to the event loop of its first request
            self._client = new_client()
        return self._client


class NotSent(MatrixError):
    """The request surely had no effect: its body never left."""


def new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=None, transport=GateTransport())  # each request has a limit of its own


def understood(what: str, status: int, headers: Mapping[str, str], answer: bytes) -> dict[str, Any]:
    """The JSON object of a 200, or the error that the answer stands for. Section 2.1, "Standard error response"."""
    try:
        parsed: Any = json.loads(answer)
    except (ValueError, RecursionError):
        parsed = None
    if status == 200 and isinstance(parsed, dict):
        return parsed
    known = parsed if isinstance(parsed, dict) else {}
    code, said = known.get("errcode"), known.get("error")
    code = code if isinstance(code, str) else ""
    shown = plain(f"{code} {said}") if code else answer[:ERROR_CHARS_MAX].decode("utf-8", "replace")
    hint = "; log in again, and start with the new access token" if status == 401 else ""
    raise MatrixError(
        f"{what}: {status} {shown[:ERROR_CHARS_MAX]}".rstrip() + hint,
        status=status,
        code=plain(code[:ERROR_CHARS_MAX]),
        retry_after_s=wait_asked_for(headers, known.get("retry_after_ms")),
    )


def wait_asked_for(headers: Mapping[str, str], retry_after_ms: object) -> float | None:
    """Seconds. `retry_after_ms` is exact, and still sent beside the header of v1.10, which has whole seconds."""
    if isinstance(retry_after_ms, int | float) and not isinstance(retry_after_ms, bool) and retry_after_ms >= 0:
        return min(retry_after_ms, RETRY_AFTER_S_MAX * 1000) / 1000
    return retry_after(headers)


def part(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")


def plain(text: str) -> str:
    """Without the lone surrogates that JSON can smuggle in, and no document can hold."""
    return text.encode("utf-8", "replace").decode()


def is_id(text: object, sigil: str) -> bool:
    """Whether it can be an identifier of the specification's appendix 4.2: `!room`, `$event`, `@user`."""
    return (
        isinstance(text, str)
        and text.startswith(sigil)
        and 1 < len(text.encode("utf-8", "replace")) <= ID_BYTES_MAX
        and text.isprintable()
    )
