"""The agent whose replicas are measured: works for a while, then posts once. Each step goes into a diary (`diary.py`).

Environment: ACTONCE_DEMO_FEED, the URL of the feed; ACTONCE_BENCH_DIARY, a file; ACTONCE_BENCH_WORK_S, how long a task
takes; ACTONCE_BENCH_ASKABLE, 0 for a feed that cannot be asked whether it had a post; ACTONCE_BENCH_DAWDLE_S, how long
an effect that may leave waits before the gate.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from actonce import Agent, Context, HttpSink
from actonce.bench.diary import BEGAN, ENDED, PASSED, REFUSED, Writer
from actonce.demo.mesh import NAME
from actonce.errors import GateClosed
from actonce_crdt import Json

FEED = os.environ.get("ACTONCE_DEMO_FEED", "http://127.0.0.1:7430")
BY = os.environ.get(NAME, "")
WORK_S = float(os.environ.get("ACTONCE_BENCH_WORK_S", "0.5"))
ASKABLE = os.environ.get("ACTONCE_BENCH_ASKABLE", "1") != "0"
DAWDLE_S = float(os.environ.get("ACTONCE_BENCH_DAWDLE_S", "0"))
PUBLISH_TIMEOUT_S = 1.0

diary = Writer(Path(os.environ.get("ACTONCE_BENCH_DIARY", os.devnull)))


class WatchedSink(HttpSink):
    """An HTTP sink that notes in the diary when an effect has passed the gate."""

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        """As the HTTP sink's."""

        def watched() -> None:
            try:
                gate()
            except GateClosed:
                diary.write(REFUSED, key, fence)
                raise
            diary.write(PASSED, key, fence)

        await anyio.sleep(DAWDLE_S)
        return await super().publish(body, key, fence, watched)


agent = Agent("bench")
lookup = f"{FEED}/posts/by-key/{{key}}" if ASKABLE else None
agent.sink("room", WatchedSink(f"{FEED}/posts", lookup_url=lookup, timeout_s=PUBLISH_TIMEOUT_S))


@agent.task("reply", retries=20, timeout="1m")
async def reply(ctx: Context, message: dict[str, Any]) -> None:
    """Work, then answer."""
    diary.write(BEGAN, ctx.task, ctx.fence)
    try:
        await anyio.sleep(WORK_S)
        await ctx.post("room", {"to": message["id"], "by": BY, "text": f"You said: {message['text']}"})
    finally:
        diary.write(ENDED, ctx.task, ctx.fence)
