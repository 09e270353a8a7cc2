"""Replicas that are paused or cut off, shorter and longer than the others wait for them."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from actonce.errors import GateClosed
from actonce.settings import LAN, Settings
from actonce.sim.cluster import Feed, FeedSink
from actonce.sim.world import SimWorld
from actonce_crdt import Json

from .mesh import GIVEN_UP_S, Mesh, Plan, run

SHORT_S = GIVEN_UP_S - LAN.heartbeat_s - LAN.tick_s - 0.05
"""A silence that nobody takes for a death, whenever in the rhythm of heartbeats it begins."""
LONG_S = GIVEN_UP_S + 1.0


class StoppedAtTheGate(FeedSink):
    """The process of replica `b` is stopped for LONG_S just before its first effect passes the gate."""

    refused = 0
    stopped = False

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        world = self._world
        if world.name == "b" and not StoppedAtTheGate.stopped:
            StoppedAtTheGate.stopped = True
            world.pause()
            world.loop.call_later(LONG_S, world.resume)

        def watched() -> None:
            try:
                gate()
            except GateClosed:
                StoppedAtTheGate.refused += 1
                raise

        return await super().publish(body, key, fence, watched)


def stopped_at_the_gate(feed: Feed, world: SimWorld) -> FeedSink:
    return StoppedAtTheGate(feed, world)


async def paused_at_the_gate(seed: int) -> Mesh:
    """Replica `b` is about to post, sleeps for longer than the grace, and wakes at the gate."""
    StoppedAtTheGate.refused, StoppedAtTheGate.stopped = 0, False
    mesh = Mesh(seed, "abc", Plan(make_sink=stopped_at_the_gate))
    await mesh.form()
    mesh.ask(mesh.key_of("b"))
    assert await mesh.quiet(), mesh.story()
    return mesh


@pytest.mark.parametrize("seed", range(8))
def test_a_pause_at_the_gate_longer_than_the_grace(seed: int) -> None:
    mesh = run(paused_at_the_gate, seed)
    assert StoppedAtTheGate.refused >= 1, mesh.story()
    assert not mesh.twice(), mesh.story()
    assert [post.replica for post in mesh.feed.posts] != ["b"], mesh.story()
    assert len(mesh.started) == 2, mesh.story()


@pytest.mark.parametrize("seed", range(8))
def test_a_pause_of_a_replica_that_works_leads_to_a_takeover(seed: int) -> None:
    async def scenario() -> None:
        mesh = Mesh(seed, "abc", Plan(work_s=(0.5, 0.5)))
        await mesh.form()
        key = mesh.key_of("b")
        mesh.ask(key)
        await asyncio.sleep(0.2)
        mesh.world("b").pause()
        await asyncio.sleep(GIVEN_UP_S + 0.3)
        assert len(mesh.started) == 2, mesh.story()
        mesh.world("b").resume()
        await mesh.check_once([key])
        assert await mesh.formed(), mesh.story()

    run(scenario)


@pytest.mark.parametrize("seed", range(8))
def test_a_pause_shorter_than_the_grace_changes_nothing(seed: int) -> None:
    async def scenario() -> None:
        mesh = Mesh(seed, "abc", Plan(work_s=(0.5, 0.5)))
        await mesh.form()
        keys = [mesh.key_of("b"), mesh.key_of("a"), mesh.key_of("c")]
        for key in keys:
            mesh.ask(key)
        await asyncio.sleep(0.2)
        mesh.world("b").pause()
        await asyncio.sleep(SHORT_S)
        mesh.world("b").resume()
        await mesh.check_once(keys)
        assert set(mesh.runs().values()) == {1}, mesh.story()

    run(scenario)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("sides", [("a", "bc"), ("ab", "cd"), ("a", "b")], ids=str)
def test_a_cut_shorter_than_the_grace_doubles_nothing(sides: tuple[str, str], seed: int) -> None:
    async def scenario() -> None:
        mesh, keys = Mesh(seed, "".join(sides)), [f"m{index}" for index in range(30)]
        await mesh.form()
        rng = mesh.dice("cut")
        for index, key in enumerate(keys):
            if index == 10:
                mesh.network.cut(set(sides[0]), set(sides[1]))
                asyncio.get_running_loop().call_later(rng.uniform(0.1, SHORT_S), mesh.network.heal)
            mesh.ask(key, *rng.sample(mesh.names, rng.randint(1, len(mesh.names))))
            await asyncio.sleep(rng.uniform(0, 0.05))
        await mesh.check_once(keys)
        assert set(mesh.runs().values()) == {1}, mesh.story()
        assert not mesh.lost()

    run(scenario)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sides", [("a", "bc"), ("a", "b"), ("ab", "cd")], ids=str)
def test_a_longer_partition_acts_once_per_side_and_converges(sides: tuple[str, str], seed: int) -> None:
    async def scenario() -> None:
        mesh, keys = Mesh(seed, "".join(sides)), [f"m{index}" for index in range(10)]
        await mesh.form()
        mesh.network.cut(set(sides[0]), set(sides[1]))
        for key in keys:
            mesh.ask(key)
        await asyncio.sleep(GIVEN_UP_S + 1.0)
        mesh.network.heal()
        assert await mesh.quiet(), mesh.story()
        assert await mesh.formed(), mesh.story()
        per_side = Counter((post.key, post.replica in sides[0]) for post in mesh.feed.posts)
        assert set(per_side.values()) == {1}, mesh.story()
        assert len(per_side) == 2 * len(keys), "both sides go on"
        more = [f"after-{index}" for index in range(10)]
        for key in more:
            mesh.ask(key)
        assert await mesh.quiet(), mesh.story()
        once = Counter(post.key for post in mesh.feed.posts if "after" in post.key)
        assert once == Counter(f"reply/{key}/#1" for key in more), mesh.story()
        assert not mesh.lost()
        assert not mesh.failures

    run(scenario)


@pytest.mark.parametrize("seed", range(4))
def test_one_direction_cut_shorter_than_the_grace(seed: int) -> None:
    async def scenario() -> None:
        mesh, keys = Mesh(seed, "abc"), [f"m{index}" for index in range(20)]
        await mesh.form()
        mesh.network.cuts.add(("b", "a"))
        asyncio.get_running_loop().call_later(SHORT_S, mesh.network.heal)
        for key in keys:
            mesh.ask(key)
            await asyncio.sleep(0.05)
        await mesh.check_once(keys)
        assert set(mesh.runs().values()) == {1}, mesh.story()

    run(scenario)


def test_nobody_acts_out_of_contact_while_the_other_may_still_be_there() -> None:
    async def scenario() -> None:
        settings = Settings(contact_window_s=LAN.suspicion_s / 2)
        mesh = Mesh(1, "ab", settings=settings)
        await mesh.form()
        mesh.network.cut({"a"}, {"b"})
        await asyncio.sleep(settings.contact_window_s + 0.01)
        mesh.ask("m")
        await asyncio.sleep(settings.suspicion_s - settings.contact_window_s - 3 * settings.heartbeat_s)
        assert mesh.started == [], mesh.story()
        mesh.network.heal()
        await mesh.check_once(["m"])

    run(scenario)
