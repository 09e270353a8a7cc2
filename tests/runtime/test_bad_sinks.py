"""Sinks that misbehave and handlers that do, on a real replica: what comes of it is what runtime/docs/effects.md
says."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.outbox_table import PAGE, cells

from actonce import Agent, Context, GateClosed, HttpSink, Replica, SinkUnknown
from actonce.agent import OnDoubt
from actonce.effect_report import dead
from actonce.errors import TaskFailed
from actonce.reporting import posts
from actonce.settings import LAN

from .lab import Lab, run
from .test_http_sink import http, serving
from .test_performing import Room

LIMIT_S = 60.0
HANG = b""
"""In place of an answer: none."""
GOOD = http(200, b'{"id": 1}', "Content-Type: application/json")
ANSWERS: dict[str, list[bytes]] = {
    "answers garbage": [b"\x00\x01 garbage\r\n\r\n"],
    "hangs": [],
    "closes in mid-answer": [http(200, b"cut short")[:-4]],
    "redirects": [http(302, b"", "Location: http://127.0.0.1:9/")],
    "409 (the key is being worked on)": [http(409)],
    "422 (the key was used with another body)": [http(422)],
    "429, 503 with `Retry-After`": [http(429, b"", "Retry-After: 0"), http(503, b"", "Retry-After: 0"), GOOD],
    "500": [http(500)],
}


def documented() -> dict[str, tuple[str, str]]:
    """(how the sink misbehaves) -> (state of the effect, what the handler gets), from that page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [cells(line) for line in lines]
    start = rows.index(["a sink that cannot be asked, and keeps no keys, ...", "the effect is", "ctx.post"])
    found: dict[str, tuple[str, str]] = {}
    for row in rows[start + 2 :]:
        if len(row) != 3:
            break
        found[row[0]] = (row[1], row[2])
    return found


async def happened(folder: Path) -> dict[str, tuple[str, str]]:
    agent, names = Agent("kevin"), {f"sink-{index}": what for index, what in enumerate(ANSWERS)}
    async with contextlib.AsyncExitStack() as stack:
        for name, what in names.items():
            hang_up = what.startswith(("closes", "answers"))
            server = await stack.enter_async_context(serving(*ANSWERS[what], hang_up=hang_up))
            stack.push_async_callback(agent.sink(name, HttpSink(server.url, timeout_s=0.5)).aclose)

        @agent.task("tell", retries=0)
        async def tell(ctx: Context, sink: str) -> Any:
            return await ctx.post(sink, "hello")

        replica = Replica(agent, name="a", data=folder / "a", listen="127.0.0.1:0", new=True)
        await stack.enter_async_context(replica)

        async def outcome(name: str) -> str:
            handle = await replica.submit("tell", name, key=name)
            try:
                return "a receipt" if await handle.result(LIMIT_S) is not None else "None"
            except TaskFailed as error:
                return str(error).partition("failed: ")[2].partition(":")[0]

        ends = dict(zip(names, await asyncio.gather(*map(outcome, names)), strict=True))
        states = {row["sink"]: row["state"] for row in posts(replica._engine, 100)}
        failed = {f"tell/{name}" for name in names if ends[name] == "EffectFailed"}
        assert {row["task"] for row in dead(replica._engine, 100)} == failed
    return {what: (states[name], ends[name]) for name, what in names.items()}


def test_a_sink_that_misbehaves(tmp_path: Path) -> None:
    expected = {what.replace("`", ""): told for what, told in documented().items()}
    found = asyncio.run(happened(tmp_path))
    assert {what.replace("`", ""): told for what, told in found.items()} == expected


@pytest.mark.parametrize("rule", ["resend", "ask"])
def test_a_handler_that_posts_after_it_was_cancelled(rule: OnDoubt) -> None:
    """However it tries: nothing leaves any more."""

    async def scenario() -> None:
        room, raised, agent = Room(), list[str](), Agent("kevin")
        room.answers = [SinkUnknown("lost")] if rule == "ask" else []
        agent.sink("room", room)

        @agent.task("stubborn", on_doubt=rule, timeout=None)
        async def stubborn(ctx: Context, payload: Any) -> None:
            try:
                if rule == "ask":
                    await ctx.post("room", "first")  # waits for a person, who calls it off
                await asyncio.Event().wait()
            except (asyncio.CancelledError, GateClosed):
                for number in range(3):
                    try:
                        await ctx.post("room", "later", key=str(number))
                    except GateClosed as error:
                        raised.append(type(error).__name__)

        lab = Lab(agent)
        engine = await lab.form()
        lab.put("stubborn")
        await lab.sure(lambda: bool(engine.executor.running) and len(room.sent) == (rule == "ask"))
        await lab.until(lambda: False, 1.0)
        engine.orders.cancel("stubborn/k", lambda word: None)
        await lab.sure(lambda: len(raised) == 3)
        await lab.until(lambda: False, LAN.retry_wait_max_s)
        assert [body for _, body, _ in room.sent] == ["first"] * (rule == "ask")

    run(scenario)
