"""Where tasks run: shares by weight, one primary with standbys, receivers, regions. Once, whoever dies."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.placement import Traits
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.world import SimWorld

from .mesh import run

KINDS = {"all": "spread", "one": "primary", "here": "local", "europe": "region=eu"}
STAND_IN_S = 5.0


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("kevin")
    agent.sink("room", FeedSink(feed, world))
    for kind, placement in KINDS.items():
        wait = STAND_IN_S if kind == "europe" else None

        @agent.task(kind, placement=placement, stand_in_after=wait)
        async def handler(ctx: Context, payload: Any) -> str:
            await ctx.post("room", ctx.task)
            return world.name

    return agent


async def cluster(seed: int, **traits: Traits) -> Cluster:
    made = Cluster(seed, sorted(traits), make_agent)
    for index, name in enumerate(sorted(traits)):
        made.nodes[name].traits = traits[name]
        made.start(name, new=index == 0)
    assert await made.until(lambda: all(len(one.membership.view.members) == len(traits) for one in made.live()), 10.0)
    return made


async def shares(mesh: Cluster, kind: str, count: int, at: str | None = None) -> Counter[str]:
    """Who ran these many tasks, which every replica received (or one)."""
    before = len(mesh.feed.posts)
    for index in range(count):
        for name in [at] if at else sorted(mesh.nodes):
            mesh.submit(name, kind, index, f"{before}-{index}")
        await asyncio.sleep(0.02)  # never so many that their owner would delegate
    assert await mesh.until(lambda: len(mesh.feed.posts) >= before + count, 60.0)
    await asyncio.sleep(1.0)
    posts = mesh.feed.posts[before:]
    assert len(posts) == len({post.key for post in posts}) == count
    return Counter(post.replica for post in posts)


def go(scenario: Callable[[int], Coroutine[Any, Any, None]], seed: int) -> None:
    run(scenario, seed)


SEEDS = pytest.mark.parametrize("seed", range(3))


@SEEDS
def test_a_heavier_replica_takes_more(seed: int) -> None:
    async def scenario(seed: int) -> None:
        mesh = await cluster(seed, a=Traits(weight=3), b=Traits(), c=Traits())
        found = await shares(mesh, "all", 300)
        assert 2.0 < found["a"] / found["b"] < 4.5
        assert 2.0 < found["a"] / found["c"] < 4.5

    go(scenario, seed)


@SEEDS
def test_the_primary_takes_all_and_its_standby_takes_over(seed: int) -> None:
    async def scenario(seed: int) -> None:
        mesh = await cluster(seed, a=Traits(), b=Traits(priority=5), c=Traits())
        assert await shares(mesh, "one", 30) == {"b": 30}
        mesh.kill("b")
        assert await shares(mesh, "one", 30) == {"a": 30}, "of equal priority, the first by name"
        mesh.start("b")
        assert await mesh.until(lambda: len(mesh.engine("a").membership.view.members) == 3, 10.0)
        assert await shares(mesh, "one", 30) == {"b": 30}

    go(scenario, seed)


@SEEDS
def test_a_local_task_runs_where_it_was_received_and_elsewhere_only_when_that_is_gone(seed: int) -> None:
    async def scenario(seed: int) -> None:
        mesh = await cluster(seed, a=Traits(), b=Traits(), c=Traits())
        assert await shares(mesh, "here", 20, at="c") == {"c": 20}
        for index in range(20):
            mesh.submit("b", "here", index, f"last-{index}")
        assert await mesh.until(lambda: len(mesh.acknowledged) == 40, 10.0)
        mesh.kill("b")
        assert await mesh.until(lambda: len(mesh.feed.posts) == 40, 10.0)
        assert len({post.key for post in mesh.feed.posts}) == 40

    go(scenario, seed)


@SEEDS
def test_another_region_waits_longer_before_it_stands_in(seed: int) -> None:
    async def scenario(seed: int) -> None:
        mesh = await cluster(seed, a=Traits(region="eu"), b=Traits(region="eu"), c=Traits(region="us"))
        assert set(await shares(mesh, "europe", 30)) == {"a", "b"}
        mesh.kill("a")
        assert set(await shares(mesh, "europe", 10)) == {"b"}
        killed = mesh.loop.time()
        mesh.kill("b")
        assert await shares(mesh, "europe", 10) == {"c": 10}
        waits = [post.at - killed for post in mesh.feed.posts if post.replica == "c"]
        assert min(waits) >= STAND_IN_S

    go(scenario, seed)


@SEEDS
def test_replicas_that_declare_different_placements_never_both_act(seed: int) -> None:
    """A rolling upgrade: whoever is not the owner by both waits."""

    async def scenario(seed: int) -> None:
        def changing(world: SimWorld, feed: Feed) -> Agent:
            agent = Agent("kevin")
            agent.sink("room", FeedSink(feed, world))

            @agent.task("moved", placement="primary" if world.name == "c" else "spread")
            async def handler(ctx: Context, payload: Any) -> None:
                await ctx.post("room", ctx.task)

            return agent

        mesh = Cluster(seed, "abc", changing)
        for index, name in enumerate("abc"):
            mesh.start(name, new=index == 0)
        assert await mesh.until(lambda: all(len(one.membership.view.members) == 3 for one in mesh.live()), 10.0)
        for index in range(60):
            for name in "abc":
                mesh.submit(name, "moved", index, f"m{index}")
        await asyncio.sleep(5.0)
        early = {post.key for post in mesh.feed.posts}
        assert {post.replica for post in mesh.feed.posts} == {"a"}, "first by name, and by rank of a third of them"
        assert len(early) == len(mesh.feed.posts) < 60
        await mesh.leave("c")
        assert await mesh.until(lambda: len(mesh.feed.posts) == 60, 20.0)
        assert len({post.key for post in mesh.feed.posts}) == 60

    go(scenario, seed)


@SEEDS
def test_a_task_waits_for_a_replica_that_has_a_handler_and_harms_nobody_meanwhile(seed: int) -> None:
    """A version is rolled back: those that are left have never heard of that kind."""

    async def scenario(seed: int) -> None:
        def changing(world: SimWorld, feed: Feed) -> Agent:
            agent = Agent("kevin")
            agent.sink("room", FeedSink(feed, world))

            @agent.task("added" if world.name == "c" else "old")
            async def handler(ctx: Context, payload: Any) -> None:
                await asyncio.sleep(0.5)
                await ctx.post("room", ctx.task)

            return agent

        mesh = Cluster(seed, "abc", changing)
        for index, name in enumerate("abc"):
            mesh.start(name, new=index == 0)
        assert await mesh.until(lambda: all(len(one.membership.view.members) == 3 for one in mesh.live()), 10.0)
        mesh.submit("c", "added", 1, "it")
        await asyncio.sleep(0.2)
        mesh.kill("c")
        await asyncio.sleep(5.0)
        mesh.submit("a", "old", 1, "other")
        assert await mesh.until(lambda: len(mesh.feed.posts) == 1, 10.0)
        assert mesh.failures == []
        mesh.start("c")
        assert await mesh.until(lambda: len(mesh.feed.posts) == 2, 10.0)

    go(scenario, seed)
