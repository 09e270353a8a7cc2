"""Listeners: each replica hears each message, one answers; a listener that fails is named, and starts again."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from actonce import Agent, Context, SourceContext
from actonce.errors import ConfigError, UnknownKind
from actonce.listening import HEALTHY_S
from actonce.pauses import AGAIN_S, AGAIN_S_MAX, pause_s
from actonce.reporting import status
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld

from .mesh import dice, run

MESSAGES = 30


class Room:
    """Delivers each message to whoever listens at that moment, like a relay without memory."""

    def __init__(self) -> None:
        self.ears: list[asyncio.Queue[int]] = []

    def say(self, number: int) -> None:
        for ear in self.ears:
            ear.put_nowait(number)


Listen = Callable[[SourceContext, SimWorld], Any]


class Listening(Cluster):
    """Replicas whose source hears the room, and whose handler answers."""

    def __init__(self, seed: int, names: str, listen: Listen | None = None) -> None:
        super().__init__(seed, names, self._agent)
        self.room, self.listen = Room(), listen or self.hear
        self.began: list[tuple[str, float]] = []
        self.new: Counter[bool] = Counter()

    async def hear(self, ctx: SourceContext, world: SimWorld) -> None:
        ear: asyncio.Queue[int] = asyncio.Queue()
        self.room.ears.append(ear)
        while True:
            number = await ear.get()
            await world.alive()
            submitted = await ctx.submit("reply", {"n": number, "heard_by": ctx.replica}, key=f"${number}")
            self.new[submitted.new] += 1

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", FeedSink(feed, world))

        @agent.source(name="room")
        async def listen(ctx: SourceContext) -> None:
            await world.alive()
            self.began.append((ctx.replica, self.loop.time()))
            await self.listen(ctx, world)

        @agent.task("reply")
        async def reply(ctx: Context, message: dict[str, Any]) -> None:
            await anyio.sleep(world.rng.uniform(0.0, 0.2))
            await ctx.post("room", message["n"])

        return agent

    async def form(self) -> None:
        for index, name in enumerate(self.nodes):
            self.start(name, new=index == 0)
        assert await self.until(lambda: all(e.membership.act_until() > e.world.now() for e in self.live()), 20.0)
        assert await self.until(lambda: len(self.began) == len(self.nodes), 5.0)


async def _each_once(seed: int) -> Listening:
    cluster, random = Listening(seed, "abc"), dice(seed, "room")
    await cluster.form()
    for number in range(MESSAGES):
        cluster.room.say(number)
        await asyncio.sleep(random.uniform(0.0, 0.4))
        if number == MESSAGES // 4:
            cluster.kill("a")
        elif number == MESSAGES // 2:
            cluster.start("a")
            cluster.pause("b")
        elif number == 3 * MESSAGES // 4:
            cluster.resume("b")
    quiet = await cluster.until(lambda: all(not e.claims.open for e in cluster.live()) and cluster.converged(), 60.0)
    assert quiet
    return cluster


@pytest.mark.parametrize("seed", range(3))
def test_what_all_replicas_hear_is_answered_once(seed: int) -> None:
    cluster = run(_each_once, seed)
    assert Counter(post.body for post in cluster.feed.posts) == Counter(range(MESSAGES))
    assert [wrong for checker in (*SAFETY, *LIVENESS) for wrong in checker(cluster)] == []
    assert cluster.new.total() > 2 * MESSAGES, "too few replicas heard the same for this to show anything"
    assert cluster.new[False] > 0, "nobody found known what it heard"
    assert {name for name, _ in cluster.began} == {"a", "b", "c"}


async def _each_its_own() -> Listening:
    cluster = Listening(1, "ab")
    hear = cluster.hear

    async def by_replica(ctx: SourceContext, world: SimWorld) -> None:
        name, ctx.name = ctx.name, f"{ctx.name}-{ctx.replica}"
        assert name == "room"
        await hear(ctx, world)

    cluster.listen = by_replica
    submit = SourceContext.submit

    async def own(self: SourceContext, kind: str, payload: Any, *, key: str, **terms: Any) -> Any:
        return await submit(self, kind, payload, key=f"{key}-{self.replica}", **terms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SourceContext, "submit", own)
        await cluster.form()
        cluster.room.say(1)
        await asyncio.sleep(3.0)
    return cluster


def test_a_key_that_names_the_replica_is_seen() -> None:
    """The planted mistake: it shows that the count above can fail."""
    assert Counter(post.body for post in run(_each_its_own).feed.posts) == {1: 2}


async def _failing() -> list[Any]:
    cluster, failures, seen = Listening(2, "ab"), 4, list[Any]()

    async def fail(ctx: SourceContext, world: SimWorld) -> None:
        starts = sum(name == "a" for name, _ in cluster.began)
        if ctx.replica == "a" and starts <= failures:
            raise ConnectionError("no route to the room")
        await cluster.hear(ctx, world)

    cluster.listen = fail
    await cluster.form()
    a, b = cluster.engine("a"), cluster.engine("b")
    assert await cluster.until(lambda: sum(name == "a" for name, _ in cluster.began) == failures, 60.0)
    await asyncio.sleep(0.1)
    seen.append([text for text in status(a)["degraded"] if "source" in text])
    seen.append([text for text in status(b)["degraded"] if "source" in text])
    assert await cluster.until(lambda: sum(name == "a" for name, _ in cluster.began) > failures, 60.0)
    cluster.room.say(7)
    await asyncio.sleep(HEALTHY_S + 1.0)
    seen.append([text for text in status(a)["degraded"] if "source" in text])
    seen.append([post.body for post in cluster.feed.posts])
    starts = [at for name, at in cluster.began if name == "a"]
    seen.append([later - earlier for earlier, later in itertools.pairwise(starts)])
    assert not cluster.failures
    return seen


def test_a_listener_that_raises_is_named_and_starts_again() -> None:
    named, others, later, posts, pauses = run(_failing)
    assert len(named) == 1
    assert named[0].startswith("source 'room' failed 4 times in a row: ConnectionError: no route to the room; ")
    assert others == later == []
    assert posts == [7]
    for number, pause in enumerate(pauses):
        assert AGAIN_S * 2**number / 2 <= pause <= AGAIN_S * 2**number + 0.1


async def _returning_and_leaving() -> tuple[list[str], int, int]:
    cluster, cancelled = Listening(3, "ab"), list[str]()

    async def listen(ctx: SourceContext, world: SimWorld) -> None:
        try:
            if ctx.replica == "b":
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(ctx.replica)
            raise

    cluster.listen = listen
    await cluster.form()
    await asyncio.sleep(3.0)
    returned = [text for text in status(cluster.engine("a"))["degraded"] if "it returned" in text]
    await cluster.leave("b")
    starts = len(cluster.began)
    await cluster.leave("a")
    await asyncio.sleep(2 * AGAIN_S_MAX)
    assert cancelled == ["b"]
    return returned, starts, len(cluster.began)


def test_a_listener_that_returns_starts_again_and_none_outlives_its_replica() -> None:
    returned, before, after = run(_returning_and_leaving)
    assert len(returned) == 1
    assert after == before > 3


async def _refused() -> list[str]:
    cluster, met = Listening(4, "a"), list[str]()

    async def listen(ctx: SourceContext, world: SimWorld) -> None:
        for kind, payload in (("rpley", {}), ("reply", object()), ("reply", "x" * 200_000)):
            try:
                await ctx.submit(kind, payload, key="1")
            except Exception as error:
                met.append(type(error).__name__)
        await ctx.submit("unheard", {}, key="1")

    cluster.listen = listen
    await cluster.form()
    await asyncio.sleep(0.1)
    return [*met, *cluster.engine("a").listeners.troubles()]


def test_what_cannot_be_submitted_is_told_to_the_listener() -> None:
    *met, trouble = run(_refused)
    assert met == ["UnknownKind", "PayloadInvalid", "PayloadTooLarge"]
    assert UnknownKind.__name__ in trouble
    assert "it has: reply" in trouble


def test_pauses_grow_and_are_bounded() -> None:
    assert [pause_s(count, 1.0) for count in (1, 2, 3)] == [AGAIN_S, 2 * AGAIN_S, 4 * AGAIN_S]
    assert pause_s(1, 0.0) == AGAIN_S / 2
    assert pause_s(10**6, 1.0) == AGAIN_S_MAX


def test_declarations_that_cannot_work_are_refused() -> None:
    agent = Agent("kevin")

    @agent.source
    async def room(ctx: SourceContext) -> None: ...

    assert list(agent.sources) == ["room"]
    with pytest.raises(ConfigError, match="declared twice"):
        agent.source(name="room")(room)
    with pytest.raises(ConfigError, match="has to be an async function"):
        agent.source(print)
    with pytest.raises(ConfigError, match="cannot name a source"):
        agent.source(name="The Room")(room)
