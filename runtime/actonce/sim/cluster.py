"""Several replicas of one agent on simulated hosts, the unchanged engine in each, and a feed that never forgets."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio

from actonce.agent import Agent
from actonce.desk import Desk
from actonce.engine import Engine
from actonce.envelopes import Kind, is_envelope, open_envelope
from actonce.errors import Draining
from actonce.inbox import Submitted, pack_payload
from actonce.job import run_handler
from actonce.placement import NO_TRAITS, Traits
from actonce.readiness import make_terms
from actonce.running import Run
from actonce.settings import LAN, Settings
from actonce.sim import disk_faults, watching
from actonce.sim.disk import Disk
from actonce.sim.history import History, Reachability
from actonce.sim.locks import LockStore
from actonce.sim.loop import VirtualLoop
from actonce.sim.network import Network
from actonce.sim.process import Process
from actonce.sim.provider import Provider
from actonce.sim.world import SimWorld
from actonce.world import Cancel, ProcessId
from actonce_crdt import Json, pack_value

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Posted:
    """One request that the feed carried out."""

    at: float
    key: str
    fence: int
    replica: str
    pid: int
    body: Json


@dataclass(slots=True)
class Feed:
    """The outside world: carries out every request, unless a sink declares otherwise, and can be asked about a key."""

    rng: random.Random
    provider: Provider
    """What handlers call under a quota."""
    delay_s: tuple[float, float] = (0.001, 0.02)
    posts: list[Posted] = field(default_factory=list)
    on_publish: Callable[[SimWorld, str, int, Json], None] = lambda world, key, fence, body: None
    """Told of each request at the moment it passes the gate."""

    def arrive(self, post: Posted, window_s: float) -> None:
        """Carry it out, unless the sink still refuses its key."""
        if not window_s or all(post.at - known.at >= window_s for known in self.posts if known.key == post.key):
            self.posts.append(post)

    def keys(self) -> list[str]:
        return [post.key for post in self.posts]


class FeedSink:
    """The feed as one process reaches it. A request that has left is carried out, whatever becomes of its sender."""

    publish_timeout_s = 0.1

    def __init__(self, feed: Feed, world: SimWorld, *, can_lookup: bool = True, dedupe_window_s: float = 0.0) -> None:
        self._feed, self._world = feed, world
        self.can_lookup, self.dedupe_window_s = can_lookup, dedupe_window_s

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        await self._world.alive()
        gate()
        self._feed.on_publish(self._world, key, fence, body)
        travel_s = self._feed.rng.uniform(*self._feed.delay_s)
        post = Posted(self._world.loop.time() + travel_s, key, fence, self._world.name, self._world.process.pid, body)
        self._world.loop.call_later(travel_s, self._feed.arrive, post, self.dedupe_window_s)
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
    rate: float = 1.0
    wall_offset_s: float = 0.0
    traits: Traits = NO_TRAITS
    follow: bool = False


class Cluster:
    """Makes, kills and restarts replicas, and asks them things. Use inside `simulate`."""

    def __init__(
        self,
        seed: int,
        names: Iterable[str],
        make_agent: Callable[[SimWorld, Feed], Agent],
        settings: Settings = LAN,
        roster: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            roster: names that vote, added by themselves.
        """
        self.roster = roster
        self.seed, self.settings, self._make_agent = seed, settings, make_agent
        self.network = Network(self._rng("network"))
        self.feed = Feed(self._rng("feed"), Provider(self._rng("provider")))
        self.locks = LockStore(self._rng("locks"))
        self.nodes = {name: Node(name, Disk(self._rng(f"disk/{name}"))) for name in names}
        self._pids = 0
        self._worlds: list[SimWorld] = []  # a dead process's handlers are not garbage: they stand still for ever
        self._gone: set[ProcessId] = set()
        self.history = History(self.loop.time)
        self.truth = Reachability(self.loop.time)
        self.network.inspect = self._inspect
        self.network.linked = self._linked
        self.feed.on_publish = self._published
        self.acknowledged: list[str] = []
        self.failures: list[str] = []
        self.loop.set_exception_handler(self._broken)
        self.damaged: dict[str, tuple[bool, int]] = {}
        """Replicas whose disk was damaged since they ended; whether a durable row is gone or changed; which journal."""
        self.lost_keys: set[str] = set()
        """Keys of entries that only damaged disks held: what becomes of them is nobody's fault."""
        self.slack_s = 0.0
        """What slow links and losses may add to a silence: checkers allow for it."""
        self.one_host = True
        """Whether a process table proves deaths; otherwise links that end, and addresses that refuse, have to."""

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
        world = SimWorld(self.network, node.disk, name, rng, self._pids, self._gone.__contains__, self.locks)
        self._worlds.append(world)

        def perform(desk: Desk, run: Run) -> Cancel:
            return world.hands.start(lambda: self._handle(world, desk, run))

        def died() -> None:
            if self.one_host:
                self._gone.add(world.process)
            node.disk.crash()
            self.history.add("killed", world.process.pid, name)
            self.count(name)

        world.on_kill.append(died)
        world.journal.on_error = world.kill  # as the real replica: it stops, and its process ends
        engine = Engine(
            world,
            self._make_agent(world, self.feed),
            name,
            node.disk.open(name),
            self.settings,
            new=new,
            address=name,
            traits=node.traits,
            roster=self.roster,
            follow=node.follow,
            perform=perform,
            on_failed=lambda error: self.failures.append(f"{name}: {error}"),
        )
        self.history.add("started", world.process.pid, name, engine.me.incarnation)
        engine.majority.observe = lambda what, task, epoch: self.history.add(what, world.process.pid, name, task, epoch)
        world.rate, world.wall_offset_s = node.rate, node.wall_offset_s
        before, node.world, node.engine = node.engine, world, engine
        watching.facts(self.history, world, engine)
        if name in self.damaged:
            lossy, journal = self.damaged.pop(name)
            replaced = node.disk.journal != journal and bool(engine.damage)
            watching.damage(self.history, self.failures, name, lossy=lossy, replaced=replaced)
        world.transport.begin(engine.routes.me, engine.front)
        world.guard(engine.start)
        self.failures += watching.rights_forgotten(before, engine)
        engine.front.join(other for other in sorted(self.nodes) if not self.nodes[other].follow)
        return engine

    def wipe(self, name: str) -> None:
        """Its disk is replaced by an empty one. Not while it runs."""
        self.nodes[name].disk.wipe()

    def damage(self, name: str, way: str) -> None:
        """Its disk is damaged, in one of `disk_faults.WAYS`. Not while it runs."""
        disk = self.nodes[name].disk
        before = list(disk.rows)
        self.damaged[name] = disk_faults.damage(disk, disk.rng, way), disk.journal
        self.lost_keys |= disk_faults.lost_for_all(disk, before, [node.disk for node in self.nodes.values()])

    def kill(self, name: str) -> None:
        """kill -9."""
        world = self.nodes[name].world
        if world is not None:
            world.kill()

    async def leave(self, name: str) -> None:
        """Drain, say goodbye, end: a process that is stopped as it should be."""
        node = self.nodes[name]
        world, engine = node.world, node.engine
        assert world is not None, f"{name} does not run"
        assert engine is not None, f"{name} does not run"
        idle = asyncio.Event()
        world.guard(lambda: engine.drain(idle.set))
        await self.until(lambda: idle.is_set() or world.dead, self.settings.drain_s)
        if not world.dead:
            flushed = asyncio.Event()
            world.guard(engine.stop)
            world.guard(lambda: world.journal.append([], flushed.set))
            await self.until(lambda: flushed.is_set() or world.dead, self.settings.drain_s)
            await world.transport.stop()
            world.kill()

    async def _handle(self, world: SimWorld, desk: Desk, run: Run) -> None:
        pid = world.process.pid
        self.history.add("begin", pid, world.name, run.task, run.epoch, run.attempt)
        try:
            await run_handler(replace(desk, watch=watching.steps(self.history, world)), run)
        finally:
            if not world.dead:
                self.history.add("end", pid, world.name, run.task, run.epoch, int(run.revoked))

    def _published(self, world: SimWorld, key: str, fence: int, body: Json) -> None:
        self.history.add("publish", world.process.pid, world.name, key, fence, pack_value(body).hex())

    def _broken(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised: a real engine would stop on it."""
        error = context.get("exception")
        where = traceback.extract_tb(error.__traceback__)[-1] if error is not None else "unknown"
        self.failures.append(f"{context['message']}: {error!r} at {where}")

    def _linked(self, one: Process, other: Process, up: bool) -> None:
        if isinstance(one, SimWorld) and isinstance(other, SimWorld):
            self.truth.link(one.process.pid, other.process.pid, up=up)

    def _inspect(self, process: Process, frame: bytes) -> None:
        """The rule "on disk before gossip", where it can be seen: on the wire."""
        journal = process.journal if isinstance(process, SimWorld) else None
        if journal is not None and journal.unsynced:
            if is_envelope(frame):
                envelope = open_envelope(frame)
                if envelope.kind is not Kind.DATA or envelope.source != process.name:
                    return
                frame = envelope.body
            own = self.engine(process.name).ledger.client_id
            update = watching.update_in(frame, own)
            if update in journal.unsynced and watching.first_client(update) == own:
                self.failures.append(f"{process.name}: gossiped an update that is not on its disk")

    def pause(self, name: str, *, suspend: bool = False) -> None:
        """SIGSTOP, or a laptop that goes to sleep."""
        world = self.nodes[name].world
        assert world is not None, f"{name} does not run"
        self.truth.pause(world.process.pid)
        if suspend:
            world.suspend()
        else:
            world.pause()

    def resume(self, name: str) -> None:
        """SIGCONT, or the lid is opened."""
        world = self.nodes[name].world
        assert world is not None, f"{name} does not run"
        self.truth.resume(world.process.pid)
        world.resume()

    def cut(self, source: str, target: str) -> None:
        """Nothing arrives from `source` at `target`."""
        self.truth.cut(source, target)
        self.network.cuts.add((source, target))

    def uncut(self, source: str, target: str) -> None:
        """This direction works again."""
        self.network.uncut(source, target)
        if (target, source) not in self.network.cuts:
            self.truth.heal(source, target)

    def skew(self, name: str, offset_s: float) -> None:
        """Set the wall clock of a replica off, now and in later processes."""
        node = self.nodes[name]
        node.wall_offset_s = offset_s
        if node.world is not None:
            node.world.wall_offset_s = offset_s

    def count(self, name: str) -> None:
        """Add up the rare branches that the present process of a replica went through."""
        node = self.nodes[name]
        if node.engine is None:
            return
        watching.count(self.history, node.engine)

    def engine(self, name: str) -> Engine:
        engine = self.nodes[name].engine
        assert engine is not None
        return engine

    def is_fenced(self, task: str) -> bool:
        """Whether the kind of this task is guarded by the lock service."""
        kind = task.partition("/")[0]
        specs = [node.engine.agent.tasks.get(kind) for node in self.nodes.values() if node.engine is not None]
        return any(spec is not None and spec.guard == "fenced" for spec in specs)

    def live(self) -> list[Engine]:
        """Engines of processes that are not dead."""
        nodes = (self.nodes[name] for name in sorted(self.nodes))
        return [node.engine for node in nodes if node.engine and node.world and not node.world.dead]

    def submit(self, name: str, kind: str, payload: Json, key: str, **terms: Any) -> None:
        """Submit without waiting; what gets acknowledged is remembered."""
        node = self.nodes[name]
        if node.world is None or node.engine is None:
            return
        inbox = node.engine.inbox

        def acknowledged(submitted: Submitted) -> None:
            self.acknowledged.append(submitted.task)
            self.history.add("acknowledged", 0, name, submitted.task)

        made = make_terms(node.world.wall(), **terms)

        def submit() -> None:
            with suppress(Draining):
                inbox.submit(kind, pack_payload("the payload", payload), key, acknowledged, made)

        node.world.guard(submit)

    def cancel(self, name: str, task: str) -> None:
        """Order at this replica that the task be called off, if it knows the task."""
        node = self.nodes[name]
        if node.world is None or node.engine is None or task not in node.engine.ledger.state.tasks:
            return
        orders = node.engine.orders

        def answered(word: str) -> None:
            self.history.sometimes[word] += 1

        node.world.guard(lambda: orders.cancel(task, answered))

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
