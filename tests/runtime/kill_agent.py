"""An agent whose tasks stop at a point of their effect's way and wait there to be killed: `test_kill_processes.py`.

Only the first process that comes to a point stops: it makes a file of that name. The next one passes.
"""

import asyncio
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actonce import Agent, CallableSink, Context, FileSink, HttpSink, Sink
from actonce.nostr_sink import NostrSink

URL = os.environ.get("HTTP_URL", "http://127.0.0.1:9")
ONCE_URL = os.environ.get("ONCE_URL", "http://127.0.0.1:9")
RELAY_URL = os.environ.get("RELAY_URL", "ws://127.0.0.1:9")


async def stop(key: str, point: str) -> None:
    """Wait to be killed, if this task is to be killed at this point and was not yet."""
    task, _, wanted = key.partition("@")
    if wanted.partition("/")[0] == point:
        mark = Path("points") / f"{task.replace('/', '+')}+{point}"
        try:
            mark.open("x").close()
        except FileExistsError:
            return
        await asyncio.Event().wait()


class Stopping:
    """A sink with stops on the way."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.dedupe_window_s, self.can_lookup = sink.dedupe_window_s, sink.can_lookup
        self.publish_timeout_s = sink.publish_timeout_s
        self.stamped = getattr(sink, "stamped", lambda body, wall_s: body)

    async def publish(self, body: Any, key: str, fence: int, gate: Callable[[], None]) -> Any:
        await stop(key, "after-the-intent")
        if "@during-the-send" in key:
            gate()
        await stop(key, "during-the-send")
        receipt = await self.sink.publish(body, key, fence, gate)
        await stop(key, "after-the-send")
        return receipt

    async def lookup(self, key: str) -> Any:
        return await self.sink.lookup(key)

    async def aclose(self) -> None:
        await self.sink.aclose()


def append(body: Any, key: str) -> None:
    with open("called.jsonl", "a") as file:
        file.write(json.dumps({"key": key}) + "\n")


SINKS: dict[str, Sink] = {
    "http-asked": HttpSink(URL, lookup_url=URL + "/by-key/{key}", timeout_s=1.0),
    "http-once": HttpSink(ONCE_URL, dedupe_window_s=math.inf, timeout_s=1.0),
    "nostr": NostrSink(RELAY_URL, "3" * 64, timeout_s=1.0),
    "file": FileSink("effects.jsonl"),
    "callable": CallableSink(append, publish_timeout_s=1.0),
}

agent = Agent("kevin")
for name, sink in SINKS.items():
    agent.sink(name, Stopping(sink))


async def post(ctx: Context, name: str) -> Any:
    point = ctx.task.partition("@")[2]
    await stop(f"{ctx.task}", "before-the-intent")
    receipt = await ctx.post(name, {"content": ctx.task})
    if point == "after-the-receipt":
        await ctx.step("read by all", dict)  # as a step is, so is all that was written before it
    await stop(f"{ctx.task}", "after-the-receipt")
    return receipt


agent.task("resend", placement="primary", on_doubt="resend")(post)
agent.task("skip", placement="primary", on_doubt="skip")(post)
agent.task("ask", placement="primary", on_doubt="ask")(post)
