"""A lock service in virtual time: one store for all replicas, and each replica's own way to it.

It keeps its data through every outage, as a service with durable storage does. What goes wrong is the way: it is down,
one replica cannot reach it, requests and answers are slow or get lost (a lost answer's write has happened).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actonce.locks.service import (
    REQUEST_S,
    LockConflict,
    LockError,
    LockUnreachable,
    Register,
)
from actonce.sim.process import Process

T = TypeVar("T")
WHERE = "sim://locks"


@dataclass(slots=True)
class LockStore:
    """The service itself, and what is wrong with it now."""

    rng: random.Random
    registers: dict[str, Register] = field(default_factory=dict)
    revision: int = 0
    down: bool = False
    """It refuses connections."""
    unreachable: set[str] = field(default_factory=set)
    """Replicas that get no answer."""
    slow_s: dict[str, float] = field(default_factory=dict)
    """By replica: further delay of each message, one way."""
    delay_s: tuple[float, float] = (0.0005, 0.01)
    """One way."""
    slow_share: float = 0.02
    """Of messages that take up to a request's whole time instead, one way."""
    lost_share: float = 0.0
    """Of messages that never arrive, one way."""

    def end_trouble(self) -> None:
        """All is well from now on."""
        self.down, self.lost_share = False, 0.0
        self.unreachable.clear()
        self.slow_s.clear()

    def get(self, key: str) -> Register | None:
        """At this moment."""
        return self.registers.get(key)

    def put(self, key: str, value: bytes, expected: int) -> int:
        """At this moment."""
        found = self.registers.get(key)
        if (found.revision if found is not None else 0) != expected:
            raise LockConflict(key)
        self.revision += 1
        self.registers[key] = Register(value, self.revision)
        return self.revision

    def travel_s(self, replica: str) -> float:
        """Of one message; infinite for one that is lost."""
        if self.rng.random() < self.lost_share:
            return float("inf")
        slow = self.rng.random() < self.slow_share
        return self.rng.uniform(*((0.1, REQUEST_S) if slow else self.delay_s)) + self.slow_s.get(replica, 0.0)


class SimLockService:
    """`LockService` of one client of the store."""

    where = WHERE

    def __init__(self, store: LockStore, client: str) -> None:
        self._store, self._client = store, client

    async def get(self, key: str) -> Register | None:
        return await self._ask(lambda: self._store.get(key))

    async def put(self, key: str, value: bytes, expected: int) -> int:
        return await self._ask(lambda: self._store.put(key, value, expected))

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _ask(self, do: Callable[[], T]) -> T:
        """A request goes on its way whatever becomes of the one who waits for it."""
        if self._store.down:
            raise LockUnreachable("connection refused")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Callable[[], T]] = loop.create_future()

        def arrive(answer: Callable[[], T]) -> None:
            if not answered.done() and not self._cut():
                answered.set_result(answer)

        def reach() -> None:
            if self._cut():
                return
            try:
                done = do()
                self._later(lambda: arrive(lambda: done))
            except LockError as error:
                failure = error

                def fail() -> T:
                    raise failure

                self._later(lambda: arrive(fail))

        self._later(reach)
        try:
            return (await asyncio.wait_for(answered, REQUEST_S))()
        except TimeoutError:
            raise LockUnreachable(f"no answer within {REQUEST_S:g} s") from None

    def _cut(self) -> bool:
        return self._store.down or self._client in self._store.unreachable

    def _later(self, call: Callable[[], None]) -> None:
        travel_s = self._store.travel_s(self._client)
        if travel_s != float("inf"):
            asyncio.get_running_loop().call_later(travel_s, call)


class SimLocks:
    """`Locks` of one simulated process."""

    where = WHERE

    def __init__(self, process: Process, service: SimLockService) -> None:
        self._process, self._service = process, service
        self._requests: set[asyncio.Task[None]] = set()

    def get(self, key: str, reply: Callable[[Register | LockError | None], None]) -> None:
        """As in `Locks`."""
        self._start(lambda: self._service.get(key), reply)

    def put(self, key: str, value: bytes, expected: int, reply: Callable[[int | LockError], None]) -> None:
        """As in `Locks`."""
        self._process.point()
        self._start(lambda: self._service.put(key, value, expected), reply)

    def _start(self, ask: Callable[[], Coroutine[Any, Any, T]], reply: Callable[[T | LockError], None]) -> None:
        async def request() -> None:
            answer: T | LockError
            try:
                answer = await ask()
            except LockError as error:
                answer = error
            self._process.guard(lambda: reply(answer))

        task = self._process.loop.create_task(request())
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
