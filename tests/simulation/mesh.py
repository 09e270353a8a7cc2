"""A mesh of simulated replicas whose handlers write down when they ran, and the check that a scenario ends with."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from actonce.agent import Agent, OnDoubt
from actonce.context import Context
from actonce.engine import Engine
from actonce.ownership import owner
from actonce.poison import DEATHS_MAX
from actonce.settings import LAN, Settings
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.world import SimWorld

Result = TypeVar("Result")
SETTLE_S = 5.0
DRAIN_S = 60.0
GIVEN_UP_S = LAN.suspicion_s + LAN.grace_s
"""Silence after which the others take a replica's tasks over."""


@dataclass(frozen=True, slots=True)
class Started:
    """One attempt of a handler."""

    task: str
    replica: str
    pid: int
    at: float
    attempt: int


@dataclass(slots=True)
class Plan:
    """What the handlers of a mesh do. Durations are seconds."""

    work_s: tuple[float, float] = (0.0, 0.1)
    """Before the one post of a task."""
    posts: int = 1
    on_doubt: OnDoubt = "resend"
    make_sink: Callable[[Feed, SimWorld], FeedSink] = FeedSink


class Mesh(Cluster):
    """A `Cluster` whose agent has one kind of task, `reply`, which works for a while and posts its payload."""

    def __init__(
        self, seed: int, names: Sequence[str], plan: Plan | None = None, settings: Settings = LAN
    ) -> None:
        super().__init__(seed, names, self._agent, settings)
        self.names, self.plan = list(names), plan or Plan()
        self.started: list[Started] = []
        self.ended: list[Started] = []
        self.needless: list[str] = []
        """Handlers that were started although a live replica knew the outcome.

        Wrong, unless the mesh is cut or a replica that died has come back: it may bring an outcome that nobody read.
        """

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent, plan = Agent("kevin"), self.plan
        agent.sink("room", plan.make_sink(feed, world))

        @agent.task("reply", on_doubt=plan.on_doubt)
        async def reply(ctx: Context, payload: dict[str, Any]) -> Any:
            await world.alive()
            start = Started(ctx.task, world.name, world.process.pid, self.loop.time(), ctx.attempt)
            self.started.append(start)
            self.needless += [f"{start}: {name} knows the outcome" for name in self.knows_outcome(ctx.task)]
            await anyio.sleep(world.rng.uniform(*plan.work_s))
            await world.alive()
            for post in range(plan.posts):
                await ctx.post("room", {"re": payload, "post": post})
            self.ended.append(start)
            return payload

        return agent

    async def form(self, names: str = "") -> None:
        """The first of these replicas (of all, when none is named) makes the mesh, the others join."""
        for index, name in enumerate(names or self.names):
            self.start(name, new=index == 0)
        assert await self.formed(), f"seed {self.seed}: no mesh: {self.story()}"

    async def formed(self, timeout_s: float = SETTLE_S) -> bool:
        """Whether all live replicas come to hold just each other to be live, and may act."""

        def whole() -> bool:
            live = {engine.me for engine in self.live()}
            return all(
                engine.membership.view.members == live
                and not engine.membership.view.lingering
                and engine.membership.act_until() > engine.world.now()
                for engine in self.live()
            )

        return await self.until(whole, timeout_s)

    def ask(self, key: str, *names: str) -> None:
        """The same message reaches these replicas (all, when none is named) at the same time."""
        for name in names or self.names:
            self.submit(name, "reply", key, key)

    def restart(self, name: str) -> Engine:
        """kill -9 and a new process at once."""
        self.kill(name)
        return self.start(name)

    def dice(self, part: str) -> random.Random:
        """Randomness of a scenario itself, apart from that of its mesh."""
        return dice(self.seed, part)

    def world(self, name: str) -> SimWorld:
        world = self.nodes[name].world
        assert world is not None
        return world

    async def quiet(self, timeout_s: float = DRAIN_S) -> bool:
        """Wait until no task is open, all documents are equal and on disk. False if that does not happen."""
        return await self.until(lambda: all(map(_is_done, self.live())) and self.converged(), timeout_s)

    def knows_outcome(self, task: str) -> list[str]:
        """Settled live replicas that know how this task ended. (One that restarts may know what nobody read.)"""
        settled = [engine for engine in self.live() if engine.membership.settled is not None]
        states = [(engine.me.name, engine.ledger.state.tasks.get(task)) for engine in settled]
        return [name for name, state in states if state is not None and state.done is not None]

    def owner(self, key: str) -> str:
        """Who answers the message with this key while all are there."""
        first = owner(f"reply/{key}", [engine.me for engine in self.live()], lambda name: True)
        assert first is not None
        return first.name

    def key_of(self, name: str, *, nth: int = 0) -> str:
        """The key of a message that this replica will answer while all are there."""
        keys = (f"for-{name}-{index}" for index in range(10_000))
        return next(itertools.islice((key for key in keys if self.owner(key) == name), nth, None))

    def runs(self) -> Counter[str]:
        """How often the handler of each task was started."""
        return Counter(start.task for start in self.started)

    def twice(self) -> list[str]:
        """Effects that the feed carried out more than once."""
        return sorted(key for key, count in Counter(self.feed.keys()).items() if count > 1)

    def lost(self) -> list[str]:
        """Acknowledged tasks without their effect."""
        return sorted(set(self.acknowledged) - {post.key.rpartition("/")[0] for post in self.feed.posts})

    def story(self) -> str:
        """For the message of a failure."""
        lines = [f"seed {self.seed}, {self.loop.time():.3f} s; failures {self.failures}"]
        for engine in self.live():
            until = engine.membership.act_until() - engine.world.now()
            lines.append(f"{engine.me} acts for {until:.3f} s, open {list(engine.claims.open)}")
            lines.append(f"    {engine.membership.view}")
            lines += [f"    {at - 1_700_000_000:.3f} {text}" for at, text in list(engine.notes)[-20:]]
        lines += [str(start) for start in self.started if self.runs()[start.task] > 1]
        lines += [str(post) for post in self.feed.posts if post.key in self.twice()]
        return "\n".join(lines)

    async def set_aside(self, keys: Sequence[str]) -> list[str]:
        """Of these messages those that were set aside, by rule, though innocent: three kills met their claims."""
        assert await self.quiet(), self.story()
        states = self.live()[0].ledger.state.tasks
        aside = [key for key in keys if (done := states[f"reply/{key}"].done) is not None and done.how == "aside"]
        assert all(states[f"reply/{key}"].deaths >= DEATHS_MAX for key in aside), self.story()
        return aside

    async def check_once(self, keys: Mapping[str, None] | Sequence[str]) -> None:
        """Every one of these messages was answered, once."""
        assert await self.quiet(), self.story()
        assert not self.failures, self.story()
        assert sorted(self.feed.keys()) == sorted(f"reply/{key}/#1" for key in keys), self.story()


def _is_done(engine: Engine) -> bool:
    written = engine.ledger.durable_clock == engine.ledger.next_clock
    return not engine.claims.open and engine.executor.idle and written


def run(scenario: Callable[..., Coroutine[Any, Any, Result]], *args: Any) -> Result:
    """Run a scenario in virtual time."""
    return simulate(lambda: scenario(*args))


def dice(seed: int, part: str) -> random.Random:
    """Randomness of a scenario itself, apart from that of its mesh."""
    return random.Random(f"scenario/{part}/{seed}")
