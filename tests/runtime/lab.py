"""Replicas in virtual time, one agent, for tests that look at one part of the engine at a time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from actonce.agent import Agent
from actonce.engine import Engine
from actonce.inbox import Submitted, pack_payload
from actonce.settings import LAN, Settings
from actonce.sim.cluster import Cluster, simulate
from actonce.sim.world import SimWorld
from actonce_crdt import Done, Json, TaskState, unpack_value

Result = TypeVar("Result")
WAIT_S = 60.0


class Lab(Cluster):
    """A mesh of replicas that run `agent`; sinks and handlers are shared by all of them."""

    def __init__(self, agent: Agent, names: str = "a", settings: Settings = LAN, seed: int = 1) -> None:
        super().__init__(seed, names, lambda world, feed: agent, settings)
        self.names = names

    async def form(self) -> Engine:
        """All replicas in one view; returns the first."""
        for index, name in enumerate(self.names):
            self.start(name, new=index == 0)
        size = len(self.names)
        await self.sure(lambda: all(len(e.membership.view.members) == size for e in self.live()))
        await self.sure(lambda: all(e.membership.act_until() > e.world.now() for e in self.live()))
        return self.engine(self.names[0])

    async def sure(self, condition: Callable[[], bool]) -> None:
        """Wait in virtual time for what must come."""
        assert await self.until(condition, WAIT_S), [list(engine.notes) for engine in self.live()]

    def world(self, name: str = "a") -> SimWorld:
        world = self.nodes[name].world
        assert world is not None
        return world

    def put(self, kind: str, payload: Json = None, key: str | None = "k", name: str = "a") -> list[Submitted]:
        """Submit; the list gets the answer once the task is safe."""
        answers: list[Submitted] = []
        self.engine(name).inbox.submit(kind, pack_payload("the payload", payload), key, answers.append)
        return answers

    def state(self, task: str, name: str = "a") -> TaskState:
        return self.engine(name).ledger.state.tasks[task]

    async def outcome(self, kind: str, payload: Json = None, key: str = "k", name: str = "a") -> tuple[bool, Any]:
        """Submit and wait: whether it went well, and its result or error."""
        done: list[Done] = []
        self.put(kind, payload, key, name)
        self.engine(name).inbox.result(f"{kind}/{key}", done.append)
        await self.sure(lambda: bool(done))
        return done[0].ok, unpack_value(done[0].result)


class Later:
    """The world of a replica that has not started yet."""

    def __init__(self, lab: Lab, name: str = "a") -> None:
        self._lab, self._name = lab, name

    def __getattr__(self, what: str) -> Any:
        return getattr(self._lab.world(self._name), what)


def run(scenario: Callable[..., Coroutine[Any, Any, Result]], *args: Any) -> Result:
    """Run a scenario in virtual time."""
    return simulate(lambda: scenario(*args))


async def turns(count: int = 20) -> None:
    """Let the loop turn, without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)
