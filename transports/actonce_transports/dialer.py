"""Reaching addresses: one TCP connection (`connect`), and a link that is kept (`Dialer`)."""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable

from .address import Address, is_loopback
from .connection import Connection, Hub, Outcome
from .contract import Reach
from .websocket_messages import client_protocol

__all__ = ["Dialer", "Unreached", "connect"]

# This host cannot speak to that family of addresses at all: no evidence about the other end.
NO_SUCH_FAMILY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH}


class Unreached(Exception):
    """No TCP connection: REFUSED or SILENT, and why."""

    def __init__(self, reach: Reach, reason: str) -> None:
        super().__init__(reason)
        self.reach = reach
        self.reason = reason


async def connect(
    address: Address, factory: Callable[[], asyncio.BaseProtocol], *, within_s: float, anywhere: bool
) -> asyncio.BaseTransport:
    """Open one TCP connection to the first of the host's IP addresses that accepts it.

    `anywhere` False: only to loopback addresses, whatever the name resolves to. Raises Unreached; REFUSED only if each
    address that this host can speak to has refused.
    """
    try:
        async with asyncio.timeout(within_s):
            hosts = await _resolve(address)
            failures: list[OSError] = []
            for host in hosts:
                if not anywhere and not is_loopback(host):
                    continue
                try:
                    return (await asyncio.get_running_loop().create_connection(factory, host, address.port))[0]
                except OSError as exc:
                    failures.append(exc)
    except TimeoutError:
        raise Unreached(Reach.SILENT, f"{address} did not answer within {within_s:g} s") from None
    except OSError as exc:
        raise Unreached(Reach.SILENT, f"{address.host} cannot be resolved: {exc.strerror}") from None
    except UnicodeError:  # it is encoded for DNS first, which has limits of its own
        raise Unreached(Reach.SILENT, f"{address.host} cannot be resolved: a part of it is empty or too long") from None
    telling = [exc for exc in failures if exc.errno not in NO_SUCH_FAMILY]
    if telling and all(isinstance(exc, ConnectionRefusedError) for exc in telling):
        raise Unreached(Reach.REFUSED, f"nobody listens on {address}")
    why = next((str(exc) for exc in telling or failures), "no address of it is on this host")
    raise Unreached(Reach.SILENT, f"{address} cannot be reached: {why}")


async def _resolve(address: Address) -> list[str]:
    try:
        return [str(ipaddress.ip_address(address.host))]
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in found))


class Dialer:
    """Keeps one link to whoever listens at an address.

    Args:
        hub: of the transport.
        text: the address as the caller wrote it; he gets it back in `Link.address` and `dial_failed`.
        address: the same, parsed.
        jitter: gives numbers in [0, 1).
    """

    def __init__(self, hub: Hub, text: str, address: Address, jitter: Callable[[], float]) -> None:
        self._hub = hub
        self._text = text
        self._address = address
        self._jitter = jitter
        self._name = ""  # of the peer that was found here last
        self._wake = asyncio.Event()
        self.task = hub.loop.create_task(self._run(), name=f"dial {text}")

    def link_ended(self) -> None:
        """Some link has ended: see whether it was ours."""
        self._wake.set()

    def stop(self) -> None:
        """Give up, an attempt under way too. A link stays."""
        self.task.cancel()

    async def _run(self) -> None:
        timings = self._hub.timings
        failures = 0  # attempts since the last link
        short_lives = 0  # links in a row that died young
        linked = False
        while True:
            since_s = self._hub.loop.time()
            if await self._while_linked() or linked:
                short_lives = 0 if self._hub.loop.time() - since_s >= timings.stable_s else short_lives + 1
                # The first redial is immediate; a link that dies again and again must not make a busy loop.
                failures = max(0, short_lives - 1)
                linked = False
            if failures:
                await asyncio.sleep(timings.backoff_s(failures, self._jitter()))
                if self._linked:
                    continue
            outcome = await self._attempt()
            linked = outcome.reach is Reach.OPEN and not outcome.duplicate
            if not linked:
                failures += 1
            if outcome.reach is not Reach.OPEN:
                self._report(outcome)

    @property
    def _linked(self) -> bool:
        return bool(self._name) and self._hub.table.link(self._name) is not None

    async def _while_linked(self) -> bool:
        """Wait as long as there is a link to our peer, whoever dialed it. False: there was none."""
        waited = False
        while self._linked:
            waited = True
            self._wake.clear()
            await self._wake.wait()
        return waited

    async def _attempt(self) -> Outcome:
        made: list[Connection] = []

        def factory() -> asyncio.BaseProtocol:
            made.append(Connection(self._hub, client_protocol(self._address), address=self._text))
            return made[-1].socket

        anywhere = self._hub.secret is not None
        try:
            await connect(self._address, factory, within_s=self._hub.timings.connect_s, anywhere=anywhere)
            outcome = await asyncio.shield(made[-1].settled)
        except Unreached as failure:
            return Outcome(failure.reach, failure.reason)
        except asyncio.CancelledError:
            for connection in made:
                connection.give_up()
            raise
        if made[-1].peer is not self._hub.me:
            self._name = made[-1].peer.name
        return outcome

    def _report(self, outcome: Outcome) -> None:
        try:
            self._hub.receiver.dial_failed(self._text, outcome.reach, outcome.reason)
        except Exception as exc:
            self._hub.report(exc)
