"""Steps that end after their handler: of a thread that outlived its attempt, or beside another one that failed."""

import asyncio
import contextlib
import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest

from actonce import Agent, Context, Replica, SyncContext
from actonce.errors import ActonceError, TaskFailed
from actonce.settings import LAN
from actonce_crdt import Json

from .lab import Lab, run
from .test_replica import sees

WAIT_S = 20
SOON = dataclasses.replace(LAN, retry_wait_s=0.01, drain_s=10.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_step_beside_one_that_failed_is_refused_and_harms_nobody() -> None:
    """The handler failed with one of two steps; the other one ends while the next attempt runs."""

    async def scenario() -> None:
        agent, late, again, ended = Agent("kevin"), list[str](), asyncio.Event(), asyncio.Event()

        @agent.task("both", retries=1)
        async def both(ctx: Context, payload: Json) -> Json:
            async def first() -> None:
                await again.wait()

            async def second() -> str:
                again.set()
                await ended.wait()
                return "fine"

            async def tail() -> None:
                for name in ("slow", "more"):
                    try:
                        await ctx.step(name, first)
                    except ActonceError as error:
                        late.append(type(error).__name__)
                ended.set()

            async def fails() -> None:
                raise ValueError("no")

            if ctx.attempt == 1:
                await asyncio.gather(tail(), ctx.step("fails", fails))
            last: Json = await ctx.step("slow", second)
            return last

        lab = Lab(agent)
        engine = await lab.form()
        assert await lab.outcome("both") == (True, "fine")
        assert late == ["GateClosed", "GateClosed"]
        assert not engine.desk.steps._memories
        assert not lab.failures

    run(scenario)


@pytest.mark.anyio
@pytest.mark.parametrize("limit_s", [None, 0.3])
async def test_a_plain_handler_that_outlived_its_attempt_ends_its_step_in_vain(
    tmp_path: Path, limit_s: float | None
) -> None:
    """It was called off, or timed out. What its thread does then is nothing to the replica, nor to the next attempt."""
    agent, begun, go, ended = Agent("kevin"), threading.Event(), threading.Event(), threading.Event()
    errors: list[str] = []

    def paid() -> int:
        begun.set()
        assert go.wait(WAIT_S)
        return 1

    @agent.task("late", retries=1, timeout=limit_s)
    def late(ctx: SyncContext, payload: Any) -> int:
        if ctx.attempt == 2:
            return 2
        try:
            for name in ("paid", "more"):
                try:
                    ctx.step(name, paid)
                except ActonceError as error:
                    errors.append(type(error).__name__)
        finally:
            ended.set()
        return 1

    async with Replica(agent, name="a", data=tmp_path, listen="127.0.0.1:0", new=True, settings=SOON) as first:
        handle = await first.submit("late", None)
        assert await asyncio.to_thread(begun.wait, WAIT_S)
        if limit_s is None:
            assert await handle.cancel() == "cancelled"
        with contextlib.suppress(TaskFailed):
            await handle.result(WAIT_S)
        await sees(first, lambda engine: engine.executor.idle)
        go.set()
        assert await asyncio.to_thread(ended.wait, WAIT_S)
        assert errors == ["GateClosed", "GateClosed"]
        await sees(first, lambda engine: not engine.desk.steps._memories)
