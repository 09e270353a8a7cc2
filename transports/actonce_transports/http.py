"""Plain HTTP/1.1 on a replica's port, as records: what comes in, what goes out. Pure: sockets are in listener_http.py.

Small requests and small answers, whole in memory: enough for submitting tasks, health and metrics. No streaming, no
TLS, no cookies. Who may ask for what is the handler's business: see `HttpRequest.loopback` and the note on browsers
in the README.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

__all__ = ["HttpHandler", "HttpRequest", "HttpResponse", "is_websocket", "make_request", "response_headers"]

QUERY_FIELDS_MAX = 100
"""The most `name=value` pairs in a query."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request.

    `path` is percent-decoded. `query` has the last value of each name, `headers` lower-case names and repeated values
    joined by ", ". `loopback` tells that the client is on this host.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    loopback: bool


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One answer. Content-Length is added, and Content-Type (plain text) if there is a body and it is missing."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Answers a request, on the transport's event loop: it must not block. An exception becomes a 500 and is logged."""

UPGRADE = re.compile(rb"^upgrade:[ \t]*websocket[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


def is_websocket(head: bytes) -> bool:
    """True if a request with this head wants a websocket (RFC 6455, section 4.2.1); websockets judges the details."""
    return head.startswith(b"GET ") and UPGRADE.search(head) is not None


def make_request(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes, *, loopback: bool
) -> HttpRequest:
    """Build a request from what was parsed. Raises ValueError if the target makes no sense."""
    path, _, query = target.decode("latin-1").partition("?")
    if not path.startswith("/"):
        raise ValueError("the target of a request starts with /")
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    fields = parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    return HttpRequest(method.decode("latin-1"), unquote(path), dict(fields), joined, body, loopback)


def response_headers(response: HttpResponse) -> list[tuple[str, str]]:
    """All headers of an answer, in order."""
    given = {name.lower() for name in response.headers}
    headers = list(response.headers.items())
    if response.body and "content-type" not in given:
        headers.append(("content-type", "text/plain; charset=utf-8"))
    if "content-length" not in given:
        headers.append(("content-length", str(len(response.body))))
    return headers
