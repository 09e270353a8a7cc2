"""kill -9 at each point of an effect's way, for each sort of sink and each `on_doubt`: what happens is what
runtime/docs/effects.md says, cell by cell. One replica is killed and stays away; the other takes its task over.

A cell tells how many requests the sink carried out, and the word of the doubt, if there was one; "asked" where a person
is waited for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actonce.agent import Agent, OnDoubt
from actonce.context import Context
from actonce.outbox import Outbox
from actonce.performing import Effect
from actonce.reporting import was_doubt
from actonce.running import Run
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import SimWorld
from actonce_crdt import EffectState, Json

from .outbox_table import POINTS, RULES, documented

ANSWERS = ("posted", "resend", "skip")
TRAVEL_S = 0.01
KEY = "reply/k/#1"


@dataclass(frozen=True, slots=True)
class Sort:
    """What a sink can do about duplicates."""

    can_lookup: bool = False
    window_s: float = 0.0


SORTS = {
    "can be asked": Sort(can_lookup=True),
    "refuses repeated keys": Sort(window_s=math.inf),
    "both": Sort(can_lookup=True, window_s=math.inf),
    "neither": Sort(),
}


@dataclass(slots=True)
class Store:
    """What one service has carried out: key -> when, and how often."""

    window_s: float
    done: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def arrive(self, key: str, now: float) -> None:
        if now - self.done.get(key, -math.inf) >= self.window_s or key not in self.done:
            self.counts[key] = self.counts.get(key, 0) + 1
            self.done[key] = now


class Sorted(FeedSink):
    """A sink of a sort, behind which its sender may be killed."""

    def __init__(self, feed: Feed, world: SimWorld, sort: Sort, store: Store, die: Callable[[SimWorld, str], bool]):
        super().__init__(feed, world, can_lookup=sort.can_lookup, dedupe_window_s=sort.window_s)
        self._store, self._die = store, die

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        await self._reach("after the intent")
        gate()
        await anyio.lowlevel.checkpoint()  # the engine hears that it left
        await self._reach("during the send")
        self._store.arrive(key, self._world.loop.time())
        await self._reach("after the send")
        await anyio.sleep(TRAVEL_S)
        await self._world.alive()
        return {"key": key}

    async def lookup(self, key: str) -> Json | None:
        await anyio.sleep(TRAVEL_S)
        await self._world.alive()
        return {"key": key} if key in self._store.done else None

    async def _reach(self, point: str) -> None:
        if self._die(self._world, point):
            self._world.kill()
        await self._world.alive()


class Pair(Cluster):
    """Two replicas, one task, one post, and a point at which the first who comes there is killed."""

    def __init__(self, sort: Sort, rule: OnDoubt, point: str) -> None:
        super().__init__(1, "ab", self._agent)
        self.sort, self.rule, self.point, self.died = sort, rule, point, False
        self.store = Store(sort.window_s)

    def _dies(self, world: SimWorld, point: str) -> bool:
        dies = point == self.point and not self.died
        self.died |= dies
        return dies

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", Sorted(feed, world, self.sort, self.store, self._dies))

        @agent.task("reply", on_doubt=self.rule, retries=0)
        async def reply(ctx: Context, payload: Json) -> Any:
            await self.maybe(world, "before the intent")
            receipt = await ctx.post("room", payload)
            await anyio.sleep(10 * TRAVEL_S)  # it is read by the other replica
            await self.maybe(world, "after the receipt")
            return receipt

        return agent

    async def maybe(self, world: SimWorld, point: str) -> None:
        await world.alive()
        if self._dies(world, point):
            world.kill()
            await world.alive()

    async def form(self) -> None:
        for name in "ab":
            self.start(name, new=name == "a")
        assert await self.until(lambda: all(e.membership.act_until() > e.world.now() for e in self.live()), 5.0)
        assert all(len(engine.membership.view.members) == 2 for engine in self.live())

    def ask(self) -> None:
        """The message reaches both, as a relay delivers it."""
        for name in "ab":
            self.submit(name, "reply", {"text": "hello"}, "k")

    @property
    def effect(self) -> EffectState | None:
        return self.live()[0].ledger.state.effects.get(KEY)

    def is_over(self) -> bool:
        """Done, or waiting for a person."""
        [engine] = self.live() if len(self.live()) == 1 else [None]
        if engine is None:
            return False
        state = engine.ledger.state.tasks.get("reply/k")
        return (state is not None and state.done is not None) or bool(engine.doubts.of("reply/k"))

    def told(self) -> str:
        """The cell."""
        count, effect = self.store.counts.get(KEY, 0), self.effect
        assert effect is not None
        word = effect.doubt.settled if effect.doubt is not None and was_doubt(effect) else ""
        return f"{count} {'asked' if word == 'open' else word}".rstrip()


def broken(cluster: Cluster, *, over: bool) -> list[str]:
    """What the checkers say. They count at the feed, which this sink does not use."""
    ours = [checker for checker in (*SAFETY, *(LIVENESS if over else ())) if checker.__name__ != "everything_posted"]
    return [violation for checker in ours for violation in checker(cluster)]


@cache
def cell(sort: str, rule: OnDoubt, point: str, answer: str = "") -> str:
    return what_happens(SORTS[sort], rule, point, answer)


def what_happens(sort: Sort, rule: OnDoubt, point: str, answer: str = "") -> str:
    async def scenario() -> str:
        pair = Pair(sort, rule, point)
        await pair.form()
        pair.ask()
        assert await pair.until(lambda: pair.died and pair.is_over(), 30.0), (sort, rule, point)
        if answer:
            words: list[str] = []
            pair.live()[0].doubts.resolve(KEY, answer, words.append)
            await pair.until(lambda: not pair.live()[0].claims.open, 5.0)
        told = pair.told()
        assert broken(pair, over="asked" not in told) == []
        return told

    return simulate(scenario)


SHOWN = [name for name in SORTS if name != "both" or "OUTBOX_ALL" in os.environ]


@pytest.mark.parametrize("sort", SHOWN)
@pytest.mark.parametrize("rule", RULES)
def test_what_happens_is_what_is_documented(sort: str, rule: OnDoubt) -> None:
    expected = {point: documented()[sort, rule, point] for point in POINTS}
    assert {point: cell(sort, rule, point) for point in POINTS} == expected


def test_the_documented_table_is_complete() -> None:
    assert set(documented()) == {(sort, rule, point) for sort in SORTS for rule in RULES for point in POINTS}


@pytest.mark.parametrize("point", POINTS[1:4])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_sends_once_or_not_at_all(point: str, answer: str) -> None:
    before = 1 if point == "after the send" else 0
    expected = {"posted": f"{before} posted", "skip": f"{before} skipped", "resend": f"{before + 1} resent"}
    assert cell("neither", "ask", point, answer) == expected[answer]


# Planted: what the table is there for


def receipt_lost(patch: pytest.MonkeyPatch) -> None:
    """The handler goes on although the receipt is not written down."""

    def done(
        self: Outbox, run: Run, key: str, receipt: bytes, settled: str | None, reply: Callable[[], None]
    ) -> None:
        self._forget(run, key)
        reply()

    patch.setattr(Outbox, "done", done)


def asked_once_for_all(patch: pytest.MonkeyPatch) -> None:
    """A person's word counts for every sending from then on: no new round begins with it."""
    doubt = Outbox._doubt

    def same_round(self: Outbox, run: Run, key: str, settled: str, again: int = 0) -> int:
        return doubt(self, run, key, settled, 0)

    patch.setattr(Outbox, "_doubt", same_round)


def test_a_lost_receipt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    receipt_lost(monkeypatch)
    for rule in RULES:
        told = what_happens(SORTS["neither"], rule, "after the receipt")
        assert told != documented()["neither", rule, "after the receipt"], rule


# The window of a sink that refuses repeated keys only for a while


WINDOW_S = 20.0


def sent_after(away_s: float, rule: OnDoubt) -> str:
    """All replicas die after the send, and are away for so long."""

    async def scenario() -> str:
        pair = Pair(Sort(window_s=WINDOW_S), rule, "after the send")
        await pair.form()
        pair.ask()
        assert await pair.until(lambda: pair.died, 5.0)
        for name in "ab":
            pair.kill(name)
        await anyio.sleep(away_s)
        for name in "ab":
            pair.start(name)

        def waits() -> bool:
            return any(engine.doubts.of("reply/k") for engine in pair.live())

        await pair.until(lambda: waits() or not any(engine.claims.open for engine in pair.live()), 30.0)
        await pair.until(lambda: waits() or (pair.effect is not None and pair.effect.doubt is not None), 30.0)
        await anyio.sleep(1.0)
        return pair.told()

    return simulate(scenario)


@pytest.mark.parametrize(
    ("away_s", "rule", "told"),
    [
        (1.0, "resend", "1 resent"),
        (1.0, "ask", "1 resent"),
        (WINDOW_S, "resend", "1 skipped"),
        (WINDOW_S, "ask", "1 asked"),
    ],
)
def test_it_is_sent_again_only_while_the_sink_refuses_it(away_s: float, rule: OnDoubt, told: str) -> None:
    assert sent_after(away_s, rule) == told


def test_a_resend_outside_of_the_window_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Effect, "_is_refused_again", lambda self, age_s: self.sink.dedupe_window_s > 0)
    assert sent_after(WINDOW_S, "resend") == "2 resent"


# A word is good for one sending


def resent_and_killed() -> tuple[int, str]:
    """A person says: send it again; whoever does is killed after the send. Requests carried out, and the word."""

    async def scenario() -> tuple[int, str]:
        pair = Pair(Sort(), "ask", "during the send")
        await pair.form()
        pair.ask()
        assert await pair.until(lambda: pair.died and pair.is_over(), 30.0)
        gone = next(name for name, node in sorted(pair.nodes.items()) if node.world is not None and node.world.dead)
        pair.start(gone)
        assert await pair.until(lambda: all(len(e.membership.view.members) == 2 for e in pair.live()), 10.0)
        pair.died, pair.point = False, "after the send"
        pair.live()[0].doubts.resolve(KEY, "resend", lambda word: None)
        assert await pair.until(lambda: pair.died and pair.is_over(), 30.0)
        return pair.store.counts[KEY], pair.told()

    return simulate(scenario)


def test_who_takes_over_a_resend_asks_again() -> None:
    assert resent_and_killed() == (1, "1 asked")


def test_a_word_that_counts_for_ever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_once_for_all(monkeypatch)
    assert resent_and_killed()[0] == 2

