"""Leases that are dated, or ended, wrongly: the table of `table.py` finds each."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actonce.lock_session import Lease, LockSession
from actonce.locks import LockError
from actonce.sim.locks import SimLockService

from .table import WAIT_S, Table
from .test_contract import SimBench


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
