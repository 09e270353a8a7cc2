"""The emergency stop: who confirms, when, and what becomes of those who were away; with planted bugs."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from actonce.control import Ordered
from actonce.sim import ordering
from actonce.sim.cluster import Cluster
from actonce.sinks import CallableSink
from actonce_crdt import Json

from . import planted_control
from .mesh import run
from .office import AGENT, Office, broken
from .planted import Patch
from .planted_control import POSTS


@pytest.mark.parametrize("seed", range(2))
def test_an_emergency_stop_is_acknowledged_by_all_and_nothing_leaves(seed: int) -> None:
    async def scenario() -> None:
        cluster = Office(seed, "abcd")
        await cluster.form()
        cluster.talk(12, 1.0)
        await asyncio.sleep(1.5)
        cluster.order("b", "halt")
        answer = await cluster.answered()
        assert (answer.confirmed, answer.missing, answer.beyond) == (("a", "b", "c", "d"), (), ())
        quiet = cluster.publishes()
        await asyncio.sleep(4.0)
        assert cluster.publishes() == quiet
        cluster.order("d", "run")
        assert await cluster.done()
        assert broken(cluster) == []
        assert len(cluster.feed.posts) == len(set(cluster.feed.keys())) == 12 * POSTS

    run(scenario)


def test_who_has_not_confirmed_is_named_and_why() -> None:
    async def scenario() -> None:
        cluster = Office(1, "abc")
        await cluster.form()
        cluster.talk(9, 1.0)
        await asyncio.sleep(0.5)
        cluster.pause("c")
        asked: list[Ordered] = []
        switch = cluster.engine("a").control.order(AGENT, "halt", "", asked.append)
        await asyncio.sleep(0.3)
        progress = cluster.engine("a").control.progress(switch, AGENT)
        assert asked == []
        assert progress.confirmed == ("a", "b")
        assert progress.missing == (("c", "has not answered that it has read the order"),)
        await cluster.until(lambda: bool(asked), 5.0)
        assert asked[0].missing == ()
        assert asked[0].beyond == ("c",), "it is out of play, and perhaps it lives"
        cluster.resume("c")
        assert await cluster.until(lambda: cluster.engine("a").control.progress(switch, AGENT).beyond == (), 5.0)
        assert cluster.engine("b").control.progress(switch, AGENT).confirmed == ("a", "b", "c")
        cluster.order("c", "run")
        assert await cluster.done()
        assert broken(cluster) == []

    run(scenario)


def cut(cluster: Cluster, one: str, others: str, *, heal: bool = False) -> None:
    for other in others:
        for pair in ((one, other), (other, one)):
            cluster.uncut(*pair) if heal else cluster.cut(*pair)


async def away_and_back(away: str) -> tuple[Office, list[str]]:
    """An emergency stop while c is away, in one of six ways; the effects that left it after it was back."""
    cluster = Office(4, "abcd")
    for index, name in enumerate("abc"):
        cluster.start(name, new=index == 0)
    assert await cluster.until(lambda: all(len(e.membership.view.members) == 3 for e in cluster.live()), 10.0)
    cluster.talk(12, 2.0)
    await asyncio.sleep(1.0)
    late = "d" if away == "new" else "c"
    if away in ("crash", "wipe"):
        cluster.kill("c")
    if away == "wipe":
        cluster.wipe("c")
    if away in ("pause", "suspend"):
        cluster.pause("c", suspend=away == "suspend")
    if away == "cut":
        cut(cluster, "c", "ab")
    await asyncio.sleep(3.0)
    cluster.order("a", "halt")
    assert (await cluster.answered()).missing == ()
    await asyncio.sleep(2.0)
    back = cluster.loop.time()
    if away in ("crash", "wipe", "new"):
        cluster.start(late)
    if away in ("pause", "suspend"):
        cluster.resume("c")
    if away == "cut":
        cut(cluster, "c", "ab", heal=True)
        # On its side of the cut it acts, until it has read the order: before it counts as a member again.
        assert await cluster.until(lambda: cluster.engine("a").me in cluster.engine("c").membership.view.members, 5.0)
        back = cluster.loop.time()
    await asyncio.sleep(3.0)
    cluster.talk(12, 0.3, start=12)  # some of it is for the one that is back
    await asyncio.sleep(3.0)
    world = cluster.nodes[late].world
    assert world is not None
    pid = world.process.pid
    return cluster, [str(e.facts[1]) for e in cluster.history.of("publish") if e.pid == pid and e.at >= back]


@pytest.mark.parametrize("away", ["crash", "pause", "suspend", "wipe", "cut", "new"])
def test_a_replica_that_was_away_reads_the_order_before_its_first_effect(away: str) -> None:
    async def scenario() -> None:
        cluster, left = await away_and_back(away)
        assert left == []
        cluster.order("a", "run")
        assert await cluster.done()
        assert broken(cluster) == []

    run(scenario)


@pytest.mark.parametrize("away", ["crash", "wipe", "cut", "new"])
def test_a_newcomer_that_ignores_the_order_is_found(away: str, monkeypatch: Patch) -> None:
    planted_control.orders_of_before_ignored(monkeypatch)

    async def scenario() -> None:
        cluster, left = await away_and_back(away)
        assert left != []
        assert any("left" in text and "stop" in text for checker in ordering.SAFETY for text in checker(cluster))

    run(scenario)


async def resumed_elsewhere() -> bool:
    """a is stopped at once, while c, cut off, is paused and resumed again and again. Whether all stop after healing."""
    cluster = Office(1, "abc")
    await cluster.form()
    cut(cluster, "c", "ab")
    await asyncio.sleep(3.0)
    cluster.order("a", "halt")
    for mode in ("pause", "run", "pause", "run"):
        cluster.order("c", mode)
    cluster.talk(9)
    await asyncio.sleep(2.0)
    cut(cluster, "c", "ab", heal=True)
    await asyncio.sleep(3.0)
    assert cluster.converged()
    halted = [engine.gate.halted for engine in cluster.live()]
    cluster.order("b", "run")
    assert await cluster.done()
    return all(halted)


def test_a_resume_on_one_side_does_not_undo_an_emergency_stop_on_the_other(monkeypatch: Patch) -> None:
    assert run(resumed_elsewhere)
    planted_control.last_writer_wins(monkeypatch)
    assert not run(resumed_elsewhere)


def test_what_a_handler_intended_and_was_held_back_is_no_doubt_on_the_replica_that_goes_on() -> None:
    async def scenario() -> None:
        cluster = Office(1, "a")
        await cluster.form()
        cluster.nodes["a"].disk.sync_s = (0.05, 0.1)
        cluster.talk(20, 0.2)
        await asyncio.sleep(0.5)
        cluster.order("a", "halt")
        await cluster.answered()
        effects = cluster.engine("a").ledger.state.effects
        published = {str(event.facts[1]) for event in cluster.history.of("publish")}
        held_back = {key for key, effect in effects.items() if effect.receipt is None} - published
        assert held_back, "no effect was caught between its intent and the gate"
        cluster.order("a", "run")
        assert await cluster.done()
        doubts = {key for key, effect in cluster.engine("a").ledger.state.effects.items() if effect.doubt is not None}
        assert not doubts & held_back
        assert len(cluster.feed.posts) == 20 * POSTS

    run(scenario)


async def halted_while_a_sink_is_at_work() -> tuple[bool, bool]:
    """Whether what is under way was named, and whether the confirmation came after it was over."""
    cluster, over_at, asked = Office(1, "a"), list[float](), list[float]()

    async def act(body: Json, key: str) -> Json:
        try:
            await asyncio.sleep(5.0)
        finally:
            with anyio.CancelScope(shield=True):  # it cannot be hurried
                await anyio.sleep(1.0)
            over_at.append(cluster.loop.time())
        return "done"

    await cluster.form()
    engine = cluster.engine("a")
    engine.agent.sinks["room"] = CallableSink(act)
    cluster.talk(1, 0.0)
    assert await cluster.until(lambda: bool(engine.gate._passing), 2.0)
    switch = engine.control.order(AGENT, "halt", "", lambda ordered: asked.append(cluster.loop.time()))
    assert engine.gate.halted
    await asyncio.sleep(0.1)
    named = engine.control.progress(switch, AGENT).missing == (("a", "an effect is still under way: talks/k0"),)
    assert await cluster.until(lambda: bool(asked) and bool(over_at), 10.0)
    return named, asked[0] >= over_at[0]


def test_an_emergency_stop_is_confirmed_only_when_nothing_is_under_way(monkeypatch: Patch) -> None:
    assert run(halted_while_a_sink_is_at_work) == (True, True)
    planted_control.effects_under_way_forgotten(monkeypatch)
    assert run(halted_while_a_sink_is_at_work) == (False, False)
