"""Effects as HTTP requests, each with the same `Idempotency-Key` however often and by whomever it is sent.

The header is that of draft-ietf-httpapi-idempotency-key-header-07; `Actonce-Fence` carries the fence of the task (the
epoch of the claim, or the token of a lock service), so that a sink which remembers the highest it saw can refuse an
older one.

What decides between "surely not done" and "perhaps done" is whether the body had begun to leave: a server cannot act
on a request whose body it never got, and a JSON body is never empty.
"""

from __future__ import annotations

import json
import string
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import httpx

from actonce.errors import ConfigError, SinkRefused, SinkUnknown
from actonce.http_stream import GateTransport
from actonce_crdt import CrdtError, Json, pack_value

RECEIPT_BYTES_MAX = 65_536
"""Of an answer. A longer one is cut, and kept as text."""

RETRY_AFTER_S_MAX = 86_400.0
"""A sink that asks for a longer wait is asked again after this one."""

T = TypeVar("T")
Answer = tuple[int, httpx.Headers, bytes]
"""Status, headers, and as much of the content as is read."""

HEADERS_BEGIN = "http11.send_request_headers.started"
BODY_BEGINS = "http11.send_request_body.started"

VISIBLE = string.ascii_letters + string.digits + string.punctuation.replace("%", "")


class HttpSink:
    """POSTs each effect as JSON to one URL.

    Args:
        url: where effects go.
        lookup_url: where the receipt of a key can be asked for, with `{key}` in it, as `https://a.example/by-key/{key}`:
            200 means done, and its body is the receipt; 404 means not done. Without one a doubt cannot be looked up.
        headers: sent with each request, as an `Authorization`.
        timeout_s: of one whole publish or lookup, connecting included.
        dedupe_window_s: how long the other side refuses a repeated key; 0 never, `math.inf` always.
        quote_key: send the key as a structured field, `"key"` with its quotes, as the draft says; False sends it bare.

    Characters of a key that the header cannot carry, and `%`, are percent-encoded; lookups ask for the same form.
    """

    def __init__(
        self,
        url: str,
        *,
        lookup_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        dedupe_window_s: float = 0.0,
        quote_key: bool = True,
    ) -> None:
        self.url = checked_url(url)
        if lookup_url is not None and "{key}" not in lookup_url:
            raise ConfigError(f"lookup_url {lookup_url!r} has no {{key}} in it")
        self.lookup_url = None if lookup_url is None else checked_url(lookup_url)
        self.can_lookup = lookup_url is not None
        self.dedupe_window_s = dedupe_window_s
        self.publish_timeout_s = timeout_s
        self._headers = {**(headers or {}), "Accept-Encoding": "identity"}  # a small answer stays small
        if not all(name.isascii() and value.isascii() for name, value in self._headers.items()):
            raise ConfigError(f"the headers for {url} are not ASCII")
        self._quote_key = quote_key
        self._client: httpx.AsyncClient | None = None

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        """Send `body`; the answer of a 2xx is the receipt: its JSON, or its text where it is none. Never None.

        `gate` runs when the connection stands, before the first byte, and again just before the body, without which no
        server can act. What it raises passes through.

        Raises:
            SinkRefused: surely not done. Permanent for a 3xx or 4xx, but for 408, 425 and 429.
            SinkUnknown: perhaps done: 409 (the key is being worked on), 5xx, an answer cut short, or none.
        """
        try:
            content = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            raise SinkRefused(f"the body cannot be sent as JSON: {error}", permanent=True) from None
        headers = {
            **self._headers,
            "Content-Type": "application/json",
            "Idempotency-Key": f'"{escaped(self._wire_key(key))}"' if self._quote_key else self._wire_key(key),
            "Actonce-Fence": str(fence),
        }
        sending = Sending(gate)
        try:
            with anyio.fail_after(self.publish_timeout_s):
                status, answered, answer = await self._send(sending, headers, content)
        except (httpx.TransportError, TimeoutError) as error:
            reason = f"POST {self.url}: {described(error)}"
            raise SinkUnknown(reason) if sending.body_began else SinkRefused(reason) from None
        return judged(f"POST {self.url}", status, answered, answer)

    async def lookup(self, key: str) -> Json | None:
        """The receipt of the first request with this key, or None when the sink never had one.

        Raises SinkUnknown when it cannot be asked, or gives any answer but 200 and 404.
        """
        if self.lookup_url is None:
            raise SinkUnknown(f"{self.url} has no lookup_url")
        url = self.lookup_url.replace("{key}", quote(self._wire_key(key), safe=""))
        try:
            with anyio.fail_after(self.publish_timeout_s):
                async with self._one_client().stream("GET", url, headers=self._headers) as response:
                    answer = await limited(response)
        except (httpx.TransportError, TimeoutError) as error:
            raise SinkUnknown(f"GET {url}: {described(error)}") from None
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.status_code != httpx.codes.OK:
            raise SinkUnknown(f"GET {url}: {response.status_code} {response.reason_phrase}")
        return receipt_of(answer)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _send(self, sending: Sending, headers: dict[str, str], content: bytes) -> Answer:
        async def attempt(client: httpx.AsyncClient) -> Answer:
            extensions = {"trace": sending.trace}
            request = client.stream("POST", self.url, headers=headers, content=content, extensions=extensions)
            async with request as response:
                return response.status_code, response.headers, await limited(response)

        return await sending.sent(self._one_client(), self._new_client, attempt)

    def _wire_key(self, key: str) -> str:
        """One to one, of characters that survive a header: a bare value would lose the blanks at its ends."""
        return quote(key, safe=VISIBLE + (" " if self._quote_key else ""))

    def _one_client(self) -> httpx.AsyncClient:
        if self._client is None:  # not before: it belongs to the event loop of its first request
            self._client = self._new_client()
        return self._client

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=self.publish_timeout_s, transport=GateTransport())


class Sending:
    """Follows one publish through httpx's trace hook (https://www.encode.io/httpcore/extensions/#trace)."""

    def __init__(self, gate: Callable[[], None]) -> None:
        self._gate = gate
        self.reused = True
        self.body_began = False

    async def sent(
        self,
        kept: httpx.AsyncClient,
        new_client: Callable[[], httpx.AsyncClient],
        attempt: Callable[[httpx.AsyncClient], Awaitable[T]],
    ) -> T:
        """What `attempt` returns, which makes one request with our `trace`."""
        try:
            self.reused = True
            return await attempt(kept)
        except httpx.TransportError:
            # A kept connection may have died unseen. A second try is no double if at most headers can have left.
            if self.body_began or not self.reused:
                raise
        self.reused = True
        async with new_client() as fresh:
            return await attempt(fresh)

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self.reused = False
        elif event in (HEADERS_BEGIN, BODY_BEGINS) and info["request"].method in (b"POST", b"PUT"):
            self._gate()
            self.body_began = event == BODY_BEGINS


def judged(what: str, status: int, headers: Mapping[str, str], answer: bytes) -> Json:
    """The receipt, or the error that the status stands for (RFC 9110, RFC 6585, RFC 8470, the draft's section 2.7)."""
    if 200 <= status < 300:
        return receipt_of(answer)
    reason = f"{what}: {status} {answer[:200].decode('utf-8', 'replace')}".rstrip()
    retry_after_s = retry_after(headers)
    if status in (408, 425, 429) or (status == 503 and retry_after_s is not None):
        raise SinkRefused(reason, retry_after_s)
    if status == 409 or not 300 <= status < 500:
        raise SinkUnknown(reason)
    raise SinkRefused(reason, permanent=True)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds. A date counts from the answer's own `Date`, so that no clock of ours is asked."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_S_MAX)
    until, now = http_date(value), http_date(headers.get("Date", ""))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_S_MAX)


def http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date if date.tzinfo is not None else None


async def limited(response: httpx.Response) -> bytes:
    """At most one byte more than RECEIPT_BYTES_MAX of the answer."""
    answer = bytearray()
    async for chunk in response.aiter_raw(RECEIPT_BYTES_MAX):
        answer += chunk
        if len(answer) > RECEIPT_BYTES_MAX:
            break
    return bytes(answer[: RECEIPT_BYTES_MAX + 1])


def receipt_of(answer: bytes) -> Json:
    """JSON that the document can hold, else text: the effect is done, so no answer may fail here."""
    text = answer[:RECEIPT_BYTES_MAX].decode("utf-8", "replace")
    if len(answer) > RECEIPT_BYTES_MAX:
        return text
    try:
        receipt: Json = json.loads(text)
        pack_value(receipt)
    except (ValueError, RecursionError, CrdtError):
        return text
    return text if receipt is None else receipt


def described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def escaped(key: str) -> str:
    """The inside of a string of RFC 9651, section 4.1.6."""
    return key.replace("\\", "\\\\").replace('"', '\\"')


def checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url.replace("{key}", "key"))
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigError(f"{url!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"{url!r} is not an http or https URL")
    return url
