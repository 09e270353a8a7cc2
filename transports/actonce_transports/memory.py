"""The transport without a network: several replicas in one process, for tests and simulation.

`MemoryNetwork` is the world between `MemoryTransport`s, and what a test turns: frames can be held, links dropped,
processes killed. The same contract holds as for sockets, and the same suite checks it (contract_suite.py).

Deterministic: everything happens in callbacks of one scheduler, in the order of their causes, without randomness
(redials are not spread). Real time is not read; under a virtual clock nothing takes real time.

What it does not model: latency, loss inside a link (links are reliable and FIFO, like TCP), authentication.
"""

import asyncio
from collections.abc import Callable

from .contract import End, Identity, Link, Reach, Receiver
from .errors import AddressBusy, AddressInvalid, NotRunning
from .limits import Timings
from .links import LinkTable
from .memory_link import Half

__all__ = ["MemoryNetwork", "MemoryTransport"]

CallSoon = Callable[[Callable[[], None]], object]
CallLater = Callable[[float, Callable[[], None]], object]


class MemoryNetwork:
    """All transports of one little world, by address.

    Args:
        call_soon, call_later: the scheduler, with the meaning of asyncio's; by default the running event loop, looked
        up when it is needed.
    """

    def __init__(self, *, call_soon: CallSoon | None = None, call_later: CallLater | None = None) -> None:
        self._call_soon = call_soon
        self._call_later = call_later
        self._transports: dict[str, MemoryTransport] = {}  # those that run
        self._cuts: set[tuple[str, str]] = set()  # (from, to)

    # What a test turns.

    def cut(self, a: str, b: str) -> None:
        """From now on what `a` sends to `b` is held, ends of links included. One way: cut both ways for a partition.

        While one way is cut, attempts to dial between the two find the other SILENT.
        """
        self._cuts.add((a, b))

    def heal(self, a: str, b: str) -> None:
        """Undo `cut(a, b)`; what was held is delivered in order."""
        self._cuts.discard((a, b))
        for half in self._halves(b, a):
            half.pump_soon()

    def drop_link(self, a: str, b: str) -> None:
        """The connection breaks: both sides see EOF, after what was sent before."""
        for half in (*self._halves(a, b), *self._halves(b, a)):
            half.break_off()

    def kill(self, address: str) -> None:
        """The process is gone, as after kill -9: its peers see EOF after what it had sent, dials are refused, and its
        receiver hears nothing any more. A new transport may start at the address."""
        self._transport(address).die()

    # For the transports.

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run after what runs now."""
        (self._call_soon or asyncio.get_running_loop().call_soon)(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Run after `delay_s`."""
        (self._call_later or asyncio.get_running_loop().call_later)(delay_s, callback)

    def report(self, exc: Exception) -> None:
        """A callback of a receiver raised: let the scheduler have it, when the state is in order again."""

        def fail() -> None:
            raise exc

        self.call_soon(fail)

    def is_cut(self, a: str, b: str) -> bool:
        """True if what `a` sends to `b` is held."""
        return (a, b) in self._cuts

    def find(self, address: str) -> "MemoryTransport | None":
        """Who listens there."""
        return self._transports.get(address)

    def join(self, transport: "MemoryTransport") -> None:
        """A transport starts. Raises AddressBusy."""
        if transport.address in self._transports:
            raise AddressBusy(f"another transport listens on {transport.address}")
        self._transports[transport.address] = transport

    def leave(self, transport: "MemoryTransport") -> None:
        """A transport is gone."""
        if self._transports.get(transport.address) is transport:
            del self._transports[transport.address]

    def _transport(self, address: str) -> "MemoryTransport":
        transport = self.find(address)
        if transport is None:
            raise AddressInvalid(f"nobody listens on {address}")
        return transport

    def _halves(self, at: str, to: str) -> list[Half]:
        """The ends at `at` of links to `to`."""
        transport = self.find(at)
        return [half for half in transport.table.links() if half.other.home.address == to] if transport else []


class Dial:
    """What a transport remembers of an address that it keeps a link to."""

    __slots__ = ("failures", "name", "short_lives", "turn")

    def __init__(self) -> None:
        self.name = ""  # of the peer that was found there last
        self.failures = 0  # attempts since the last link
        self.short_lives = 0  # links in a row that died young
        self.turn = 0  # counts what was scheduled: only the latest counts


class MemoryTransport:
    """Implements `contract.Transport` in a MemoryNetwork. An address is any text that is not empty."""

    receiver: Receiver
    table: LinkTable[Half]

    def __init__(self, network: MemoryNetwork, address: str, *, timings: Timings | None = None) -> None:
        if not address:
            raise AddressInvalid("an address is not empty")
        self.network = network
        self._address = address
        self._timings = timings or Timings()
        self._me: Identity | None = None  # from start to stop
        self._used = False
        self._dials: dict[str, Dial] = {}

    @property
    def address(self) -> str:
        """See `Transport.address`."""
        return self._address

    async def start(self, me: Identity, receiver: Receiver) -> None:
        """See `Transport.start`. Never waits."""
        if self._used:
            raise NotRunning("a transport is started once")
        self.network.join(self)
        self._used = True
        self._me, self.receiver, self.table = me, receiver, LinkTable(me.name)

    def dial(self, address: str) -> None:
        """See `Transport.dial`."""
        self._check(address)
        if address not in self._dials:
            self._dials[address] = Dial()
            self._attempt_after(address, 0)

    def undial(self, address: str) -> None:
        """See `Transport.undial`."""
        self._dials.pop(address, None)

    def probe(self, address: str, done: Callable[[Reach], None]) -> None:
        """See `Transport.probe`."""
        self._check(address)

        def look() -> None:
            if self._me is not None:
                done(self._reach(address))

        self.network.call_soon(look)

    async def stop(self) -> None:
        """See `Transport.stop`. Never waits."""
        if self._me is None:
            return
        self._me = None
        self._dials.clear()
        self.network.leave(self)
        for half in self.table.links():
            half.finish(End.CLOSED)

    # For the network and the links (memory_link.Home).

    def held(self, sender: str) -> bool:
        """True while what comes from there is held."""
        return self.network.is_cut(sender, self.address)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run after what runs now."""
        self.network.call_soon(callback)

    def report(self, exc: Exception) -> None:
        """A callback of the receiver raised."""
        self.network.report(exc)

    def die(self) -> None:
        """See `MemoryNetwork.kill`."""
        self._me = None
        self._dials.clear()
        self.network.leave(self)
        for half in self.table.links():
            half.vanish()

    def link_ended(self, name: str) -> None:
        """A link to `name` has ended: dial again if we are to keep one."""
        for address, dial in self._dials.items():
            if dial.name == name:
                # The first redial is immediate; a link that dies again and again must not make a busy loop.
                dial.failures = dial.short_lives
                dial.short_lives += 1
                self._attempt_after(address, self._timings.backoff_s(dial.failures, 0))

    # Private.

    def _check(self, address: str) -> None:
        if self._me is None:
            raise NotRunning("the transport is not running: start it first")
        if not address:
            raise AddressInvalid("an address is not empty")

    def _attempt_after(self, address: str, delay_s: float) -> None:
        dial = self._dials[address]
        dial.turn += 1
        turn = dial.turn

        def attempt() -> None:
            if self._dials.get(address) is dial and dial.turn == turn:
                self._attempt(address, dial)

        if delay_s:
            self.network.call_later(delay_s, attempt)
        else:
            self.network.call_soon(attempt)

    def _reach(self, address: str) -> Reach:
        if self.network.is_cut(self.address, address) or self.network.is_cut(address, self.address):
            return Reach.SILENT
        return Reach.OPEN if self.network.find(address) is not None else Reach.REFUSED

    def _attempt(self, address: str, dial: Dial) -> None:
        if dial.name and self.table.link(dial.name) is not None:
            return  # its end will wake us
        reach, peer = self._reach(address), self.network.find(address)
        reason = f"nobody listens on {address}" if reach is Reach.REFUSED else f"{address} did not answer"
        if reach is Reach.OPEN:
            assert peer is not None
            denial = self._denial(peer)
            if denial is None:
                self._connect(peer, address, dial)
                return
            reach, reason = Reach.DENIED, denial
        dial.failures += 1
        self._attempt_after(address, self._timings.backoff_s(dial.failures, 0))
        try:
            self.receiver.dial_failed(address, reach, reason)
        except Exception as exc:
            self.network.report(exc)

    def _denial(self, peer: "MemoryTransport") -> str | None:
        """Why one of the two sides does not want the link, or None."""
        assert self._me is not None
        assert peer._me is not None
        for side, other, dialed in ((peer, self._me, False), (self, peer._me, True)):
            try:
                reason = side.receiver.accept(other, dialed)
            except Exception as exc:
                self.network.report(exc)
                reason = "a fault at the other end"
            if reason is not None:
                return reason
        return f"both ends are named {self._me.name!r}" if self._me.name == peer._me.name else None

    def _connect(self, peer: "MemoryTransport", address: str, dial: Dial) -> None:
        assert self._me is not None
        assert peer._me is not None
        dial.name = peer._me.name
        ours = Half(self, peer._me, dialed=True, address=address)
        theirs = Half(peer, self._me, dialed=False, address="")
        ours.other, theirs.other = theirs, ours
        leader, follower = (ours, theirs) if self.table.leads(ours) else (theirs, ours)
        ready = follower.home.table.offer(follower)
        assert ready is not None
        chosen, replaced = leader.home.table.choose(leader, ready)
        if not chosen:
            # The peer holds the link that we miss: its end is on the way to it, held perhaps.
            follower.home.table.drop(follower)
            dial.failures += 1
            self._attempt_after(address, self._timings.backoff_s(dial.failures, 0))
            return
        if replaced is not None:
            replaced.finish(End.REPLACED)
        _, replaced = follower.home.table.obey(follower, leader.go)
        if replaced is not None:
            replaced.finish(End.REPLACED)
        dial.failures = 0
        self._settle_later(ours, dial)
        leader.rise()
        follower.rise()

    def _settle_later(self, link: Link, dial: Dial) -> None:
        """A link that lives long enough resets the backoff."""

        def settle() -> None:
            if self.table.link(dial.name) is link:
                dial.short_lives = 0

        self.network.call_later(self._timings.stable_s, settle)
