"""Every call that a handler may make, and every request, with values that make no sense, one at a time: whatever is
refused is refused to the handler, or answered. The engine goes on, and so does the next task."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.http_api import HttpApi
from actonce.sim.cluster import FeedSink
from actonce_crdt import Json
from actonce_transports import HttpRequest

from .lab import Lab, Later, run

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


BAD: tuple[Any, ...] = (
    *(None, True, -1, 2**70, 1.5, math.nan, math.inf, "", "x" * 600, "\ud800", "a/b", "@", "#1", "e\n", "%00"),
    *([], [[]], ["\ud800"], ["a", 1], {}, {"a": {"b": []}}, DEEP),
)
PAGES: dict[str, dict[str, Any]] = {
    "/submit": {
        **{"kind": "next", "payload": 1, "key": "key", "priority": 1},
        **{"delay": "1s", "not_before": 5, "after": ["next/other"]},
    },
    "/memory/mood": {"value": 1, "ttl": "1h", "field": "one"},
    "/memory/words": {"value": "new", "text": True},
    "/memory/gone": {"remove": True, "field": "one"},
    "/control": {"mode": "drain", "kind": "next", "reason": "odd", "timeout_s": 1},
    "/roster": {"add": "b"},
    "/doubts/next%2F1": {"answer": "resend"},
    "/quota/found": {"anything": 1},
    "/cancel/next/1": {"anything": 1},
    "/drop/next/1": {"anything": 1},
    "/retry/next/1": {"anything": 1},
    "/hook/shop": {"specversion": "1.0", "id": "1", "source": "shop", "type": "order", "data": {}},
}
LOOKS = (
    *("/explain/", "/result/", "/memory/", "/memory/mood?", "/tasks?state=", "/dead?limit=", "/doubts/", "/hook/", "/"),
)


def requests() -> Iterator[HttpRequest]:
    headers = {"host": "127.0.0.1:1", "content-type": "application/json"}
    for path, good in PAGES.items():
        bodies: list[Any] = [good, *BAD]
        for name in good:
            bodies += [{**good, name: odd} for odd in BAD]
            bodies.append({other: value for other, value in good.items() if other != name})
        for body in bodies:
            yield HttpRequest("POST", path, {}, headers, json.dumps(body).encode(), loopback=True)
        yield HttpRequest("POST", path, {}, headers, b"\xff{", loopback=True)
        yield HttpRequest("POST", path, {}, headers, b"[" * 100_000, loopback=True)
    for path in LOOKS:
        for odd in ("", "\ud800", "x" * 600, "../..", "nan", "-1", "1e400", "\x00", "%", "next/1"):
            before, asks, name = path.partition("?")
            query = {name.partition("=")[0] or "history": odd, "limit": odd} if asks else {"wait": odd}
            for method in ("GET", "POST", "PUT", "\x00"):
                yield HttpRequest(method, before + odd * (not asks), query, headers, b"", loopback=True)


def test_requests_that_make_no_sense_are_answered() -> None:
    async def scenario() -> set[int]:
        agent = make_agent([], set())
        agent.webhook("shop", kind="next")
        lab = Lab(agent)
        engine = await lab.form()
        api, statuses = HttpApi(engine), set[int]()
        for request in requests():
            with anyio.fail_after(100.0):
                answer = await api(request)
            json.loads(answer.body) if request.path != "/metrics" else None
            statuses.add(answer.status)
            assert not lab.failures, f"{request}: {lab.failures}"
        return statuses

    assert {200, 202, 400, 404, 409} <= run(scenario) <= {200, 202, 400, 404, 405, 409, 413, 415, 422, 503, 504}
