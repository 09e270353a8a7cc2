"""Leases and holds over each lock service: who has a task, since when, until when. Replicas are only their lock side.

Whatever happens, two replicas never both hold an unexpired lease of one task: `Table` looks at every step.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from actonce.edge.locks import EdgeLocks
from actonce.lock_session import Lease, LockSession
from actonce.locks import LockError, LockService, LockUnreachable
from actonce.locks.contract_suite import LockBench
from actonce.ownership import Member
from actonce.settings import LAN
from actonce.sim.locks import SimLockService
from actonce.task_locks import Hold, TaskLocks
from actonce.world import World

from .servers import etcd_server, nats_server, running
from .test_contract import SimBench

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


class Lossy:
    """The real service, whose answer to the next write gets lost."""

    def __init__(self, service: LockService) -> None:
        self._service, self.where = service, service.where
        self.lose: Callable[[str], bool] = lambda key: False
        self.lost = 0

    async def get(self, key: str) -> Any:
        return await self._service.get(key)

    async def put(self, key: str, value: bytes, expected: int) -> int:
        revision = await self._service.put(key, value, expected)
        if self.lose(key):
            self.lose, self.lost = lambda key: False, self.lost + 1
            raise LockUnreachable("the answer got lost")
        return revision

    async def aclose(self) -> None:
        await self._service.aclose()


@pytest.fixture(params=["simulated", "nats", "etcd"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LockBench]:
    if request.param == "simulated":
        yield SimBench(1)
    else:
        with running({"nats": nats_server, "etcd": etcd_server}[request.param](tmp_path)) as server:
            yield server


def test_exclusive_and_free_after_giving_back(bench: LockBench) -> None:
    async def test() -> None:
        async with Table(bench) as table:
            a, b = table.join("a"), table.join("b")
            assert await a.acquire()
            first = a.token
            assert not await b.acquire()
            assert b.hold.why == "held by a"
            assert await a.acquire(), "asking again changes nothing"
            assert a.token == first
            await a.give_back()
            assert not a.token
            assert await b.acquire()
            assert b.token > first

    bench.run(test)


def test_renewal_extends_and_silence_ends(bench: LockBench) -> None:
    """While it renews it keeps the task for longer than its lease; when it stops, another gets it, not earlier."""

    async def test() -> None:
        async with Table(bench) as table:
            a, b = table.join("a"), table.join("b")
            assert await a.acquire()
            since = table.loop.time()
            while table.loop.time() - since < 2 * TTL_S:
                assert not await b.acquire()
            assert a.token
            assert not a.hold.permit or not a.hold.permit.lease.lost
            a.paused = True
            assert await table.acquired(b) > TTL_S / 3
            assert not a.token
            assert not b.hold.permit or not b.hold.permit.doubtful, "it was a reader from the beginning"
            a.paused = False
            await table.until(lambda: a.hold.permit is not None and a.hold.permit.lease.lost)
            a.hold = Hold(TASK, 2)
            assert not await a.acquire()

    bench.run(test)


def test_the_next_process_of_a_replica_does_not_wait(bench: LockBench) -> None:
    """Having its journal open proves that the one before is dead. Another journal under its name proves nothing."""

    async def test() -> None:
        async with Table(bench) as table:
            a = table.join("a")
            assert await a.acquire()
            table.kill(a)
            again = table.join("a", incarnation=2)
            began = table.loop.time()
            assert await again.acquire()
            assert table.loop.time() - began < TTL_S
            stranger = table.join("a", journal="another", incarnation=3)
            table.kill(again)
            began = table.loop.time()
            assert await stranger.acquire()
            assert table.loop.time() - began >= TTL_S

    bench.run(test)


def test_done_is_remembered(bench: LockBench) -> None:
    async def test() -> None:
        async with Table(bench) as table:
            a, b = table.join("a"), table.join("b")
            assert await a.acquire()
            await a.give_back("done")
            assert not await b.acquire()
            assert b.hold.why == "a has done it; waits for its outcome"
            a.session.end()
            await table.until(lambda: math.isinf(a.session.lease.until) if a.session.lease else False)
            assert not await b.acquire()

    bench.run(test)


def test_a_lost_answer_is_found_again(bench: LockBench) -> None:
    """Of the acquisition, and of a renewal: what the service holds says whose it is."""

    async def test() -> None:
        async with Table(bench) as table:
            service = Lossy(bench.client())
            a, b = table.join("a", service=service), table.join("b")
            await table.until(lambda: a.session.live)
            service.lose = lambda key: ".task." in key
            assert not await a.acquire()
            assert service.lost == 1
            assert not await b.acquire()
            assert b.hold.why == "held by a"
            assert await a.acquire()
            service.lose = lambda key: ".session." in key
            await table.until(lambda: service.lost == 2)
            await table.until(lambda: a.session.live and not a.session.trouble)
            assert a.token
            assert not await b.acquire()

    bench.run(test)


def test_a_write_that_may_still_come_is_made_harmless(bench: LockBench) -> None:
    """Nobody waits for a holder that does not know that it is one."""

    async def test() -> None:
        async with Table(bench) as table:
            service = Lossy(bench.client())
            a, b = table.join("a", service=service), table.join("b")
            await table.until(lambda: a.session.live)
            service.lose = lambda key: ".task." in key
            assert not await a.acquire()
            await a.give_back()
            assert await b.acquire()
            assert b.hold.permit is not None
            assert not b.hold.permit.doubtful, "it never ran, so there is nothing to doubt"

    bench.run(test)


def test_a_killed_service_keeps_the_fence(bench: LockBench) -> None:
    """Held before, held after; nobody gets it meanwhile; the lease runs out if the service is away for long."""

    async def test() -> None:
        async with Table(bench) as table:
            a, b = table.join("a"), table.join("b")
            assert await a.acquire()
            token = a.token
            bench.stop()
            await table.until(lambda: not a.token)
            assert a.session.trouble == "connection refused"
            bench.start()
            await table.until(lambda: a.session.live)
            assert a.token == token
            await table.until(lambda: b.session.live)
            assert not await b.acquire()
            a.paused = True
            await table.acquired(b)
            assert b.token > token

    bench.run(test)


def test_who_was_cut_off_knows_that_it_does_not_know(bench: LockBench) -> None:
    """c was not in play when a got the task, so it cannot know what a posted; nor can whoever comes after c."""

    async def test() -> None:
        async with Table(bench) as table:
            a, b = table.join("a"), table.join("b")
            assert await a.acquire()
            assert a.hold.permit is not None
            a.hold.permit.left_at = a.world.now()
            c = table.join("c")
            a.paused = True
            await table.acquired(c)
            assert c.hold.permit is not None
            assert c.hold.permit.doubtful
            c.hold.permit.left_at = c.world.now()
            await c.give_back()
            await table.acquired(b)
            assert b.hold.permit is not None
            assert b.hold.permit.doubtful

    bench.run(test)


# The table can fail: leases that are dated, or ended, wrongly.


def lease_from_arrival(patch: pytest.MonkeyPatch) -> None:
    """A lease counts from when the answer came, not from when the request was sent."""
    written = LockSession._written

    def late(self: LockSession, lease: Lease, sent: float, answer: int | LockError) -> None:
        written(self, lease, self._world.now(), answer)

    patch.setattr(LockSession, "_written", late)


def session_watched_briefly(patch: pytest.MonkeyPatch) -> None:
    """A quarter of the lease is waited for."""
    run_out = LockSession._has_run_out

    def hasty(self: LockSession, session: str, found: Any, revision: int) -> bool:
        return run_out(self, session, replace(found, ttl_ms=found.ttl_ms // 4), revision)

    patch.setattr(LockSession, "_has_run_out", hasty)


def session_ended_unwaited(patch: pytest.MonkeyPatch) -> None:
    """Whoever wants a task ends the session of its holder at once."""
    patch.setattr(LockSession, "_has_run_out", lambda self, session, found, revision: True)


def both_acted(seed: int) -> list[str]:
    """A holder whose way to the service is slow stops renewing, while another asks for its task all the time."""

    async def test() -> list[str]:
        async with Table(slow) as table:
            a = table.join("a", service=SimLockService(slow.store, "far"))
            b = table.join("b", service=SimLockService(slow.store, "near"))
            await table.acquired(a)
            since, rng = table.loop.time(), random.Random(seed)
            stop_s = rng.uniform(0.5, 1.5)
            while not await b.acquire():
                a.paused = a.paused or table.loop.time() - since > stop_s
                assert table.loop.time() - since < WAIT_S
            steps = table.steps
            await table.until(lambda: table.steps > steps + 1)
            broken, table.broken, table.tokens = table.broken, [], []
            return broken

    slow = SimBench(seed)
    slow.store.slow_s["far"] = 0.12
    return slow.run(test)


@pytest.mark.parametrize("fault", [lease_from_arrival, session_watched_briefly, session_ended_unwaited])
def test_a_fault_is_found(fault: Callable[[pytest.MonkeyPatch], None]) -> None:
    """In the first of ten seeds that all pass without it."""
    assert not any(both_acted(seed) for seed in range(10))
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        assert both_acted(0)
