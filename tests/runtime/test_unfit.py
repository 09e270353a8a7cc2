"""What a handler gives that cannot be stored is refused to that handler, or made to fit: its replica goes on."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from actonce import recall
from actonce.agent import Agent
from actonce.context import Context
from actonce.sim.cluster import FeedSink
from actonce_crdt import Json, unpack_value

from .lab import Lab, Later, run


def outcome(agent: Agent, kind: str, key: str = "k", name: str = "a") -> tuple[bool, Any]:
    """Of one task, on a replica that does another one after it."""

    @agent.task("next")
    async def after(ctx: Context, payload: Json) -> Json:
        return "goes on"

    async def scenario() -> tuple[bool, Any]:
        lab = Lab(agent, [name])  # type: ignore[arg-type]
        world: Any = Later(lab, name)
        agent.sink("room", FeedSink(lab.feed, world))
        engine = await lab.form()
        safe = lab.put(kind, None, key, name)
        await lab.sure(lambda: bool(safe) and not engine.claims.open)
        done = next(state.done for task, state in engine.ledger.state.tasks.items() if task.startswith(f"{kind}/{key}"))
        assert done is not None
        assert await lab.outcome("next", name=name) == (True, "goes on")
        assert not lab.failures
        return done.ok, unpack_value(done.result)

    return run(scenario)


def test_a_value_that_is_to_last_beyond_all_times_lasts() -> None:
    agent = Agent("kevin")

    @agent.task("remembers")
    async def remembers(ctx: Context, payload: Json) -> Any:
        ctx.memory.put("mood", "fine", ttl=sys.maxsize)
        ctx.memory.map("moods").put("kevin", "fine", ttl=1e300)
        return ctx.memory["mood"]

    assert outcome(agent, "remembers") == (True, "fine")


def test_what_has_no_utf8_form_is_no_task_to_come_after() -> None:
    agent = Agent("kevin")

    @agent.task("spawns", retries=0)
    async def spawns(ctx: Context, payload: Json) -> None:
        await ctx.spawn("next", None, after=["\ud800"])

    ok, error = outcome(agent, "spawns")
    assert not ok
    assert "is no task id" in error


@pytest.mark.parametrize("scope", ["x" * 201, "\ud800"])
def test_a_scope_of_a_quota_that_cannot_be_told_to_others(scope: str) -> None:
    agent = Agent("kevin")
    agent.quota("llm", 60, "1m")

    @agent.task("calls", retries=0)
    async def calls(ctx: Context, payload: Json) -> None:
        async with ctx.quota("llm", scope=scope) as spend:
            spend.answered(429, {"Retry-After": "1"})

    ok, error = outcome(agent, "calls")
    assert not ok
    assert "use printable text of at most 200 bytes" in error


def test_more_than_can_be_counted_was_used() -> None:
    agent = Agent("kevin")
    agent.quota("llm", 60, "1m", tokens=90_000)

    @agent.task("calls", retries=0)
    async def calls(ctx: Context, payload: Json) -> None:
        async with ctx.quota("llm", tokens=5) as spend:
            spend.used(tokens=2**64)

    ok, error = outcome(agent, "calls")
    assert not ok
    assert "counts requests, tokens, in whole numbers" in error


def test_a_place_that_too_many_replicas_have_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "AUTHORS_MAX", 0)
    agent = Agent("kevin")

    @agent.task("remembers", retries=0)
    async def remembers(ctx: Context, payload: Json) -> None:
        ctx.memory["mood"] = "fine"

    @agent.task("again", retries=0)
    async def again(ctx: Context, payload: Json) -> None:
        await ctx.gather(await ctx.spawn("remembers", None))
        ctx.memory["mood"] = "better"

    ok, error = outcome(agent, "again")
    assert not ok
    assert "'mood' was written by 1 replicas of different names" in error


def test_an_effect_whose_names_are_too_long_together() -> None:
    agent, kind, name = Agent("kevin"), "k" * 64, "n" * 64

    @agent.task(kind, retries=0, placement="local")
    async def posts(ctx: Context, payload: Json) -> None:
        await ctx.post("room", "hello", key="p" * 200)

    ok, error = outcome(agent, kind, "t" * 200, name)
    assert not ok
    assert "this cannot be stored: key is longer than 512 bytes" in error
