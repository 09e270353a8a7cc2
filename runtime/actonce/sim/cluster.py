"""Several replicas of one agent on simulated hosts, the unchanged engine in each, and a feed that never forgets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from actonce.agent import Agent
from actonce.desk import Desk
from actonce.engine import Engine
from actonce.inbox import Submitted, pack_payload
from actonce.job import run_handler
from actonce.running import Run
from actonce.settings import LAN, Settings
from actonce.sim.disk import Disk
from actonce.sim.loop import VirtualLoop
from actonce.sim.network import Network
from actonce.sim.world import SimWorld
from actonce.world import Cancel, ProcessId
from actonce_crdt import Json
from actonce_transports import Identity

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Posted:
    """One request that the feed carried out."""

    at: float
    key: str
    fence: int
    replica: str
    body: Json


@dataclass(slots=True)
class Feed:
    """The outside world: carries out every request, never deduplicates, and can be asked about a key."""

    rng: random.Random
    delay_s: tuple[float, float] = (0.001, 0.02)
    posts: list[Posted] = field(default_factory=list)

    def keys(self) -> list[str]:
        return [post.key for post in self.posts]


class FeedSink:
    """The feed as one process reaches it. A request that has left is carried out, whatever becomes of its sender."""

    dedupe_window_s = 0.0
    publish_timeout_s = 0.1
    can_lookup = True

    def __init__(self, feed: Feed, world: SimWorld) -> None:
        self._feed, self._world = feed, world

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        await self._world.alive()
        gate()
        travel_s = self._feed.rng.uniform(*self._feed.delay_s)
        post = Posted(self._world.loop.time() + travel_s, key, fence, self._world.name, body)
        self._world.loop.call_later(travel_s, self._feed.posts.append, post)
        await anyio.sleep(2 * travel_s)
        await self._world.alive()
        return {"at": post.at}

    async def lookup(self, key: str) -> Json | None:
        await self._world.alive()
        await anyio.sleep(self._feed.rng.uniform(*self._feed.delay_s))
        await self._world.alive()
        times: list[Json] = [{"at": post.at} for post in self._feed.posts if post.key == key]
        return times[0] if times else None

    async def aclose(self) -> None:
        """Nothing to close."""


@dataclass(slots=True)
class Node:
    """One replica: its disk, and its present process if it has one."""

    name: str
    disk: Disk
    world: SimWorld | None = None
    engine: Engine | None = None


class Cluster:
    """Makes, kills and restarts replicas, and asks them things. Use inside `simulate`."""

    def __init__(
        self,
        seed: int,
        names: Iterable[str],
        make_agent: Callable[[SimWorld, Feed], Agent],
        settings: Settings = LAN,
    ) -> None:
        self.seed, self.settings, self._make_agent = seed, settings, make_agent
        self.network = Network(self._rng("network"))
        self.feed = Feed(self._rng("feed"))
        self.nodes = {name: Node(name, Disk(self._rng(f"disk/{name}"))) for name in names}
        self._pids = 0
        self._gone: set[ProcessId] = set()
        self.acknowledged: list[str] = []
        self.failures: list[str] = []

    def _rng(self, part: str) -> random.Random:
        return random.Random(f"{self.seed}/{part}")

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self.network.loop

    def start(self, name: str, *, new: bool = False) -> Engine:
        """A new process for this replica, on its own disk."""
        node = self.nodes[name]
        assert node.world is None or node.world.dead, f"{name} runs already"
        self._pids += 1
        rng = self._rng(f"world/{name}/{self._pids}")
        world = SimWorld(self.network, node.disk, name, rng, self._pids, self._gone.__contains__)
        limiter = anyio.CapacityLimiter(self.settings.slots)

        def perform(desk: Desk, run: Run) -> Cancel:
            return world.hands.start(lambda: run_handler(desk, run, limiter))

        def died() -> None:
            self._gone.add(world.process)
            node.disk.crash()

        world.on_kill.append(died)
        engine = Engine(
            world,
            self._make_agent(world, self.feed),
            name,
            node.disk.open(name),
            self.settings,
            new=new,
            address=name,
            perform=perform,
            on_failed=lambda error: self.failures.append(f"{name}: {error}"),
        )
        node.world, node.engine = world, engine
        world.transport.begin(Identity(name, engine.about.encode()), engine.gossip)
        world.guard(engine.start)
        for other in sorted(self.nodes):
            world.transport.dial(other)
        return engine

    def kill(self, name: str) -> None:
        """kill -9."""
        world = self.nodes[name].world
        if world is not None:
            world.kill()

    def engine(self, name: str) -> Engine:
        engine = self.nodes[name].engine
        assert engine is not None
        return engine

    def live(self) -> list[Engine]:
        """Engines of processes that are not dead."""
        nodes = (self.nodes[name] for name in sorted(self.nodes))
        return [node.engine for node in nodes if node.engine and node.world and not node.world.dead]

    def submit(self, name: str, kind: str, payload: Json, key: str) -> None:
        """Submit without waiting; what gets acknowledged is remembered."""
        node = self.nodes[name]
        if node.world is None or node.engine is None:
            return
        inbox = node.engine.inbox

        def acknowledged(submitted: Submitted) -> None:
            self.acknowledged.append(submitted.task)

        node.world.guard(lambda: inbox.submit(kind, pack_payload("the payload", payload), key, acknowledged))

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait in virtual time for a condition. False if it does not come true."""
        ends = self.loop.time() + timeout_s
        while not condition():
            if self.loop.time() >= ends:
                return False
            await asyncio.sleep(0.01)
        return True

    def converged(self) -> bool:
        """All live replicas hold the same entries."""
        documents = [engine.ledger.document for engine in self.live()]
        return (
            len({document.digest for document in documents}) <= 1
            and len({tuple(sorted(document.state_vector().items())) for document in documents}) <= 1
        )


def simulate(scenario: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run `scenario` in a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario())
