"""The HTTP side of an accepted connection: h11 parses, a handler answers, one request after the other."""

import asyncio
import logging
from collections.abc import Callable

import h11

from .http import HttpHandler, HttpRequest, HttpResponse, make_request, response_headers
from .limits import HEAD_BYTES_MAX, HTTP_BODY_BYTES_MAX, Timings

__all__ = ["HttpConnection"]

METHODS = ("GET", "POST")

logger = logging.getLogger("actonce.transports")


class HttpConnection(asyncio.Protocol):
    """One HTTP connection, with keep-alive.

    While a request is answered nothing more is read, so that at most one request of a connection is in memory. A client
    who goes away does not stop its handler: what was asked for may be half done.

    Args:
        handler: answers requests.
        loopback: the client is on this host.
        timings: waits.
        gone: called once, when the connection is gone.
    """

    def __init__(self, handler: HttpHandler, *, loopback: bool, timings: Timings, gone: Callable[[], None]) -> None:
        self._handler = handler
        self._loopback = loopback
        self._timings = timings
        self._gone = gone
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wait(self._timings.http_idle_s)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # lingering: the answer is sent, and what still comes is not wanted
        self._receive(data)

    def eof_received(self) -> bool:
        if not self._closing:
            self._receive(b"")
        # Half-closed clients still get their answer.
        return self._task is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._wait(None)
        self._gone()

    def stop(self) -> None:
        """Finish the request that is being answered, take no other."""
        if self._task is None:
            self._close()
        self._closing = True

    def cut(self) -> None:
        """End at once, in the middle of an answer too."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    # Private.

    def _wait(self, seconds: float | None) -> None:
        """The connection is cut after `seconds`; None: not."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.cut) if seconds is not None else None

    def _receive(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
            self._advance()
        except Exception:
            self._fault()

    def _fault(self) -> None:
        """A bug, here or in h11: it must be seen, and cost no more than this connection."""
        logger.exception("cannot go on with what an HTTP client sent")
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        try:
            while self._task is None and not self._closing:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    if self._h11.they_are_waiting_for_100_continue:
                        self._write(h11.InformationalResponse(status_code=100, headers=[]))
                    return
                if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    self._close()
                elif isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > HTTP_BODY_BYTES_MAX:
                        self._too_large()
                elif isinstance(event, h11.EndOfMessage):
                    self._answer()
        except h11.RemoteProtocolError as exc:
            self._last(HttpResponse(exc.error_status_hint, f"{exc}\n".encode()))

    def _begin(self, request: h11.Request) -> None:
        self._wait(self._timings.http_idle_s)  # from here on the whole request must come within it
        self._request = request
        self._body.clear()
        length = dict(request.headers).get(b"content-length", b"0")
        if request.method.decode("latin-1") not in METHODS:
            self._last(HttpResponse(405, b"only GET and POST\n", {"allow": ", ".join(METHODS)}))
        elif int(length) > HTTP_BODY_BYTES_MAX:
            self._too_large()

    def _too_large(self) -> None:
        self._last(HttpResponse(413, f"a body has at most {HTTP_BODY_BYTES_MAX} bytes\n".encode()))

    def _answer(self) -> None:
        assert self._request is not None
        assert self._transport is not None
        given = self._request
        try:
            headers = list(given.headers)
            request = make_request(given.method, given.target, headers, bytes(self._body), loopback=self._loopback)
        except ValueError as exc:
            self._last(HttpResponse(400, f"{exc}\n".encode()))
            return
        self._body.clear()
        self._wait(None)
        self._transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._run(request), name=f"http {request.path[:80]}")

    async def _run(self, request: HttpRequest) -> None:
        try:
            response = await self._handler(request)
            head = h11.Response(status_code=response.status, headers=response_headers(response))
        except Exception:
            logger.exception("the handler of %s %s raised", request.method, request.path)
            response = HttpResponse(500, b"the handler failed; the log of this replica says why\n")
            head = h11.Response(status_code=500, headers=response_headers(response))
        finally:
            self._task = None
        try:
            self._send(head, response)
        except Exception:
            self._fault()

    def _send(self, head: h11.Response, response: HttpResponse) -> None:
        if self._transport is None:
            return
        self._write(head)
        asked = self._request.method if self._request is not None else b""
        if response.body and asked != b"HEAD":  # which is answered with the headers alone
            self._write(h11.Data(data=response.body))
        self._write(h11.EndOfMessage())
        if self._closing or self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            self._close()
            return
        self._h11.start_next_cycle()
        self._wait(self._timings.http_idle_s)
        self._transport.resume_reading()
        self._advance()

    def _last(self, response: HttpResponse) -> None:
        """Answer, then close."""
        self._closing = True
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._close()
            return
        headers = [*response_headers(response), ("connection", "close")]
        self._send(h11.Response(status_code=response.status, headers=headers), response)

    def _write(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        """Send the end of our stream, then read and forget for a while, so that no reset overtakes the answer."""
        self._closing = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._transport.write_eof()
            self._wait(self._timings.close_s)
