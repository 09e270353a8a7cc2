"""A task comes back to a replica on which its last handler has not ended yet."""

from __future__ import annotations

import asyncio

import anyio
from tests.runtime.lab import Lab, run

from actonce.agent import Agent
from actonce.context import Context
from actonce_crdt import Claim, Json


def test_a_delegated_task_begins_once_the_last_handler_of_it_has_ended() -> None:
    async def scenario() -> None:
        agent, go, attempts = Agent("kevin"), asyncio.Event(), list[int]()

        @agent.task("slow", retries=0)
        async def slow(ctx: Context, payload: Json) -> str:
            attempts.append(ctx.fence)
            if len(attempts) > 1:
                return "done"
            try:
                await asyncio.Event().wait()
            finally:
                await go.wait()
            return "never"

        lab = Lab(agent, "ab")
        await lab.form()
        lab.put("slow")
        await lab.sure(lambda: len(attempts) == 1)
        b = next(one for one in lab.live() if one.executor.running)
        a = next(one for one in lab.live() if one is not b)
        epoch = lab.state("slow/k").epoch
        # As after a partition: the other side has claimed it, and, without room for it, gives it to us.
        a.ledger.write(Claim("slow/k", a.ledger.stamp(), a.me.name, epoch + 1, a.me.incarnation))
        await lab.sure(lambda: all(run.revoked for run in b.executor.running.values()))
        mine = (b.me.name, b.me.incarnation)
        a.ledger.write(Claim("slow/k", a.ledger.stamp(), a.me.name, epoch + 2, a.me.incarnation, *mine))
        await anyio.sleep(1.0)
        go.set()
        await lab.sure(lambda: b.ledger.state.tasks["slow/k"].done is not None)

    run(scenario)
