"""Handlers that wait hold no slot, whatever else they wait for at the same time."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress

import anyio
from tests.runtime.lab import Lab, run, turns

from actonce.agent import Agent
from actonce.context import Context
from actonce.errors import SinkUnknown
from actonce.settings import LAN
from actonce.sinks import CallableSink
from actonce_crdt import Json


async def mute(body: Json, key: str) -> None:
    raise SinkUnknown("lost")


NARROW = dataclasses.replace(LAN, slots=1)


def test_a_parent_that_waits_for_two_things_at_once_lets_both_run() -> None:
    """With one slot: the first child has ended, and the parent waits for the second one still."""

    async def scenario() -> None:
        agent = Agent("kevin")

        @agent.task("child")
        async def child(ctx: Context, payload: Json) -> Json:
            await anyio.sleep(0.1)
            return payload

        @agent.task("parent")
        async def parent(ctx: Context, payload: Json) -> Json:
            children = [await ctx.spawn("child", number) for number in range(3)]
            found = await asyncio.gather(*(ctx.gather(one) for one in children))
            assert engine.executor.free == 0  # it has the slot again
            return [one for (one,) in found]

        lab = Lab(agent, settings=NARROW)
        engine = await lab.form()
        assert await lab.outcome("parent") == (True, [0, 1, 2])
        assert engine.executor.free == NARROW.slots

    run(scenario)


def test_a_handler_that_takes_long_to_end_leaves_no_slot_behind() -> None:
    """It waited for a child when its task was taken from it, and given back before it had ended."""

    async def scenario() -> None:
        agent, go, attempts = Agent("kevin"), asyncio.Event(), list[int]()

        @agent.task("child", retries=0)
        async def child(ctx: Context, payload: Json) -> None:
            await go.wait()

        @agent.task("parent")
        async def parent(ctx: Context, payload: Json) -> Json:
            attempts.append(ctx.fence)
            try:
                await ctx.gather(await ctx.spawn("child", None, key="child"))
            finally:
                if len(attempts) == 1:
                    await go.wait()
            return "done"

        lab = Lab(agent)
        engine = await lab.form()
        safe = lab.put("parent")
        await lab.sure(lambda: bool(safe) and len(engine.executor._parked) == 1)
        engine.claims.hand_on("parent/k")
        await lab.sure(lambda: len(attempts) == 2)
        await turns()
        assert engine.executor.free == LAN.slots - 1  # that of the child
        go.set()
        await lab.sure(lambda: not engine.claims.open and engine.executor.idle)
        assert engine.executor.free == LAN.slots

    run(scenario)


def test_a_wait_that_its_handler_gave_up_leaves_nothing_behind() -> None:
    """It holds a slot again, and nobody waits any more for what may never come."""

    async def scenario() -> None:
        agent = Agent("kevin")
        agent.sink("room", CallableSink(mute))

        @agent.task("parent", on_doubt="ask")
        async def parent(ctx: Context, what: str) -> None:
            for _ in range(3):
                with suppress(TimeoutError):
                    await asyncio.wait_for(ctx.gather("parent/nobody", "parent/nobody", "parent/else"), 1.0)
            with suppress(TimeoutError):
                await asyncio.wait_for(ctx.post("room", what), 2.0)
            await asyncio.sleep(5.0)

        lab = Lab(agent, "a")
        engine = await lab.form()
        lab.put("parent", "x")
        await lab.sure(lambda: len(engine.inbox._waiting) == 2)
        assert engine.executor.free == LAN.slots
        await lab.sure(lambda: bool(engine.doubts.of("parent/k")))
        assert engine.executor.free == LAN.slots
        assert not engine.inbox._waiting
        await lab.sure(lambda: not engine.doubts.of("parent/k"))
        assert engine.executor.free == LAN.slots - 1
        assert engine.executor.running
        lab.cancel("a", "parent/k")
        lab.put("parent", "x", key="cancelled")
        await lab.sure(lambda: bool(engine.inbox._waiting))
        lab.cancel("a", "parent/cancelled")
        await lab.sure(lambda: engine.executor.idle and not engine.inbox._waiting)
        assert engine.executor.free == LAN.slots

    run(scenario)
