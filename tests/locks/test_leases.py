"""Leases and holds over each lock service: who has a task, since when, until when."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actonce.locks import LockService, LockUnreachable
from actonce.locks.contract_suite import LockBench
from actonce.task_locks import Hold

from .servers import etcd_server, nats_server, running
from .table import TASK, TTL_S, Table
from .test_contract import SimBench


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
