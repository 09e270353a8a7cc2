"""Taking the rights of a dead replica, as a task of the agent itself: one for each session of them.

Its guard is "majority", so one replica runs it; what it decides is a step, which a majority has on disk before anything
follows from it. So whoever runs it next, after a crash, finds the same decision: the rights move once, to one holder.
What may be decided, and why that is safe, is in `leases`.
"""

from __future__ import annotations

from typing import Any

import anyio

RECLAIM = "actonce.reclaim"
"""Kind of task. Its key is quota/replica/journal/session."""
LOOK_S = 0.2


async def reclaim_rights(ctx: Any, payload: Any) -> Any:
    """Rows of [resource, giver, receiver, total, late]: the gifts that this makes; none if the holder came back."""
    rows = await ctx.step("decide", _decide, ctx)
    desk = ctx._desk
    await desk.wait(lambda reply: desk.quotas.leases.take(rows, reply))
    return rows


async def _decide(ctx: Any) -> Any:
    desk = ctx._desk
    while True:
        rows = await desk.ask(lambda reply: reply(desk.quotas.leases.decide(ctx.task)))
        if rows is not None:
            return rows
        await anyio.sleep(LOOK_S)
