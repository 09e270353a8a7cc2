"""What a handler can rely on in its steps: names, results, changed code, posts inside them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actonce.agent import Agent, OnChanged
from actonce.context import Context, SyncContext
from actonce.errors import ActonceError
from actonce.settings import PAYLOAD_BYTES_MAX
from actonce.sim.cluster import FeedSink
from actonce.sim.world import SimWorld
from actonce_crdt import Json, unpack_value

from .lab import Lab, run, turns


class Book:
    """An agent whose handler is changed between two of its attempts."""

    def __init__(self, on_changed: OnChanged = "fail", retries: int = 3) -> None:
        self.agent, self.ran, self.fails = Agent("kevin"), list[str](), True
        self.version = ["one", "two"]
        self.agent.task("book", on_changed=on_changed, retries=retries)(self.book)
        self.agent.task("odd", retries=0)(self.odd)

    def run(self, name: str) -> str:
        self.ran.append(name)
        return f"{name} {len(self.ran)}"

    async def book(self, ctx: Context, then: list[str]) -> Json:
        results = [await ctx.step(name, self.run, name) for name in self.version]
        if self.fails:
            self.fails, self.version = False, then
            raise ValueError("not yet")
        return results

    async def odd(self, ctx: Context, what: str) -> Json:
        async def nested() -> None:
            await ctx.step("inner", self.run, "inner")

        async def slow(name: str) -> str:
            await turns()
            return name

        match what:
            case "too large":
                await ctx.step("draft", lambda: "x" * PAYLOAD_BYTES_MAX)
            case "no json":
                await ctx.step("draft", lambda: {1, 2})
            case "nested":
                await ctx.step("outer", nested)
            case "no name":
                await ctx.step("", self.run, "x")
            case "at once":
                return [
                    found if isinstance(found, str) else type(found).__name__
                    for found in await asyncio.gather(
                        *(ctx.step("same", slow, name) for name in "ab"), return_exceptions=True
                    )
                ]
            case "loop":
                return [await ctx.step("page", self.run, str(page)) for page in range(3)]
        return None


def booked(book: Book, kind: str, payload: Any) -> tuple[bool, Any]:
    async def scenario() -> tuple[bool, Any]:
        lab = Lab(book.agent)
        await lab.form()
        return await lab.outcome(kind, payload)

    return run(scenario)


def test_a_further_attempt_gets_what_was_remembered() -> None:
    book = Book()
    assert booked(book, "book", ["one", "two", "three"]) == (True, ["one 1", "two 2", "three 3"])
    assert book.ran == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("then", "says"),
    [
        (["one", "other"], "step 'other' comes now where step 'two' was remembered"),
        (["two"], "step 'two' was remembered after other steps than those that come before it now"),
        (["one", "new", "two"], "step 'new' comes now where step 'two' was remembered"),
    ],
)
def test_changed_code_gives_up_and_says_why(then: list[str], says: str) -> None:
    book = Book()
    ok, error = booked(book, "book", then)
    assert (ok, error) == (False, f"StepsChanged: {says}")
    assert book.ran == ["one", "two"]


def test_changed_code_starts_over_when_somebody_orders_a_retry() -> None:
    async def scenario() -> None:
        book, answers = Book(), list[str]()
        lab = Lab(book.agent)
        engine = await lab.form()
        assert (await lab.outcome("book", ["one", "other"]))[0] is False
        engine.orders.retry("book/k", answers.append)
        await lab.sure(lambda: bool(answers) and not engine.claims.open)
        done = lab.state("book/k").done
        assert done is not None
        assert (done.ok, unpack_value(done.result)) == (True, ["one 3", "other 4"])

    run(scenario)


def test_changed_code_starts_over_if_so_declared() -> None:
    book = Book("restart", retries=1)
    assert booked(book, "book", ["one", "other"]) == (True, ["one 3", "other 4"])


def test_changed_code_keeps_what_it_can_if_so_declared() -> None:
    book = Book("keep")
    assert booked(book, "book", ["two", "new", "one"]) == (True, ["two 2", "new 3", "one 1"])


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("too large", "the result of step 'draft' has 131,077 bytes; the limit is 131,072 bytes"),
        ("no json", "the result of step 'draft' cannot be stored: result: set is not JSON-like"),
        ("nested", "ConfigError: step 'inner' begins inside step 'outer': a step cannot hold another one"),
        ("no name", "ConfigError: '' cannot name a step: use printable text of at most 200 bytes"),
    ],
)
def test_what_cannot_be_a_step(what: str, error: str) -> None:
    assert booked(Book(), "odd", what) == (False, error)


def test_two_of_one_name() -> None:
    assert booked(Book(), "odd", "at once") == (True, ["a", "KeyReused"])
    assert booked(Book(), "odd", "loop") == (True, ["0 1", "1 2", "2 3"])


def test_posts_inside_a_step_are_counted_apart_from_those_outside() -> None:
    async def scenario() -> None:
        agent, failed = Agent("kevin"), list[str]()

        @agent.task("post")
        async def post(ctx: Context, payload: Json) -> Json:
            async def inner() -> Json:
                return [await ctx.post("room", "in"), await ctx.post("room", "in too")]

            await ctx.step("say", inner)
            await ctx.post("room", "out")
            if not failed:
                failed.append("once")
                raise ActonceError("again")
            return None

        @agent.task("plain")
        def plain(ctx: SyncContext, payload: Json) -> Json:
            ctx.step("say", lambda: ctx.post("room", "in"))
            ctx.post("room", "out")
            return None

        lab = Lab(agent)
        agent.sink("room", FeedSink(lab.feed, lab_world(lab)))
        await lab.form()
        assert await lab.outcome("post") == (True, None)
        assert [(p.key, p.body) for p in lab.feed.posts] == [
            ("post/k/say#1", "in"),
            ("post/k/say#2", "in too"),
            ("post/k/#1", "out"),
        ]
        assert await lab.outcome("plain") == (True, None)
        assert [p.key for p in lab.feed.posts[3:]] == ["plain/k/say#1", "plain/k/#1"]

    run(scenario)


def lab_world(lab: Lab) -> SimWorld:
    """The world of the only replica, before it starts."""

    class Later:
        def __getattr__(self, name: str) -> Any:
            return getattr(lab.world(), name)

    world: Any = Later()
    return world  # type: ignore[no-any-return]
