"""The transport for production: websockets over TCP, and plain HTTP on the same port."""

import asyncio
import errno
import random
from collections.abc import Callable
from os import urandom
from socket import SOCK_STREAM

from .address import Address, check_secret, is_loopback, parse_address
from .connection import Hub
from .contract import Identity, Reach, Receiver
from .dialer import Dialer, Unreached, connect
from .errors import AddressBusy, AddressInvalid, NotRunning, SecretNeeded
from .http import HttpHandler, HttpRequest, HttpResponse
from .limits import Timings
from .listener import Listener

__all__ = ["WebsocketTransport"]


async def no_pages(request: HttpRequest) -> HttpResponse:
    """The HTTP handler of a transport that was given none."""
    return HttpResponse(404, b"no pages here\n")


class WebsocketTransport:
    """Implements `contract.Transport`.

    Args:
        listen: `host:port`; port 0 takes a free one. A name is resolved once, and its first address is listened on.
        secret: shared by all replicas of the mesh; needed as soon as an address leaves this host.
        http: answers HTTP requests on the same port.
        nonce: gives n random bytes, unpredictable and never repeated.
        jitter: gives numbers in [0, 1) that spread redials.
        timings: all waits.

    `address` names the host as `listen` does: a transport that listens on 0.0.0.0 cannot know its own address.
    """

    def __init__(
        self,
        listen: str = "127.0.0.1:7420",
        secret: bytes | None = None,
        http: HttpHandler | None = None,
        *,
        nonce: Callable[[int], bytes] = urandom,
        jitter: Callable[[], float] = random.random,
        timings: Timings | None = None,
    ) -> None:
        self._address = parse_address(listen, any_port=True)
        check_secret(self._address, secret)
        self._secret = secret
        self._http = http or no_pages
        self._nonce = nonce
        self._jitter = jitter
        self._timings = timings or Timings()
        self._hub: Hub | None = None  # from start to stop
        self._listener: Listener | None = None
        self._started = False
        self._dialers: dict[str, Dialer] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # dialers on their way out, and probes

    @property
    def address(self) -> str:
        """See `Transport.address`."""
        return str(self._address)

    async def start(self, me: Identity, receiver: Receiver) -> None:
        """See `Transport.start`."""
        if self._started:
            raise NotRunning("a transport is started once")
        loop = asyncio.get_running_loop()
        hub = Hub(
            me,
            receiver,
            secret=self._secret,
            nonce=self._nonce,
            timings=self._timings,
            link_ended=self._link_ended,
        )
        listener = Listener(hub, self._http)
        try:
            found = await loop.getaddrinfo(self._address.host, self._address.port, type=SOCK_STREAM)
            host = str(found[0][4][0])
            if self._secret is None and not is_loopback(host):
                raise SecretNeeded(f"{self._address} resolves to {host}, which is not on this host: a secret is needed")
            port = listener.listen(host, self._address.port)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise AddressBusy(f"another process listens on {self._address}") from None
            why = str(exc.strerror).partition(" (while attempting")[0]  # which names the address again
            raise AddressInvalid(f"cannot listen on {self._address}: {why}") from None
        self._address = Address(self._address.host, port)
        self._hub, self._listener, self._started = hub, listener, True

    def dial(self, address: str) -> None:
        """See `Transport.dial`."""
        hub, parsed = self._running(), self._parse(address)
        if address not in self._dialers:
            self._dialers[address] = Dialer(hub, address, parsed, self._jitter)

    def undial(self, address: str) -> None:
        """See `Transport.undial`."""
        dialer = self._dialers.pop(address, None)
        if dialer is not None:
            dialer.stop()
            self._keep(dialer.task)

    def probe(self, address: str, done: Callable[[Reach], None]) -> None:
        """See `Transport.probe`."""
        hub, parsed = self._running(), self._parse(address)
        self._keep(hub.loop.create_task(self._probe(hub, parsed, done), name=f"probe {address}"))

    async def stop(self) -> None:
        """See `Transport.stop`. Stopping again, or before the start, does nothing."""
        hub, listener = self._hub, self._listener
        if hub is None or listener is None:
            return
        self._hub = None
        for address in list(self._dialers):
            self.undial(address)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await listener.close()
        connections = list(hub.connections)
        for connection in connections:
            connection.stop()
        # Each connection cuts itself after `close_s`, and so does the listener.
        await asyncio.gather(*(connection.gone_event.wait() for connection in connections))
        await listener.wait_closed(self._timings.close_s)

    # Private.

    def _running(self) -> Hub:
        if self._hub is None:
            raise NotRunning("the transport is not running: start it first")
        return self._hub

    def _parse(self, address: str) -> Address:
        parsed = parse_address(address)
        check_secret(parsed, self._secret)
        return parsed

    def _link_ended(self) -> None:
        for dialer in self._dialers.values():
            dialer.link_ended()

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it is done: the loop itself holds it only weakly."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _probe(self, hub: Hub, address: Address, done: Callable[[Reach], None]) -> None:
        anywhere = self._secret is not None
        try:
            transport = await connect(address, asyncio.Protocol, within_s=self._timings.probe_s, anywhere=anywhere)
        except Unreached as failure:
            reach = failure.reach
        else:
            assert isinstance(transport, asyncio.Transport)
            transport.close()
            reach = Reach.OPEN
        try:
            done(reach)
        except Exception as exc:
            hub.report(exc)
