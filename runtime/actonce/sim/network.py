"""A simulated network: links with delay, cuts that hold what is sent, ends that everybody sees in order."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from actonce.sim.process import Process
from actonce_transports import End, Identity, Reach, Receiver

CONNECT_TIMEOUT_S = 1.0
REDIAL_S = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
RETRANSMIT_S = (0.2, 0.4)
QUEUE_BYTES_MAX = 8 * 1024 * 1024


@dataclass(slots=True)
class Network:
    """All links of one simulation. Delays are seconds, drawn per frame; a link keeps its order."""

    rng: random.Random
    delay_s: tuple[float, float] = (0.0002, 0.002)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    hosts: dict[str, SimTransport] = field(default_factory=dict)
    cuts: set[tuple[str, str]] = field(default_factory=set)
    """(from, to) names between which nothing arrives; what is sent waits, as in a TCP socket."""
    held: dict[tuple[str, str], list[Callable[[], None]]] = field(default_factory=dict)
    slow_s: dict[frozenset[str], float] = field(default_factory=dict)
    """Further delay between two names."""
    slow_peers_s: dict[str, float] = field(default_factory=dict)
    """Further delay from and to one name."""
    loss: float = 0.0
    """Share of frames that a packet loss holds up for a retransmission, and with them all that follow."""
    reset: float = 0.5
    """Share of kills that reset connections and lose the tail of what was under way (as when data was unread)."""
    bytes_per_s: float = math.inf
    """What one direction of a link carries."""
    frames: int = 0
    linked: Callable[[Process, Process, bool], None] = lambda one, other, up: None
    """Told when two processes get connected, and when one side of their connection ends."""
    inspect: Callable[[Process, bytes], None] = lambda process, frame: None
    """Sees every frame that a process sends."""

    def cut(self, *sides: set[str]) -> None:
        """Partition into these sides, both ways."""
        for here in sides:
            for there in sides:
                if here is not there:
                    self.cuts |= {(a, b) for a in here for b in there}

    def heal(self) -> None:
        """All cuts end; what was held arrives."""
        for source, target in sorted(self.cuts):
            self.uncut(source, target)

    def drop(self, one: str, other: str) -> None:
        """The connection between the two breaks, if there is one."""
        link = self.hosts[one].links.get(other) if one in self.hosts else None
        if link is not None:
            link.broken()
            link.other.broken()

    def uncut(self, source: str, target: str) -> None:
        """This direction works again; what was held arrives, in order."""
        self.cuts.discard((source, target))
        for arrive in self.held.pop((source, target), []):
            arrive()

    def carry(self, source: str, target: str, at: float, arrive: Callable[[], None]) -> None:
        """Run `arrive` at time `at`, or after the cut from `source` to `target` ends."""

        def land() -> None:
            if (source, target) in self.cuts:
                self.held.setdefault((source, target), []).append(arrive)
            else:
                arrive()

        self.loop.call_at(at, land)

    def delay(self, one: str, other: str) -> float:
        """Of one frame, or one packet of a handshake."""
        lost_s = self.rng.uniform(*RETRANSMIT_S) if self.loss and self.rng.random() < self.loss else 0.0
        slow_s = self.slow_peers_s.get(one, 0.0) + self.slow_peers_s.get(other, 0.0)
        return self.rng.uniform(*self.delay_s) + self.slow_s.get(frozenset((one, other)), 0.0) + slow_s + lost_s


class SimLink:
    """One side of a link."""

    def __init__(self, network: Network, transport: SimTransport, peer: Identity, address: str) -> None:
        self.network, self.transport, self.peer, self.address = network, transport, peer, address
        self.dialed = bool(address)
        self.other: SimLink
        self.open = True
        self.queued_bytes = 0
        self._last_arrival = 0.0
        self._under_way: deque[Callable[[], None]] = deque()

    def send(self, frame: bytes) -> bool:
        world = self.transport.world
        if not self.open or world.dead or self.queued_bytes + len(frame) > QUEUE_BYTES_MAX:
            return False
        world.point()
        self.network.frames += 1
        self.network.inspect(world, frame)
        self.queued_bytes += len(frame)
        self._carry(lambda: self._arrive(frame), len(frame))
        return True

    def close(self, goodbye: bool = True) -> None:
        if self.open:
            self.end(End.CLOSED)
            self._carry(lambda: self.other.end(End.CLOSED if goodbye else End.EOF))

    def end(self, how: End) -> None:
        """This side is told that the link is over, once."""
        if self.open:
            self.open = False
            self.network.linked(self.transport.world, self.other.transport.world, False)
            self.transport.links.pop(self.peer.name, None)
            self.transport.world.guard(lambda: self.transport.receiver.link_down(self, how))
            self.transport.redial()

    def killed(self) -> None:
        """This side's process is gone: the kernel still delivers what was sent, or resets and loses its tail."""
        self.open = False
        network = self.network
        if self._under_way and network.rng.random() < network.reset:
            for _ in range(network.rng.randint(1, len(self._under_way))):
                self._under_way.pop()
        self._carry(lambda: self.other.end(End.EOF))

    def broken(self) -> None:
        """The connection breaks: what is under way is lost."""
        self._under_way.clear()
        self.end(End.EOF)

    def _arrive(self, frame: bytes) -> None:
        self.queued_bytes -= len(frame)
        other = self.other
        other.transport.world.guard(lambda: other.deliver(frame))

    def deliver(self, frame: bytes) -> None:
        if self.open:
            self.transport.receiver.frame(self, frame)

    def _carry(self, arrive: Callable[[], None], size: int = 0) -> None:
        # Never before what was sent earlier; equal times keep their order in asyncio's heap only by luck.
        here, there = self.transport.name, self.other.transport.name
        at = max(self.network.loop.time() + self.network.delay(here, there), self._last_arrival + 1e-7)
        at += size / self.network.bytes_per_s
        self._last_arrival = at
        self._under_way.append(arrive)
        self.network.carry(here, there, at, self._land)

    def _land(self) -> None:
        """The next of what is under way, if it was not lost."""
        if self._under_way:
            self._under_way.popleft()()


class SimTransport:
    """`Transport` of one simulated process."""

    def __init__(self, network: Network, world: Process, name: str) -> None:
        self.network, self.world, self.name = network, world, name
        self.address = name
        self.links: dict[str, SimLink] = {}
        self._dialing: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self.receiver: Receiver
        self.me: Identity

    async def start(self, me: Identity, receiver: Receiver) -> None:
        self.begin(me, receiver)

    def begin(self, me: Identity, receiver: Receiver) -> None:
        self.me, self.receiver = me, receiver
        self.network.hosts[self.name] = self

    def dial(self, address: str) -> None:
        if address not in self._dialing and address != self.name:
            self._dialing[address] = 0
            self._attempt(address)

    def undial(self, address: str) -> None:
        self._dialing.pop(address, None)

    @property
    def dialing(self) -> set[str]:
        """Addresses at which it looks for somebody."""
        return set(self._dialing)

    def redial(self) -> None:
        for address in list(self._dialing):
            self._dialing[address] = 0
            self._later(REDIAL_S[0], address)

    def probe(self, address: str, done: Callable[[Reach], None]) -> None:
        self._connect(address, done)

    async def stop(self) -> None:
        for link in list(self.links.values()):
            link.close()
        self.network.hosts.pop(self.name, None)

    def kill(self) -> None:
        """As kill -9."""
        for link in list(self.links.values()):
            link.killed()
        self.links.clear()
        if self.network.hosts.get(self.name) is self:
            del self.network.hosts[self.name]

    def _connect(self, address: str, done: Callable[[Reach], None]) -> None:
        """A bare connection: there and back, or a timeout."""
        here, loop = self.name, self.network.loop
        if (here, address) in self.network.cuts or (address, here) in self.network.cuts:
            loop.call_later(CONNECT_TIMEOUT_S, lambda: self.world.guard(lambda: done(Reach.SILENT)))
            return
        reach = Reach.OPEN if address in self.network.hosts else Reach.REFUSED
        delay = self.network.delay(here, address) + self.network.delay(here, address)
        loop.call_later(delay, lambda: self.world.guard(lambda: done(reach)))

    def _attempt(self, address: str) -> None:
        if address in self._dialing and address not in self.links:
            self._connect(address, lambda reach: self._connected(address, reach))

    def _later(self, delay_s: float, address: str) -> None:
        """The next attempt; only the latest that was asked for counts."""
        turn = self._turns[address] = self._turns.get(address, 0) + 1

        def attempt() -> None:
            if self._turns[address] == turn:
                self._attempt(address)

        self.network.loop.call_later(delay_s, lambda: self.world.guard(attempt))

    def _connected(self, address: str, reach: Reach) -> None:
        if address not in self._dialing or address in self.links:
            return
        target = self.network.hosts.get(address)
        if reach is not Reach.OPEN or target is None or target.world.paused:
            tries = self._dialing[address] = self._dialing[address] + 1
            self.receiver.dial_failed(address, reach if reach is not Reach.OPEN else Reach.SILENT, "no answer")
            self._later(REDIAL_S[min(tries, len(REDIAL_S) - 1)] * self.network.rng.uniform(0.5, 1.0), address)
            return
        reason = target.receiver.accept(self.me, False) or self.receiver.accept(target.me, True)
        if reason is not None:
            self.receiver.dial_failed(address, Reach.DENIED, reason)
            self._later(REDIAL_S[-1], address)
            return
        for side, name in ((self, address), (target, self.name)):
            old = side.links.get(name)
            if old is not None:
                old.end(End.REPLACED)
        mine = SimLink(self.network, self, target.me, address)
        theirs = SimLink(self.network, target, self.me, "")
        mine.other, theirs.other = theirs, mine
        self.links[address], target.links[self.name] = mine, theirs
        self._dialing[address] = 0
        self.network.linked(self.world, target.world, True)
        target.world.guard(lambda: target.receiver.link_up(theirs))
        self.receiver.link_up(mine)
