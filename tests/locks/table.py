"""The lock side of several replicas, over one service, in one loop; and a watch that never two of them may act."""

import asyncio
import random
from collections.abc import Callable
from typing import Literal, cast

from actonce.edge.locks import EdgeLocks
from actonce.lock_session import LockSession
from actonce.locks import LockService
from actonce.locks.contract_suite import LockBench
from actonce.ownership import Member
from actonce.settings import LAN
from actonce.task_locks import Hold, TaskLocks
from actonce.world import World

TASK = "pay/1"
TTL_S = 0.6
WAIT_S = 30.0
STEP_S = 0.005


class LoopWorld:
    """As much of a `World` as locks need, on the running loop's clock."""

    def __init__(self, service: LockService) -> None:
        self.loop = asyncio.get_running_loop()
        self.locks = EdgeLocks(service)
        self.rng = random.Random(1)
        self.ids = 0

    def now(self) -> float:
        return self.loop.time()

    def wall(self) -> float:
        return 1_700_000_000 + self.loop.time()

    def new_id(self) -> str:
        self.ids += 1
        return f"{id(self):x}-{self.ids}"


class Holder:
    """The lock side of one process of one replica."""

    def __init__(self, table: "Table", name: str, journal: str, incarnation: int, service: LockService) -> None:
        self.table, self.me = table, Member(name, incarnation)
        self.world = LoopWorld(service)
        world = cast(World, self.world)
        self.session = LockSession(world, self.world.locks, LAN, "kevin", name, journal, TTL_S)
        self.locks = TaskLocks(world, self.world.locks, self.session, "kevin", self.me)
        self.hold = Hold(TASK, 1)
        self.paused = False

    @property
    def token(self) -> int:
        """Of the task, while we may act; else 0."""
        permit = self.hold.permit
        return permit.token if permit is not None and self.world.now() < permit.lease.until else 0

    def step(self) -> None:
        if not self.paused:
            self.session.pump()

    async def acquire(self) -> bool:
        """Once."""
        await self.table.until(lambda: self.session.live and not self.hold.busy)
        done = asyncio.Event()
        self.locks.acquire(self.hold, self.table.members(), done.set)
        await done.wait()
        return bool(self.token)

    async def give_back(self, state: Literal["free", "done"] = "free") -> None:
        done = asyncio.Event()
        self.locks.give_back(self.hold, state, done.set)
        await done.wait()


class Table:
    """Several holders; every step it looks whether more than one may act. Use as a context."""

    def __init__(self, bench: LockBench) -> None:
        self.bench, self.holders, self.dead = bench, list[Holder](), list[Holder]()
        self.loop = asyncio.get_running_loop()
        self.tokens: list[int] = []
        self.broken: list[str] = []
        self.steps = 0
        self._stopped = False

    def join(self, name: str, *, journal: str = "", incarnation: int = 1, service: LockService | None = None) -> Holder:
        client = service if service is not None else self.bench.client()
        self.holders.append(Holder(self, name, journal or f"journal-{name}", incarnation, client))
        return self.holders[-1]

    def kill(self, holder: Holder) -> None:
        self.holders.remove(holder)
        self.dead.append(holder)

    def members(self) -> frozenset[Member]:
        return frozenset(holder.me for holder in self.holders)

    async def __aenter__(self) -> "Table":
        self._step()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stopped = True
        for holder in [*self.holders, *self.dead]:
            await holder.world.locks.aclose()
        if error[0] is None:
            assert not self.broken
            assert self.tokens == sorted(self.tokens), "a token went back"

    def _step(self) -> None:
        if self._stopped:
            return
        self.steps += 1
        for holder in self.holders:
            holder.step()
        acting = {holder.me: holder.token for holder in self.holders if holder.token}
        if len(acting) > 1:
            self.broken.append(f"{self.loop.time():.3f}: {acting}")
        for token in acting.values():
            if not self.tokens or self.tokens[-1] != token:
                self.tokens.append(token)
        self.loop.call_later(STEP_S, self._step)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looks as often as the table steps."""
        came = asyncio.Event()

        def look() -> None:
            if condition():
                came.set()
            elif not self._stopped:
                self.loop.call_later(STEP_S, look)

        look()
        await asyncio.wait_for(came.wait(), WAIT_S)

    async def acquired(self, holder: Holder) -> float:
        """Ask again and again; how long it took."""
        began = self.loop.time()
        while not await holder.acquire():
            assert self.loop.time() - began < WAIT_S, holder.hold.why
        return self.loop.time() - began
