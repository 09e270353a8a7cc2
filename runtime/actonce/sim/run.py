"""One seed: a mesh, a workload, a plan of faults; then everything healed; then the checkers.

Two phases, as TigerBeetle's simulator has them: first safety, with any faults; then all faults end and the mesh has a
bounded time to finish everything it ever acknowledged and to agree on every byte.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from actonce.agent import Agent
from actonce.errors import RosterRefused
from actonce.settings import LAN, Settings
from actonce.sim import ordering
from actonce.sim import plan as faults
from actonce.sim.checkers import longest_wait
from actonce.sim.cluster import Cluster, Feed, simulate
from actonce.sim.disk_faults import Damage
from actonce.sim.elections import ELECTIONS
from actonce.sim.limit_checkers import Watch, limits_kept, rights_return
from actonce.sim.person import Person
from actonce.sim.plan import Mix, Plan, draw
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld
from actonce_crdt import Json

Down = faults.Crash | faults.DiskFull | faults.Leave | faults.Wipe | Damage
MakeAgent = Callable[[SimWorld, Feed], Agent]
LIVENESS_S = 40.0
FORM_S = 10.0


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of task to submit: the payload for the n-th task."""

    kind: str
    payload: Callable[[int], Json]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one seed is made of, besides the seed."""

    replicas: tuple[int, int] = (3, 3)
    """At least and at most; drawn."""
    seconds: float = 60.0
    tasks: int = 30
    mix: Mix = field(default_factory=Mix)
    delay_s: tuple[float, float] = (0.0002, 0.005)
    loss: float = 0.0
    settings: Settings = LAN
    work: tuple[Work, ...] = (Work("reply", lambda number: {"n": number}),)
    voters: int | None = None
    """Of the replicas, by name, how many vote from the start where a kind of task needs it; None: all."""
    cancels: float = 0.0
    """The share of tasks that is called off, at any replica, up to a second later."""
    one_host: bool = True
    """False: each replica is on a host of its own, where no process table proves its death."""


@dataclass(slots=True)
class Outcome:
    """What became of one seed. Times in virtual seconds."""

    seed: int
    plan: Plan
    violations: list[str]
    sometimes: Counter[str]
    trace: str
    tasks: int
    acknowledged: int
    posts: int
    doubled: int
    doubts: int
    wait_s: float
    """The longest wait of a task from its acknowledgement to the end of its handler."""
    heal_s: float
    """From the end of all faults to everything done and equal; the limit when that never came."""
    simulated_s: float
    events: list[str]
    """The history, an event a line."""


def run_seed(seed: int, scenario: Scenario, make_agent: MakeAgent, plan: Plan | None = None) -> Outcome:
    """Run one seed; with `plan` its faults are those instead of drawn ones. Deterministic."""
    logging.getLogger("actonce.handlers").setLevel(logging.CRITICAL)

    async def run() -> Outcome:
        return await Run(seed, scenario, make_agent, plan).outcome()

    return simulate(run)


class Run:
    """One seed under way. Made and used inside a virtual loop."""

    def __init__(self, seed: int, scenario: Scenario, make_agent: MakeAgent, plan: Plan | None) -> None:
        self.seed, self.scenario = seed, scenario
        self.rng = random.Random(f"{seed}/run")
        self.names = "abcdefghijklmnopqrstuvwxyz"[: self.rng.randint(*scenario.replicas)]
        self.plan = draw(random.Random(f"{seed}/plan"), self.names, scenario.seconds, scenario.mix)
        if plan is not None:
            self.plan = plan
        self.cluster = Cluster(seed, self.names, make_agent, scenario.settings, tuple(self.names[: scenario.voters]))
        self.cluster.network.delay_s, self.cluster.network.loss = scenario.delay_s, scenario.loss
        self.cluster.one_host = scenario.one_host
        slow = [fault for fault in self.plan if isinstance(fault, faults.SlowLink | faults.SlowPeer)]
        slowest = max((fault.delay_s for fault in slow), default=0.0)
        self.cluster.slack_s = slowest + 0.4 * bool(scenario.loss)
        self.healing = False
        self.numbers = 0
        self._background: set[asyncio.Task[None]] = set()

    async def outcome(self) -> Outcome:
        cluster = self.cluster
        formed = await self._form()
        if any(engine.quotas.slots for engine in cluster.live()):
            self._spawn(Watch(cluster).run())
        if any(spec.on_doubt == "ask" for engine in cluster.live() for spec in engine.agent.tasks.values()):
            self._spawn(Person(cluster).run())
        self._spawn(self._submit_all())
        began = cluster.loop.time()
        for fault in sorted(self.plan, key=lambda fault: fault.at):
            await asyncio.sleep(max(0.0, began + fault.at - cluster.loop.time()))
            self._spawn(self._carry_out(fault))
        await asyncio.sleep(max(0.0, began + self.scenario.seconds - cluster.loop.time()))
        self._heal()
        healed = cluster.loop.time()
        finished = await cluster.until(self._finished, LIVENESS_S)
        violations = [] if formed else ["the mesh did not form"]
        violations += [text for checker in (*SAFETY, *ELECTIONS, limits_kept) for text in checker(cluster)]
        violations += [text for checker in ordering.SAFETY for text in checker(cluster)]
        violations += [text for checker in (*LIVENESS, rights_return) for text in checker(cluster)]
        violations = [text for text in violations if not self._excused(text)]
        if not finished and not violations:
            violations.append("not everything was done in time")
        return self._outcome(violations, cluster.loop.time() - healed)

    def _outcome(self, violations: list[str], heal_s: float) -> Outcome:
        cluster = self.cluster
        for name in self.names:
            cluster.count(name)
        keys = Counter(cluster.feed.keys())
        effects = [engine.ledger.state.effects for engine in cluster.live()[:1]]
        doubts = [effect.doubt.settled for found in effects for effect in found.values() if effect.doubt]
        for settled in doubts:
            cluster.history.sometimes[f"doubts {settled}"] += 1
        states = [state for engine in cluster.live()[:1] for state in engine.ledger.state.tasks.values()]
        cluster.history.sometimes["delegated"] = sum(bool(state.claim and state.claim.holder) for state in states)
        for state in states:
            if state.task is not None and state.done is not None and not state.done.ok and state.cancel is None:
                cluster.history.sometimes[f"failed {state.task.kind}"] += 1
        return Outcome(
            self.seed,
            self.plan,
            violations,
            cluster.history.sometimes,
            cluster.history.trace,
            self.numbers,
            len(set(cluster.acknowledged)),
            len(keys),
            sum(keys.values()) - len(keys),
            len(doubts),
            longest_wait(cluster),
            heal_s,
            cluster.loop.time(),
            [f"{event.at:.6f} {event.what} {event.pid} {event.facts}" for event in cluster.history.events],
        )

    def _excused(self, violation: str) -> bool:
        """Whether it is about a task of which only damaged disks knew something."""
        subject = violation.partition(": ")[0]
        tasks = {"/".join(key.split("/")[:2]) for key in self.cluster.lost_keys}
        excused = "/".join(subject.split("/")[:2]) in tasks
        self.cluster.history.sometimes["excused: lost on every disk"] += excused
        return excused

    async def _form(self) -> bool:
        late = {fault.replica for fault in self.plan if isinstance(fault, faults.Join)}
        first = [name for name in self.names if name not in late]
        for name in first:
            self.cluster.start(name, new=name == first[0])
        voters = set(self.cluster.roster) & set(first)

        def whole() -> bool:
            engines = self.cluster.live()
            complete = all(len(engine.membership.view.members) == len(first) for engine in engines)
            return complete and all(engine.electorate.votes for engine in engines if engine.me.name in voters)

        formed = await self.cluster.until(whole, FORM_S)
        if self.scenario.voters is not None:
            for engine in self.cluster.live():
                engine.electorate.declared = ()  # from here on only the plan changes the roster
            self.cluster.roster = ()
        return formed

    def _finished(self) -> bool:
        engines = self.cluster.live()
        if len(engines) < sum(node.world is not None for node in self.cluster.nodes.values()):
            return False  # one that was leaving when all was healed comes back
        written = all(engine.ledger.durable_clock == engine.ledger.next_clock for engine in engines)
        return written and all(not engine.claims.open for engine in engines) and self.cluster.converged()

    # Workload

    async def _submit_all(self) -> None:
        """Spread over the time; each task on a random part of the replicas, as relays and webhooks deliver."""
        for _ in range(self.scenario.tasks if self.scenario.work else 0):
            await asyncio.sleep(self.rng.uniform(0, 2 * self.scenario.seconds / self.scenario.tasks))
            self._submit(self.rng.randint(1, len(self.names)))

    def _submit(self, copies: int) -> None:
        if not self.scenario.work:
            return
        number, self.numbers = self.numbers, self.numbers + 1
        work = self.scenario.work[number % len(self.scenario.work)]
        for name in self.rng.sample(self.names, copies):
            world = self.cluster.nodes[name].world
            if world is not None and not world.dead:
                self.cluster.submit(name, work.kind, work.payload(number), f"m{number}")
        if self.scenario.cancels and self.rng.random() < self.scenario.cancels:
            self._spawn(self._cancel(f"{work.kind}/m{number}"))

    async def _cancel(self, task: str) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, 1.0))
        self.cluster.cancel(self.rng.choice(self.names), task)

    # Faults

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = self.cluster.loop.create_task(job)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.cluster.failures.append(f"the simulation itself failed: {task.exception()!r}")

    async def _carry_out(self, fault: faults.Fault) -> None:
        self.cluster.history.add("fault", 0, repr(fault))
        match fault:
            case faults.Crash() | faults.DiskFull() | faults.Leave() | faults.Wipe() | Damage():
                await self._down(fault)
            case faults.Pause() | faults.Suspend():
                await self._pause(fault)
            case faults.Partition():
                others = set(self.names) - set(fault.side)
                await self._cut({(a, b) for a in fault.side for b in others}, both=True, for_s=fault.for_s)
            case faults.OneWay():
                await self._cut({(fault.source, fault.target)}, both=False, for_s=fault.for_s)
            case faults.SlowLink():
                pair = frozenset((fault.source, fault.target))
                self.cluster.network.slow_s[pair] = fault.delay_s
                await asyncio.sleep(fault.for_s)
                self.cluster.network.slow_s.pop(pair, None)
            case faults.CutLink():
                await self._cut({(fault.source, fault.target)}, both=True, for_s=fault.for_s)
            case faults.SlowPeer():
                self.cluster.network.slow_peers_s[fault.replica] = fault.delay_s
                await asyncio.sleep(fault.for_s)
                self.cluster.network.slow_peers_s.pop(fault.replica, None)
            case faults.DropLink():
                self.cluster.network.drop(fault.source, fault.target)
            case faults.Skew():
                self.cluster.skew(fault.replica, fault.offset_s)
            case faults.Drift():
                self.cluster.nodes[fault.replica].rate = fault.rate
            case faults.SlowDisk():
                disk = self.cluster.nodes[fault.replica].disk
                usual, disk.sync_s = disk.sync_s, (0.0, fault.sync_s)
                await asyncio.sleep(fault.for_s)
                disk.sync_s = usual
            case faults.Join():
                if self.cluster.nodes[fault.replica].world is None:
                    self.cluster.start(fault.replica)
            case faults.Vote():
                self._vote(fault)
            case faults.LockDown() | faults.LockCut() | faults.LockSlow():
                await self._trouble_locks(fault)
            case faults.Order():
                ordering.give(self.cluster, fault.replica, fault.mode, fault.target)
                await asyncio.sleep(fault.for_s)
                ordering.give(self.cluster, fault.replica, "run", fault.target)
            case faults.Burst():
                for _ in range(fault.count):
                    self._submit(len(self.names))

    def _vote(self, fault: faults.Vote) -> None:
        node = self.cluster.nodes[fault.replica]
        if node.world is None or node.engine is None:
            return
        electorate = node.engine.electorate

        def ask() -> None:
            with suppress(RosterRefused):
                change = electorate.add if fault.change == "add" else electorate.remove
                change(fault.name, lambda refusal: self.cluster.history.add("voted", 0, fault.name, str(refusal)))

        node.world.guard(ask)

    async def _trouble_locks(self, fault: faults.LockDown | faults.LockCut | faults.LockSlow) -> None:
        locks = self.cluster.locks
        match fault:
            case faults.LockDown():
                locks.down = True
                await asyncio.sleep(fault.for_s)
                locks.down = False
            case faults.LockCut():
                locks.unreachable.add(fault.replica)
                await asyncio.sleep(fault.for_s)
                locks.unreachable.discard(fault.replica)
            case faults.LockSlow():
                locks.slow_s[fault.replica] = fault.delay_s
                await asyncio.sleep(fault.for_s)
                locks.slow_s.pop(fault.replica, None)

    async def _down(self, fault: Down) -> None:
        cluster, name = self.cluster, fault.replica
        world = cluster.nodes[name].world
        by_itself = isinstance(fault, faults.DiskFull | faults.Leave)
        if world is None or world.dead or (world.paused and by_itself):
            return
        match fault:
            case faults.Crash():
                cluster.kill(name)
            case faults.Wipe():
                cluster.kill(name)
                cluster.wipe(name)
            case Damage():
                cluster.kill(name)
                # Where no memory at all is left, a person has to decide: that is no matter for random plans.
                if any(engine.membership.settled for engine in cluster.live()):
                    cluster.damage(name, fault.way)
            case faults.DiskFull():
                world.journal.full = True
                await cluster.until(lambda: world.dead, 5.0)
            case faults.Leave():
                await cluster.leave(name)
        await asyncio.sleep(fault.for_s)
        if world.dead and cluster.nodes[name].world is world:  # also when it left after all was healed
            cluster.start(name)

    async def _pause(self, fault: faults.Pause | faults.Suspend) -> None:
        world = self.cluster.nodes[fault.replica].world
        if world is None or world.dead or world.paused:
            return
        self.cluster.pause(fault.replica, suspend=isinstance(fault, faults.Suspend))
        await asyncio.sleep(fault.for_s)
        if world.paused and not world.dead:
            self.cluster.resume(fault.replica)

    async def _cut(self, pairs: set[tuple[str, str]], *, both: bool, for_s: float) -> None:
        pairs = pairs | {(b, a) for a, b in pairs} if both else pairs
        fresh = sorted(pairs - self.cluster.network.cuts)
        for source, target in fresh:
            self.cluster.cut(source, target)
        await asyncio.sleep(for_s)
        for source, target in fresh:
            self.cluster.uncut(source, target)

    def _heal(self) -> None:
        """All faults end; every replica that ever was is started again."""
        cluster = self.cluster
        self.healing = True
        cluster.history.add("heal", 0)
        if any(isinstance(fault, faults.Order) for fault in self.plan):
            self._spawn(ordering.resume_all(cluster))
        for source, target in sorted(cluster.network.cuts):
            cluster.uncut(source, target)
        cluster.network.slow_s.clear()
        cluster.network.slow_peers_s.clear()
        cluster.locks.end_trouble()
        cluster.network.loss = 0.0
        for name in self.names:
            node = cluster.nodes[name]
            node.disk.sync_s = (0.0002, 0.002)
            if node.world is not None and node.world.paused and not node.world.dead:
                cluster.resume(name)
            if node.world is not None and node.world.dead:
                cluster.start(name)
