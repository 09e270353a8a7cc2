"""Orders on good days: pause, drain, stop, for the agent, a kind, or a replica."""

from __future__ import annotations

import asyncio
import re

import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.errors import Draining, NoSuchTarget, PayloadInvalid
from actonce.inbox import pack_payload
from actonce.sim.cluster import Cluster, Feed
from actonce.sim.world import SimWorld
from actonce.standing import Target
from actonce_crdt import Json

from .mesh import run
from .office import AGENT, Office, broken
from .planted_control import POSTS
from .polling import Polling


def test_pause_lets_what_runs_go_on_and_begins_nothing() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        cluster.talk(6)
        await asyncio.sleep(0.2)
        running = {task for engine in cluster.live() for task in engine.executor.running}
        assert running
        cluster.order("b", "pause")
        await cluster.answered()
        begun = len(cluster.begins())
        cluster.talk(6, start=6)
        await asyncio.sleep(5.0)
        assert len(cluster.begins()) == begun, "something began"
        assert all(not engine.executor.running for engine in cluster.live())
        done = {task for task, state in cluster.engine("a").ledger.state.tasks.items() if state.done is not None}
        assert running <= done, "what ran had to end"
        assert len(done) == 6
        cluster.order("c", "run")
        assert await cluster.done()
        assert len(cluster.feed.posts) == 12 * POSTS
        assert broken(cluster) == []

    run(scenario)


def test_an_order_is_obeyed_within_a_heartbeat() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abcde")
        await cluster.form()
        at = cluster.loop.time()
        cluster.order("a", "pause")
        assert await cluster.until(lambda: all(engine.standing.all_held for engine in cluster.live()), 1.0)
        assert cluster.loop.time() - at <= cluster.settings.heartbeat_s

    run(scenario)


def test_a_paused_kind_leaves_the_others_alone() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        cluster.order("a", "pause", Target(kind="talks"))
        await cluster.answered()
        cluster.talk(3)
        cluster.talk(3, 0.1, "pays")
        await asyncio.sleep(5.0)
        assert {task.partition("/")[0] for _, task in cluster.begins()} == {"pays"}
        cluster.order("b", "run", Target(kind="talks"))
        assert await cluster.done()
        assert broken(cluster) == []

    run(scenario)


@pytest.mark.parametrize("mode", ["pause", "drain", "stop", "halt"])
@pytest.mark.parametrize("kind", ["talks", "pays"])
def test_under_an_order_for_one_replica_the_others_do_its_tasks(kind: str, mode: str) -> None:
    async def scenario() -> None:
        cluster = Office(2, "abc")
        await cluster.form()
        cluster.talk(9, 0.3, kind)
        await asyncio.sleep(0.2)
        assert cluster.engine("b").executor.running
        cluster.order("a", mode, Target(replica="b"))
        answer = await cluster.answered()
        assert (answer.confirmed, answer.missing) == (("b",) if mode == "halt" else (), ())
        begun = len(cluster.begins())
        cluster.talk(9, 0.3, kind, start=9)
        assert await cluster.done()
        assert "b" not in {name for name, _ in cluster.begins()[begun:]}
        cluster.order("c", "run", Target(replica="b"))
        await cluster.answered()
        cluster.talk(9, 0.3, kind, start=18)
        assert await cluster.done()
        assert "b" in {name for name, _ in cluster.begins()[begun:]}
        assert broken(cluster) == []

    run(scenario)


def test_drain_refuses_what_is_new_and_finishes_what_there_is() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        cluster.talk(6)
        await cluster.until(lambda: len(cluster.acknowledged) == 6, 2.0)
        cluster.order("b", "drain", Target(kind="talks"))
        await cluster.answered()
        assert cluster.engine("b").control.open_tasks(Target(kind="talks")) == 6
        inbox = cluster.engine("a").inbox
        with pytest.raises(Draining, match="actonce resume"):
            inbox.submit("talks", pack_payload("it", {"work_s": 0.1}), "late", lambda kept: None)
        inbox.submit("talks", pack_payload("it", {"work_s": 0.3}), "k0", lambda kept: None)  # known: as ever
        cluster.talk(1, 0.1, "pays")
        assert await cluster.done()
        assert cluster.engine("c").control.open_tasks(AGENT) == 0
        assert len(cluster.engine("a").ledger.state.tasks) == 7

    run(scenario)


def test_stop_cancels_after_a_while_and_all_goes_on_where_it_was() -> None:
    async def scenario() -> None:
        cluster = Office(3, "abc")
        await cluster.form()
        cluster.talk(6, 1.0)
        await asyncio.sleep(1.0)
        posted = set(cluster.feed.keys())
        assert posted
        cluster.order("a", "stop")
        await asyncio.sleep(0.3)
        assert any(engine.executor.running for engine in cluster.live()), "not at once"
        await asyncio.sleep(0.5)
        assert all(not engine.executor.running for engine in cluster.live())
        quiet = cluster.publishes()
        await asyncio.sleep(5.0)
        assert cluster.publishes() == quiet
        cluster.order("c", "run")
        assert await cluster.done()
        effects = cluster.engine("a").ledger.state.effects.values()
        assert len(cluster.feed.posts) == len(set(cluster.feed.keys())) == 6 * POSTS
        assert all(effect.doubt is None or effect.doubt.settled == "found" for effect in effects)
        assert broken(cluster) == []

    run(scenario)


@pytest.mark.parametrize("mode", ["drain", "pause", "stop", "halt"])
def test_sources_stand_still_and_go_on_where_they_were(mode: str) -> None:
    async def scenario() -> None:
        cluster = Polling(3, "abc")
        await cluster.form()
        feeding = asyncio.ensure_future(cluster.feed_items(12.0))
        await asyncio.sleep(3.0)
        control = cluster.live()[1].control
        control.order(AGENT, mode, "", lambda ordered: None)
        await asyncio.sleep(0.5)
        calls = len(cluster.calls)
        await asyncio.sleep(4.0)
        assert len(cluster.calls) == calls
        assert control.open_tasks(AGENT) == 0 or mode != "drain", "a source is not what a drain waits for"
        control.order(AGENT, "run", "", lambda ordered: None)
        await asyncio.sleep(1.0)
        poller = cluster.poller()
        control.order(Target(replica=poller), mode, "", lambda ordered: None)
        assert await cluster.until(lambda: cluster.calls[-1].replica != poller, 3.0), "nobody took over"
        control.order(Target(replica=poller), "run", "", lambda ordered: None)
        await feeding
        await cluster.rest()
        assert cluster.wrong == []

    run(scenario)


def ticking(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("kevin")

    @agent.every("5s", missed="skip")
    async def ticks(ctx: Context, slot: Json) -> None: ...

    return agent


@pytest.mark.parametrize("mode", ["drain", "pause"])
def test_slots_that_pass_under_an_order_are_missed_ones(mode: str) -> None:
    async def scenario() -> None:
        cluster = Cluster(1, "ab", ticking)
        for name in "ab":
            cluster.start(name, new=name == "a")
        tasks = cluster.engine("b").ledger.state.tasks
        assert await cluster.until(lambda: len(tasks) == 2, 30.0)
        cluster.engine("a").control.order(AGENT, mode, "", lambda ordered: None)
        await asyncio.sleep(200.0)
        assert len(tasks) == 2
        cluster.engine("b").control.order(AGENT, "run", "", lambda ordered: None)
        await asyncio.sleep(20.0)
        assert 4 <= len(tasks) - 2 <= 17, "40 slots passed; those of the last minute are late, the others were missed"
        assert all(state.done is not None for state in tasks.values())

    run(scenario)


def test_orders_that_make_no_sense() -> None:
    async def scenario() -> None:
        cluster = Office(1, "ab")
        await cluster.form()
        control = cluster.engine("a").control
        for target, mode, reason, error, words in (
            (Target(kind="taks"), "pause", "", NoSuchTarget, "has a handler for 'taks'; there are: pays, talks"),
            (Target(replica="z"), "halt", "", NoSuchTarget, "no replica 'z' is known; there are: a, b"),
            (Target("talks", "a"), "pause", "", PayloadInvalid, "for a kind or for a replica, not for both"),
            (AGENT, "sleep", "", PayloadInvalid, "there is no order 'sleep'"),
            (AGENT, "pause", "x" * 501, PayloadInvalid, "at most 500 characters"),
        ):
            with pytest.raises(error, match=re.escape(words)):
                control.order(target, mode, reason, lambda ordered: None)
        assert not cluster.engine("a").ledger.state.controls

    run(scenario)
