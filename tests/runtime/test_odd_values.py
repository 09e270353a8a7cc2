"""Every call that a handler may make, with values that make no sense, one at a time: whatever is refused is refused to
the handler. The engine goes on, and so does the next task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.sim.cluster import FeedSink
from actonce_crdt import Json

from .lab import Lab, run

ODD: tuple[Any, ...] = (
    *(None, True, -1, 2**70, 1.5, math.nan, math.inf, "", "x" * 600, "\ud800", "a/b", "@", "#1", "e\n", b"\xff"),
    *([], [[]], ["\ud800"], {}, {1: 2}, {"a": {"b": object()}}, (1,), {1}, object(), len, ValueError, Agent),
)
WAIT_S = 0.5
"""Of virtual time. Some calls wait for what never comes, as they say."""
Call = Callable[..., Any]


async def use_quota(ctx: Context, name: Any, within: Any, priority: Any, scope: Any, amount: Any) -> None:
    async with ctx.quota(name, timeout=within, priority=priority, scope=scope, tokens=amount):
        pass


async def spend(ctx: Context, used: Any, seconds: Any, status: Any, headers: Any) -> None:
    async with ctx.quota("llm", tokens=1, nowait=True, scope=ctx.task) as held:  # a pause is for its scope
        held.used(tokens=used)
        held.answered(status, headers)
        held.cool(seconds)


async def step(ctx: Context, name: Any, fn: Any, argument: Any) -> None:
    await ctx.step(name, fn, argument)


def put(ctx: Context, name: Any, value: Any, ttl: Any) -> None:
    ctx.memory.put(name, value, ttl=ttl)


def write_text(ctx: Context, name: Any, at: Any, new: Any, stop: Any) -> None:
    text = ctx.memory.text(name)
    text.append("some words")
    text.insert(at, new)
    text.replace(0, stop, new)
    text.delete(at, stop)


def echo(value: Any) -> Any:
    return value


DEEP: Any = []
for _ in range(100):
    DEEP = [DEEP]

CALLS: dict[str, tuple[Call, tuple[Any, ...]]] = {
    "post": (lambda ctx, sink, body, key: ctx.post(sink, body, key=key), ("room", "hello", "key")),
    "spawn": (
        lambda ctx, kind, payload, key, priority, delay, after: ctx.spawn(
            kind, payload, key=key, priority=priority, delay=delay, after=after
        ),
        ("next", None, None, 0, 0.0, ()),
    ),
    "gather": (lambda ctx, one, other: ctx.gather(one, other), ("next/none", "next/neither")),
    "step": (step, ("name", echo, 1)),
    "quota": (use_quota, ("llm", 1.0, 0, "", 1)),
    "spend": (spend, (1, 0.0, 200, {})),
    "put": (put, ("mood", "fine", None)),
    "get": (lambda ctx, name, default: ctx.memory.get(name, default), ("mood", None)),
    "conflicts": (lambda ctx, name: (ctx.memory.conflicts(name), ctx.memory.source(name)), ("mood",)),
    "counter": (lambda ctx, name, by: ctx.memory.counter(name).add(by), ("count", 1)),
    "set": (lambda ctx, name, member: ctx.memory.set(name).add(member), ("members", "one")),
    "discard": (lambda ctx, name, member: ctx.memory.set(name).discard(member), ("members", "one")),
    "map": (lambda ctx, name, field, value: ctx.memory.map(name).put(field, value), ("fields", "one", 1)),
    "list": (lambda ctx, name, value: ctx.memory.list(name).append(value), ("items", 1)),
    "text": (write_text, ("words", 0, "new", 1)),
}


def cases() -> Iterator[tuple[str, Call, list[Any]]]:
    for name, (call, good) in CALLS.items():
        yield name, call, list(good)
        for place in range(len(good)):
            for odd in (*ODD, DEEP):
                yield name, call, [odd if index == place else value for index, value in enumerate(good)]


def make_agent(refused: list[str], went_well: set[str]) -> Agent:
    agent = Agent("clumsy")
    agent.quota("llm", 1_000_000, "1m", tokens=1_000_000)

    @agent.task("next")
    async def after(ctx: Context, payload: Json) -> Json:
        return "goes on"

    @agent.task("tries", retries=0)
    async def tries(ctx: Context, number: int) -> Any:
        name, call, values = list(cases())[number]
        try:
            with anyio.move_on_after(WAIT_S):
                found = call(ctx, *values)
                if hasattr(found, "__await__"):
                    await found
                went_well.add(name)
        except Exception as error:
            refused.append(f"{name}: {type(error).__name__}: {error}")

    return agent


def over(lab: Lab, task: str) -> bool:
    return bool(lab.failures) or lab.state(task).done is not None


class Later:
    """The world of a replica that has not started yet."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __getattr__(self, what: str) -> Any:
        return getattr(self._lab.world(), what)


@pytest.mark.parametrize("share", range(4))
def test_whatever_makes_no_sense_is_refused_to_the_handler(share: int) -> None:
    refused: list[str] = []
    went_well: set[str] = set()

    async def scenario() -> None:
        agent = make_agent(refused, went_well)
        lab = Lab(agent)
        world: Any = Later(lab)
        agent.sink("room", FeedSink(lab.feed, world))
        await lab.form()
        for number, (name, _, values) in list(enumerate(cases()))[share::4]:
            lab.put("tries", number, str(number))
            await lab.sure(partial(over, lab, f"tries/{number}"))
            assert not lab.failures, f"{name} with {values}: {lab.failures}"
        assert await lab.outcome("next", key="last") == (True, "goes on")

    run(scenario)
    print("\n".join(refused))
    assert refused
    assert went_well
