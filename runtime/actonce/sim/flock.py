"""Partial views and broadcast trees alone, thousands of them, in virtual time from a seed.

`Overlay` and `Broadcast` unchanged, over documents of which only the state vectors are kept. Lighter than `Cluster` by
orders of magnitude; what it cannot show is shown there. Messages have delays, keep their order on a link, and may be
dropped, as by a full queue. Members hold a mesh, which is not simulated: they hear from each other after a delay.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from actonce.broadcast import Act, Broadcast
from actonce.overlay import Close, Dial, Down, Overlay, Send, Step, Undial, Up
from actonce.overlay_messages import Contact, Graft, Have, OverlayMessage, Prune, Pulse

BEAT_S = 1.0
TICK_S = 0.25
CONNECT_S = 0.02


@dataclass(frozen=True, slots=True)
class Update:
    """Client -> (first clock, clock after the last)."""

    spans: Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Question:
    """`Ask`, and what `Graft` carries."""

    vector: Mapping[int, int]
    graft: bool


Said = OverlayMessage | Update | Question


@dataclass(slots=True, eq=False)
class Bird:
    """One replica."""

    name: str
    overlay: Overlay
    tree: Broadcast
    known: dict[int, int] = field(default_factory=dict)
    alive: bool = True
    dialing: set[str] = field(default_factory=set)
    sent: Counter[str] = field(default_factory=Counter)
    """Messages by kind, since the last reset."""
    doubles: int = 0
    """Pushed updates that brought nothing."""
    got: dict[tuple[int, int], float] = field(default_factory=dict)
    """(client, clock) -> when it came."""

    @property
    def digest(self) -> bytes:
        return blake2b(repr(sorted(self.known.items())).encode(), digest_size=16).digest()


class Flock:
    """Members `m0`, `m1`, ... and followers `f0`, `f1`, ..."""

    def __init__(
        self,
        seed: int,
        members: int,
        followers: int,
        *,
        loss: float = 0.0,
        delay_s: tuple[float, float] = (0.001, 0.03),
        digests: bool = True,
    ) -> None:
        """
        Args:
            loss: share of messages that are dropped.
            delay_s: of a message, drawn from this range.
            digests: whether pulses tell the truth about documents; without, only the tree can mend itself.
        """
        self.digests = digests
        self.rng = random.Random(f"{seed}/flock")
        self.now, self.loss, self.delay_s = 0.0, loss, delay_s
        self.birds: dict[str, Bird] = {}
        self.links: dict[tuple[str, str], float] = {}
        """Both directions of each link -> when the last frame on it arrives."""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.members = [f"m{index}" for index in range(members)]
        self.followers = [f"f{index}" for index in range(followers)]

    # Time

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + delay_s, next(self._numbers), call))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        ends = self.now + seconds
        while self._due and self._due[0][0] <= ends:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = ends

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until it is true."""
        ends = self.now + seconds
        while not condition():
            if self.now >= ends:
                return False
            self.run(TICK_S)
        return True

    def until_all_have(self, entry: tuple[int, int], seconds: float) -> bool:
        """Let time pass until all live replicas hold this entry, as `write` names it."""
        client, clock = entry
        return self.until(lambda: all(bird.known.get(client, 0) >= clock for bird in self.live()), seconds)

    # Replicas

    def start(self, name: str) -> None:
        """A replica with an empty document; followers are told of all members."""
        me = Contact(name, name, name in self.members)
        overlay = Overlay(me, BEAT_S, random.Random(self.rng.random()).random)
        bird = self.birds[name] = Bird(name, overlay, Broadcast(root=me.member))
        if me.member:
            overlay.known.mesh(Contact(other, other, True) for other in self.members)
        else:
            overlay.known.seed(self.members)
        self.later(self.rng.uniform(0, BEAT_S), lambda: self._beat(bird))
        self.later(self.rng.uniform(0, TICK_S), lambda: self._tick(bird))

    def start_all(self, spread_s: float) -> None:
        """Members at once, followers one after the other."""
        for name in self.members:
            self.start(name)
        for index, name in enumerate(self.followers):
            self.later(spread_s * index / max(1, len(self.followers)), lambda name=name: self.start(name))  # type: ignore[misc]
        self.run(spread_s)

    def crash(self, name: str, *, silent: bool = False) -> None:
        """It is gone; neighbours see their links end, or nothing at all."""
        bird = self.birds[name]
        bird.alive = False
        for one, other in list(self.links):
            if one == name:
                del self.links[one, other]
                if not silent:
                    self.later(self._delay(), lambda other=other: self._ended(other, name))  # type: ignore[misc]

    def live(self) -> list[Bird]:
        return [bird for bird in self.birds.values() if bird.alive]

    def write(self, name: str) -> tuple[int, int]:
        """A member writes an entry. Returns (client, clock after it)."""
        bird, client = self.birds[name], self.members.index(name) + 1
        clock = bird.known.get(client, 0) + 1
        update = Update({client: (clock - 1, clock)})
        self._integrate(bird, update, None)
        for other in self.members:
            if other != name:
                self.later(self._delay(), lambda other=other: self._mesh(other, update))  # type: ignore[misc]
        return client, clock

    def _mesh(self, name: str, update: Update) -> None:
        bird = self.birds[name]
        if bird.alive:
            self._integrate(bird, update, None)

    def islands(self) -> int:
        """Live replicas that no chain of neighbours connects with a member."""
        found = {name for name in self.members if self.birds[name].alive}
        todo = list(found)
        while todo:
            for other in self.birds[todo.pop()].overlay.active:
                if other not in found and self.birds[other].alive:
                    found.add(other)
                    todo.append(other)
        return len(self.live()) - len(found)

    def converged(self) -> bool:
        """All hold the same."""
        live = self.live()
        return all(bird.known == live[0].known for bird in live)

    # What happens

    def _delay(self) -> float:
        return self.rng.uniform(*self.delay_s)

    def _beat(self, bird: Bird) -> None:
        if bird.alive:
            self._do(bird, bird.overlay.beat(self.now))
            pulse = bird.overlay.pulse(bird.digest, self.now)
            for name in list(bird.overlay.active):
                self._send(bird, name, pulse)
            self.later(BEAT_S * self.rng.uniform(0.9, 1.1), lambda: self._beat(bird))

    def _tick(self, bird: Bird) -> None:
        if bird.alive:
            acts, said = bird.tree.tick(self.now, bird.known)
            self._act(bird, acts)
            for name, clocks in said.items():
                self._send(bird, name, Have(clocks))
            self.later(TICK_S, lambda: self._tick(bird))

    def _do(self, bird: Bird, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Send(name, message):
                    self._send(bird, name, message)
                case Dial(address):
                    bird.dialing.add(address)
                    self.later(CONNECT_S + self._delay(), lambda address=address: self._connect(bird, address))  # type: ignore[misc]
                case Undial(address):
                    bird.dialing.discard(address)
                case Close(name):
                    self._close(bird, name)
                case Up(name):
                    bird.tree.up(name)
                    self._send(bird, name, bird.overlay.pulse(bird.digest, self.now))
                case Down(name):
                    bird.tree.down(name)

    def _connect(self, bird: Bird, address: str) -> None:
        if not bird.alive or address not in bird.dialing or (bird.name, address) in self.links:
            return
        other = self.birds.get(address)
        if other is None or not other.alive:
            self._do(bird, bird.overlay.failed(address))
            return
        self.links[bird.name, address] = self.links[address, bird.name] = self.now
        self._do(other, other.overlay.up(Contact(bird.name, bird.name, bird.overlay.me.member), "", self.now))
        self._do(bird, bird.overlay.up(Contact(address, address, other.overlay.me.member), address, self.now))

    def _close(self, bird: Bird, name: str) -> None:
        self.links.pop((bird.name, name), None)
        last = self.links.get((name, bird.name))
        if last is not None:
            self.later(max(self._delay(), last - self.now + 1e-6), lambda: self._ended(name, bird.name))

    def _ended(self, name: str, other: str) -> None:
        self.links.pop((name, other), None)
        self.links.pop((other, name), None)
        bird = self.birds[name]
        if bird.alive:
            self._do(bird, bird.overlay.down(other))

    def _send(self, bird: Bird, name: str, said: Said) -> None:
        last = self.links.get((bird.name, name))
        if last is None:
            return
        bird.sent[type(said).__name__] += 1
        if self.loss and self.rng.random() < self.loss:
            return
        at = self.links[bird.name, name] = max(self.now + self._delay(), last + 1e-6)
        self.later(at - self.now, lambda: self._arrive(bird.name, name, said))

    def _arrive(self, source: str, target: str, said: Said) -> None:
        bird = self.birds[target]
        if not bird.alive or (target, source) not in self.links:
            return
        if source not in bird.overlay.active:
            if not isinstance(said, Update | Question):
                self._do(bird, bird.overlay.take(source, said, self.now))
            return
        bird.overlay.heard(source, self.now)
        match said:
            case Update():
                self._take_update(bird, source, said)
            case Question(vector, graft):
                if graft:
                    bird.tree.graft(source)
                spans = {c: (vector.get(c, 0), end) for c, end in bird.known.items() if end > vector.get(c, 0)}
                if spans:
                    self._send(bird, source, Update(spans))
            case Have(clocks):
                bird.tree.have(source, clocks, self.now, bird.known)
            case Graft():
                pass  # here a `Question`
            case Prune():
                self._act(bird, bird.tree.prune(source, self.now, bird.known))
            case _:
                self._do(bird, bird.overlay.take(source, said, self.now))
                if isinstance(said, Pulse) and self.digests:
                    self._act(bird, bird.tree.pulse(source, said.digest, bird.digest, self.now))

    def _take_update(self, bird: Bird, source: str, update: Update) -> None:
        if any(start > bird.known.get(client, 0) for client, (start, _) in update.spans.items()):
            self._act(bird, bird.tree.gap(source, self.now))
            return
        fresh = self._integrate(bird, update, source)
        bird.doubles += not fresh
        self._act(bird, bird.tree.pushed(source, fresh=fresh, now=self.now, mine=bird.known))

    def _integrate(self, bird: Bird, update: Update, source: str | None) -> bool:
        new = {}
        for client, (_, end) in update.spans.items():
            known = bird.known.get(client, 0)
            if end > known:
                new[client] = (known, end)
                bird.known[client] = end
                bird.got.update(((client, clock), self.now) for clock in range(known + 1, end + 1))
        if new:
            for name in bird.tree.grew(new, bird.known, source):
                self._send(bird, name, Update(new))
        return bool(new)

    def _act(self, bird: Bird, acts: list[tuple[str, Act]]) -> None:
        for name, act in acts:
            if act is Act.PRUNE:
                self._send(bird, name, Prune())
            else:
                self._send(bird, name, Question(dict(bird.known), act is Act.GRAFT))
