"""How long a simulated mesh needs, once a partition ends, until all replicas hold the same document.

The unchanged engine runs in virtual time: delays, losses and cuts are exact and repeat with the seed. Virtual time does
not pass while a replica computes, so the CPU seconds of the busiest replica are measured on this machine and added: as
if nothing were computed while something is on its way, which is the worst case.

One trial: the mesh forms, idles, works whole, is cut, works in its parts, rests (so that what is measured is the heal,
not tasks that still run; a partition too short for that says so by its figures), heals. A cut holds what is sent, as
sockets do; it arrives after the heal, not before one delay.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from actonce.agent import Agent
from actonce.bench.floor import ROUND_TRIPS, Missing, measure_missing
from actonce.bench.healing import Healed
from actonce.bench.meter import Meter, Traffic
from actonce.bench.shapes import Cut, make_cut, outlasts
from actonce.context import Context
from actonce.engine import Engine
from actonce.inbox import task_id
from actonce.settings import LAN, Settings
from actonce.sim.checkers import effect_tasks
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.run import MakeAgent, Work
from actonce.sim.world import SimWorld
from actonce_crdt import Claim, Done, Json, Task, pack_value

FORM_S, QUIET_S, HEAL_S = 60.0, 10.0, 120.0
"""Limits for forming, for finishing what the whole mesh began, for healing. Virtual seconds."""
IDLE_S, WHOLE_S, REST_S = 1.0, 2.0, 1.5
BATCH = 3_000
"""Entries that a side writes at once, when it is to have many."""
ENTRIES_A_TASK = 3


@dataclass(frozen=True, slots=True)
class Setup:
    """What one trial is made of, besides the seed. Times in seconds."""

    replicas: int = 3
    shape: str = "halves"
    partition_s: float = 8.0
    delay_s: tuple[float, float] = (0.001, 0.002)
    """One way, drawn for each frame."""
    loss: float = 0.0
    rate: float = 20.0
    """Tasks a second."""
    to_all: bool = True
    """Each task is handed to all replicas that can be reached, which is all of them; else to one."""
    entries: int = 0
    """Further entries that each side writes while it is alone."""
    bytes_per_s: float = 125e6
    settings: Settings = LAN
    voting: bool = False
    """Some kind of task needs a majority: then all replicas vote."""
    work: tuple[Work, ...] = (Work("reply", lambda number: {"n": number}),)

    @property
    def names(self) -> list[str]:
        width = len(str(self.replicas - 1))
        return [f"r{number:0{width}}" for number in range(self.replicas)]

    @property
    def trips_s(self) -> float:
        """The round trips of the limit, all of the longest delay."""
        return ROUND_TRIPS * 2 * self.delay_s[1]

    @property
    def doubles(self) -> bool:
        """Whether the cut is long enough for a side to give the other up: else nothing may happen twice."""
        slack_s = 2 * self.delay_s[1] + 0.4 * bool(self.loss)
        return outlasts(self.settings, self.partition_s + slack_s)


def own_agent(world: SimWorld, feed: Feed) -> Agent:
    """Posts once for each message, to a feed that takes everything and can be asked."""
    agent = Agent("bench")
    agent.sink("room", FeedSink(feed, world))

    @agent.task("reply")
    async def reply(ctx: Context, payload: Json) -> None:
        await ctx.post("room", payload)

    return agent


def run_trial(seed: int, setup: Setup, make_agent: MakeAgent = own_agent) -> Healed:
    """One trial. Deterministic but for the CPU seconds."""

    async def go() -> Healed:
        return await Trial(seed, setup, make_agent).run()

    return simulate(go)


@dataclass(slots=True)
class Load:
    """A steady stream of tasks, until `stop`."""

    cluster: Cluster
    setup: Setup
    rng: random.Random
    numbers: count[int] = field(default_factory=count)
    submitted: int = 0
    stop: bool = False

    async def run(self) -> None:
        self.stop, every_s, work = False, 1 / self.setup.rate, self.setup.work
        while not self.stop:
            number = next(self.numbers)
            kind = work[number % len(work)]
            names = self.setup.names if self.setup.to_all else [self.rng.choice(self.setup.names)]
            for name in names:
                self.cluster.submit(name, kind.kind, kind.payload(number), f"m{number}")
            self.submitted += 1
            await asyncio.sleep(every_s)


class Trial:
    """One seed under way. Made and used inside a virtual loop."""

    def __init__(self, seed: int, setup: Setup, make_agent: MakeAgent) -> None:
        self.setup, self.seed = setup, seed
        self.cut: Cut = make_cut(setup.shape, setup.names)
        roster = tuple(setup.names) if setup.voting else ()
        self.cluster = Cluster(seed, setup.names, make_agent, setup.settings, roster)
        network = self.cluster.network
        network.delay_s, network.loss, network.bytes_per_s = setup.delay_s, setup.loss, setup.bytes_per_s
        self.meter = Meter(self.cluster)
        self.load = Load(self.cluster, setup, random.Random(f"{seed}/load"))
        self.problems: list[str] = []
        self._over: set[str] = set()
        """Tasks that every replica knew to be over when the cut began."""
        self._knowing: Counter[str] = Counter()
        """Of each task, how many sides knew it when the cut ended."""

    @property
    def engines(self) -> dict[str, Engine]:
        return {name: self.cluster.engine(name) for name in self.setup.names}

    async def run(self) -> Healed:
        await self._form()
        await asyncio.sleep(1.0)
        before = self.meter.traffic()
        await asyncio.sleep(IDLE_S)
        idle = self.meter.traffic()
        known = self._facts()
        tasks = await self._work_whole()
        whole, facts = self.meter.traffic(), self._facts() - known
        await self._work_apart()
        missing, healing = self._missing(), self.meter.traffic()
        self._count_sides()
        heal_s, cpu_s, healed = await self._heal()
        if not await self.cluster.until(self._finished, HEAL_S):
            self.problems.append(f"not everything was done {HEAL_S:g} s after the heal")
        self.problems += self.cluster.failures
        links = len(self.setup.names) * (len(self.setup.names) - 1) / 2
        seconds_idle = idle.at - before.at
        beats = (whole.at - idle.at) * (idle.size - before.size) / seconds_idle
        return Healed(
            seed=self.seed,
            network_s=heal_s,
            cpu_s=cpu_s,
            trips_s=self.setup.trips_s,
            transfer_s=missing.size / self.setup.bytes_per_s,
            apply_s=missing.apply_s,
            missing_entries=missing.entries,
            missing_bytes=missing.size,
            idle_bytes_per_s=(idle.size - before.size) / seconds_idle / links,
            idle_messages_per_s=(idle.messages - before.messages) / seconds_idle / links,
            bytes_per_task=max(0.0, whole.size - idle.size - beats) / (len(self.setup.names) - 1) / max(1, tasks),
            facts_per_task=facts / max(1, tasks),
            heal_bytes=(healed.size - healing.size) / links,
            heal_messages=(healed.messages - healing.messages) / links,
            tasks=self.load.submitted,
            doubled=self._doubled(),
            doubled_bound=self._bound(),
            lost=self._lost(),
            problems=tuple(self.problems),
        )

    async def _form(self) -> None:
        for name in self.setup.names:
            self.cluster.start(name, new=name == self.setup.names[0])
            world = self.cluster.nodes[name].world
            assert world is not None
            self.meter.follow(name, world)
        size = len(self.setup.names)

        def whole() -> bool:
            engines = self.engines.values()
            complete = all(len(engine.membership.view.members) == size for engine in engines)
            return complete and (not self.setup.voting or all(engine.electorate.votes for engine in engines))

        if not await self.cluster.until(whole, FORM_S):
            self.problems.append(f"the mesh did not form within {FORM_S:g} s")

    async def _work_whole(self) -> int:
        loading = self.cluster.loop.create_task(self.load.run())
        await asyncio.sleep(WHOLE_S)
        await self._end(loading)
        await self.cluster.until(self._finished, QUIET_S)
        return self.load.submitted

    async def _work_apart(self) -> None:
        """Half a second of load, then the cut with load and rest: just as long as it is to be."""
        setup, loop = self.setup, self.cluster.loop
        loading = loop.create_task(self.load.run())
        await asyncio.sleep(0.5)
        self._over = set.intersection(*(self._done(engine) for engine in self.engines.values()))
        for source, target in self.cut.pairs:
            self.cluster.cut(source, target)
        ends = loop.time() + setup.partition_s
        await asyncio.sleep(max(setup.partition_s - REST_S, setup.partition_s / 2))
        await self._end(loading)
        for number, side in enumerate(self.cut.sides if setup.entries else ()):
            await self._fill(min(side), number)
        if setup.entries:  # that they have to be passed on within each side is no part of the heal
            ends = max(ends, loop.time() + REST_S)
            await self.cluster.until(self._sides_agree, QUIET_S)
        await asyncio.sleep(max(0.0, ends - loop.time()))

    async def _end(self, loading: asyncio.Task[None]) -> None:
        self.load.stop = True
        await loading

    async def _fill(self, name: str, side: int) -> None:
        """Tasks that are done already: what a long life leaves behind."""
        engine, world = self.cluster.engine(name), self.cluster.nodes[name].world
        assert world is not None
        kind, ledger = self.setup.work[0].kind, engine.ledger
        payload, result = pack_value(self.setup.work[0].payload(0)), pack_value(None)

        def write(first: int, last: int) -> None:
            for number in range(first, last):
                task = task_id(kind, f"filled-{side}-{number}")
                ledger.write(Task(task, ledger.stamp(), name, kind, payload))
                ledger.write(Claim(task, ledger.stamp(), name, 1, engine.me.incarnation))
                ledger.write(Done(task, ledger.stamp(), name, 1, True, result))

        tasks, step = self.setup.entries // ENTRIES_A_TASK, BATCH // ENTRIES_A_TASK
        for first in range(0, tasks, step):
            world.guard(lambda first=first: write(first, min(first + step, tasks)))  # type: ignore[misc]
            await asyncio.sleep(0.05)

    def _sides_agree(self) -> bool:
        digests = {name: engine.ledger.document.digest for name, engine in self.engines.items()}
        return all(len({digests[name] for name in side}) == 1 for side in self.cut.sides)

    def _missing(self) -> Missing:
        found = {engine.ledger.document.digest: engine.ledger.document for engine in self.engines.values()}
        return measure_missing([found[digest] for digest in sorted(found)])

    async def _heal(self) -> tuple[float, float, Traffic]:
        """(virtual seconds, CPU seconds of the busiest replica, traffic by then) until all digests are equal."""
        loop, meter = self.cluster.loop, self.meter
        healed_at = loop.time()
        meter.watch(self.engines)
        for source, target in self.cut.pairs:
            self._release(source, target)
        if not await self.cluster.until(lambda: meter.equal_at is not None, HEAL_S):
            self.problems.append(f"the replicas do not agree {HEAL_S:g} s after the heal")
        equal_at = meter.equal_at if meter.equal_at is not None else loop.time()
        meter.stop()
        return equal_at - healed_at, max(meter.cpu_s.values(), default=0.0), meter.traffic()

    def _release(self, source: str, target: str) -> None:
        """What the cut held sets out now, behind each other, and needs its time."""
        cluster, network = self.cluster, self.cluster.network
        held = network.held.pop((source, target), [])
        cluster.uncut(source, target)
        host = network.hosts.get(source)
        link = host.links.get(target) if host is not None else None
        queued = link.queued_bytes if link is not None else 0
        at = cluster.loop.time() + network.delay(source, target) + queued / network.bytes_per_s
        for arrive in held:  # together, as from a socket that was full; a link keeps their order itself
            cluster.loop.call_at(at, arrive)

    # What came of it

    def _finished(self) -> bool:
        engines = self.engines.values()
        return all(not engine.claims.open for engine in engines) and self.cluster.converged()

    def _facts(self) -> int:
        """Bytes of all entries, as msgpack: in one copy, from a replica that has them all once all agree."""
        engine = next(iter(self.engines.values()))
        return sum(len(entry.data) for entry in engine.ledger.document.entries())

    def _done(self, engine: Engine) -> set[str]:
        return {task for task, state in engine.ledger.state.tasks.items() if state.done is not None}

    def _count_sides(self) -> None:
        for side in self.cut.sides:
            self._knowing.update(set().union(*(self.cluster.engine(name).ledger.state.tasks for name in side)))

    def _bound(self) -> int:
        """How many posts beyond the first the guarantees allow: one for each further side that knew the task in time,
        if the cut outlasted the grace, the task was not over by then, and nothing guards it."""
        if not self.setup.doubles:
            return 0
        specs = self.cluster.live()[0].agent.tasks
        bound, posted = 0, self._posted
        for key, task in effect_tasks(self.cluster).items():
            spec = specs.get(task.partition("/")[0])
            guarded = spec is not None and spec.guard != "available"
            if task not in self._over and not guarded and key in posted:
                bound += max(0, self._knowing[task] - 1)
        return bound

    @property
    def _posted(self) -> Counter[str]:
        return Counter(self.cluster.feed.keys())

    def _doubled(self) -> int:
        return sum(times - 1 for times in self._posted.values())

    def _lost(self) -> int:
        """Tasks that were acknowledged and have no outcome somewhere, and effects with a receipt that never arrived."""
        posted, engines = self._posted, list(self.engines.values())
        done = set.intersection(*(self._done(engine) for engine in engines))
        lost = set(self.cluster.acknowledged) - done
        effects = engines[0].ledger.state.effects.items()
        return len(lost) + sum(effect.receipt is not None and key not in posted for key, effect in effects)
