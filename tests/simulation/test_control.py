"""Orders: pause, drain, stop, the emergency stop; on good days and bad ones, with planted bugs."""

from __future__ import annotations

import asyncio
import re

import pytest

from actonce.control import Ordered
from actonce.errors import Draining, NoSuchTarget, PayloadInvalid
from actonce.inbox import pack_payload
from actonce.settings import Settings
from actonce.sim import ordering
from actonce.sim.cluster import Cluster
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.standing import Target

from . import planted_control
from .mesh import run
from .planted import Patch
from .planted_control import POSTS, SETTINGS, make_agent

AGENT = Target()


class Office(Cluster):
    """Replicas that talk."""

    def __init__(self, seed: int, names: str, settings: Settings = SETTINGS) -> None:
        super().__init__(seed, names, make_agent, settings, roster=tuple(names))
        self.answers: list[Ordered] = []

    async def form(self) -> None:
        for index, name in enumerate(self.nodes):
            self.start(name, new=index == 0)
        size = len(self.nodes)
        assert await self.until(lambda: all(len(e.membership.view.members) == size for e in self.live()), 10.0)
        assert await self.until(lambda: all(e.electorate.votes for e in self.live()), 10.0)

    def talk(self, count: int, work_s: float = 0.3, kind: str = "talks", start: int = 0) -> None:
        names = sorted(self.nodes)
        for number in range(start, start + count):
            self.submit(names[number % len(names)], kind, {"work_s": work_s}, f"k{number}")

    def order(self, name: str, mode: str, target: Target = AGENT) -> None:
        self.engine(name).control.order(target, mode, "", self.answers.append)

    async def answered(self, timeout_s: float = 5.0) -> Ordered:
        count = len(self.answers)
        assert await self.until(lambda: len(self.answers) > count or count > 0, timeout_s)
        return self.answers.pop()

    async def done(self, timeout_s: float = 60.0) -> bool:
        return await self.until(lambda: all(not e.claims.open for e in self.live()) and self.converged(), timeout_s)

    def begins(self) -> list[tuple[str, str]]:
        return [(str(event.facts[0]), str(event.facts[1])) for event in self.history.of("begin")]

    def publishes(self) -> int:
        return sum(1 for _ in self.history.of("publish"))


def broken(cluster: Cluster) -> list[str]:
    return [text for checker in (*SAFETY, *ordering.SAFETY, *LIVENESS) for text in checker(cluster)]


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
