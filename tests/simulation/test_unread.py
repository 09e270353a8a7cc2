"""`majority`: who takes over reads first what the holder before it may have been about to post.

Faults that are drawn do not find what happens without that rule: claims of a holder that is not proved dead wait for a
lease, by whose end all contact from before is over; and a voter that drops a holder from its view voids the contact
with itself. What is left is a holder that is back, in nobody's view yet, posts, and is proved dead in the next moment.
"""

from __future__ import annotations

import asyncio

import pytest

from actonce.ownership import owner
from actonce.settings import LAN
from actonce.sim.cluster import Cluster
from actonce.sim.world import SimWorld
from actonce_crdt import Json

from . import planted_majority as planted
from .mesh import GIVEN_UP_S, SETTLE_S, run


def first(cluster: Cluster, task: str, names: str) -> str:
    """Who does a task while just these are there."""
    found = owner(task, [cluster.engine(name).me for name in names], lambda member: True)
    assert found is not None
    return found.name


async def posts_and_dies(seed: int) -> list[str]:
    """a, b and c vote. a is back from a second cut, and posts; d, which hears nothing of a, is asked for the same."""
    cluster = Cluster(seed, "abcd", planted.make_agent, roster=("a", "b", "c"))
    for name in "abcd":
        cluster.start(name, new=name == "a")

    def whole() -> bool:
        complete = all(len(engine.membership.view.members) == len("abcd") for engine in cluster.live())
        return complete and all(cluster.engine(name).electorate.votes for name in "abc")

    assert await cluster.until(whole, SETTLE_S)
    for _ in range(2):  # whoever was removed twice is no member again for more than half a second
        cluster.network.heal()
        await asyncio.sleep(LAN.contact_window_s / 2)
        cluster.network.cut({"a"}, set("bcd"))
        await asyncio.sleep(GIVEN_UP_S + LAN.grace_s)
    cluster.network.heal()
    cluster.network.cut({"a"}, {"d"})
    keys = (f"k{number}" for number in range(1_000))
    key = next(k for k in keys if (first(cluster, f"pay/{k}", "abcd"), first(cluster, f"pay/{k}", "bcd")) == ("a", "d"))
    payload: Json = {"n": 0, "work_s": 0.0, "connect_s": 0.0}
    published, posts = cluster.feed.on_publish, list[str]()

    def kill(world: SimWorld, effect: str, fence: int, body: Json) -> None:
        published(world, effect, fence, body)
        posts.append(f"{world.name} {effect}")
        if len(posts) == 1:
            assert all(cluster.engine("a").me not in cluster.engine(n).membership.view.members for n in "bcd")
            cluster.loop.call_soon(lambda: cluster.kill("a"))
            cluster.loop.call_later(LAN.heartbeat_s / 5, lambda: cluster.submit("d", "pay", payload, key))

    cluster.feed.on_publish = kill
    cluster.submit("a", "pay", payload, key)

    def done() -> bool:
        return "a" not in {engine.me.name for engine in cluster.live()} and cluster.engine("d").claims.open == {}

    assert await cluster.until(lambda: bool(cluster.acknowledged[1:]) and done(), SETTLE_S)
    assert not cluster.failures
    return posts


@pytest.mark.parametrize("seed", range(3))
def test_what_the_holder_before_was_about_to_post_is_read_first(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.ownership_off(monkeypatch)
    posts = run(posts_and_dies, seed)
    assert [post[0] for post in posts] == ["a"]


def test_without_that_it_is_posted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    planted.ownership_off(monkeypatch)
    planted.begun_unread(monkeypatch)
    assert [post[0] for post in run(posts_and_dies, 1)] == ["a", "d"]
