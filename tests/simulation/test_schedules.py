"""Schedules: every slot once, whoever dies, leaves, or has a wrong clock; what is missed; what overlaps; DST."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.ownership import owner
from actonce.schedule import Missed, Overlap, Schedule, slot_text
from actonce.scheduler import BACKFILL_MAX, MISSED_AFTER_S, Scheduler
from actonce.settings import LAN, Settings
from actonce.sim import world as sim_world
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.sim.world import EPOCH_S, SimWorld

from .mesh import dice, run

SECONDS = 120
LATE_S = LAN.suspicion_s + LAN.grace_s + LAN.start_alone_after_s / 10
"""A takeover, and a restart."""


class Clockwork(Cluster):
    """Replicas with one schedule, whose handler works for a while and posts its slot."""

    def __init__(
        self,
        seed: int,
        names: str,
        line: str = "* * * * * *",
        *,
        tz: str = "UTC",
        missed: Missed = "once",
        overlap: Overlap = "allow",
        work_s: float = 0.0,
        settings: Settings = LAN,
    ) -> None:
        super().__init__(seed, names, self._agent, settings)
        self.line, self.tz, self.missed, self.overlap, self.work_s = line, tz, missed, overlap, work_s
        self.at_once = self.most_at_once = 0

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", FeedSink(feed, world))

        @agent.cron(self.line, name="tick", tz=self.tz, missed=self.missed, overlap=self.overlap)
        async def tick(ctx: Context, slot: dict[str, str]) -> str:
            await world.alive()
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await anyio.sleep(self.work_s)
                await world.alive()
                await ctx.post("room", slot["slot"])
            finally:
                self.at_once -= 1
            return slot["slot"]

        return agent

    async def form(self) -> None:
        for index, name in enumerate(self.nodes):
            self.start(name, new=index == 0)
        assert await self.whole()

    async def whole(self) -> bool:
        """All replicas are live, in one view, and act."""

        def is_whole() -> bool:
            live = {engine.me for engine in self.live()}
            return len(live) == len(self.nodes) and all(
                engine.membership.view.members == live and engine.membership.act_until() > engine.world.now()
                for engine in self.live()
            )

        return await self.until(is_whole, 20.0)

    async def at(self, second: float) -> None:
        await asyncio.sleep(max(0.0, second - self.loop.time()))

    async def rest(self) -> None:
        """Until nothing is open and all are equal."""
        quiet = await self.until(lambda: all(not e.claims.open for e in self.live()) and self.converged(), 60.0)
        assert quiet, [list(engine.claims.open) for engine in self.live()]

    def slots(self) -> Counter[str]:
        """What was posted."""
        return Counter(str(post.body) for post in self.feed.posts)

    def lateness(self) -> list[float]:
        """Of each post after its slot, in true seconds."""
        return [post.at + EPOCH_S - datetime.fromisoformat(str(post.body)).timestamp() for post in self.feed.posts]


def broken(cluster: Cluster) -> list[str]:
    return [violation for checker in (*SAFETY, *LIVENESS) for violation in checker(cluster)]


async def each_second(seed: int, names: str, skew_s: float = 0.0) -> Clockwork:
    """Two minutes of a slot each second: a crash, a crash of whoever keeps the schedule, and a rolling restart."""
    cluster, random = Clockwork(seed, names), dice(seed, "slots")
    await cluster.form()
    if skew_s and len(names) > 2:
        cluster.skew(random.choice(names), skew_s)
    for second in (20, 40):
        await cluster.at(second + random.random())
        name = random.choice(names)
        cluster.kill(name)
        await asyncio.sleep(random.uniform(0.0, 3.0))
        cluster.start(name)
        assert await cluster.whole()
    await cluster.at(60)
    for name in names:
        await cluster.leave(name)
        await asyncio.sleep(random.uniform(0.0, 2.0))
        cluster.start(name)
        assert await cluster.whole()
    await cluster.at(SECONDS)
    await cluster.rest()
    return cluster


def expected(upto: int = SECONDS) -> list[str]:
    """The slots from the third second on: the mesh exists by then."""
    return [slot_text(int(EPOCH_S) + second) for second in range(3, upto)]


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
@pytest.mark.parametrize(("seed", "skew_s"), [(1, 0.0), (2, 3600.0), (3, -3600.0)])
def test_each_slot_once_over_a_crash_and_a_rolling_restart(seed: int, skew_s: float, names: str) -> None:
    cluster = run(each_second, seed, names, skew_s)
    slots = cluster.slots()
    assert [slot for slot in expected() if slots[slot] != 1] == []
    assert set(slots.values()) == {1}
    assert min(cluster.lateness()) >= 0.0, "a slot began early"
    assert max(cluster.lateness()) <= LATE_S
    assert broken(cluster) == []
    mark = cluster.live()[0].ledger.state.marks["tick"]
    assert mark.slot >= EPOCH_S + SECONDS - 20


async def keeper_falls_silent(seed: int) -> Clockwork:
    """Whoever writes the slots dies three times, and nobody can tell for as long as suspicion and grace take."""
    cluster = Clockwork(seed, "abc")
    await cluster.form()
    await cluster.at(5)
    for _ in range(3):
        members = [engine.me for engine in cluster.live()]
        keeper = owner("cron:tick", members, lambda name: True)
        assert keeper is not None
        cluster.network.cut({keeper.name}, set("abc") - {keeper.name})
        cluster.kill(keeper.name)
        cluster._gone.clear()
        await asyncio.sleep(4.0 + dice(seed, "silent").random())
        cluster.network.heal()
        cluster.start(keeper.name)
        assert await cluster.whole()
    await cluster.at(40)
    await cluster.rest()
    return cluster


@pytest.mark.parametrize("seed", range(3))
def test_no_slot_is_lost_while_nobody_knows_that_its_keeper_is_dead(seed: int) -> None:
    cluster = run(keeper_falls_silent, seed)
    assert [slot for slot in expected(40) if cluster.slots()[slot] != 1] == []
    assert set(cluster.slots().values()) == {1}


def test_a_replica_that_was_away_begins_no_slot_again() -> None:
    async def scenario() -> None:
        cluster = Clockwork(1, "abc")
        await cluster.form()
        await cluster.at(10)
        cluster.kill("b")
        await cluster.at(40)
        cluster.start("b")
        assert await cluster.whole()
        await cluster.at(60)
        await cluster.rest()
        assert set(cluster.slots().values()) == {1}

    run(scenario)


@pytest.mark.parametrize(("missed", "made_up"), [("skip", 0), ("once", 1), ("all", 4)])
def test_missed_slots(missed: Missed, made_up: int) -> None:
    """The mesh is down from 10:05 to 10:47, or so, of a schedule every ten minutes."""

    async def scenario() -> None:
        cluster = Clockwork(1, "ab", "*/10 * * * *", missed=missed)
        await cluster.form()
        await cluster.at(600)
        for name in "ab":
            cluster.kill(name)
        before = len(cluster.feed.posts)
        assert before == 1
        await cluster.at(600 + 2460)
        for name in "ab":
            cluster.start(name)
        assert await cluster.whole()
        await cluster.at(600 + 2500)
        await cluster.rest()
        assert len(cluster.feed.posts) - before == made_up
        if missed == "once":
            assert cluster.lateness()[-1] < 600, "the newest one"
        await cluster.at(4000)
        await cluster.rest()
        assert len(cluster.feed.posts) - before >= made_up + 1, "and then it goes on"
        assert set(cluster.slots().values()) == {1}
        marks = {engine.ledger.state.marks["tick"].slot for engine in cluster.live()}
        assert min(marks) > EPOCH_S + 3000

    run(scenario)


def test_making_up_is_bounded() -> None:
    async def scenario() -> None:
        cluster = Clockwork(1, "a", missed="all")
        await cluster.form()
        await cluster.at(10)
        cluster.kill("a")
        before = len(cluster.feed.posts)
        await cluster.at(10_000)
        cluster.start("a")
        await cluster.at(10_040)
        cluster_slots = cluster.slots()
        late = [s for s in cluster.lateness()[before:] if s > MISSED_AFTER_S]
        assert BACKFILL_MAX - 1 <= len(late) <= BACKFILL_MAX
        assert set(cluster_slots.values()) == {1}

    run(scenario)


@pytest.mark.parametrize(
    ("overlap", "most", "done"), [("skip", 1, (8, 20)), ("queue", 1, (8, 20)), ("allow", 4, (24, 30))]
)
def test_slots_that_overlap(overlap: Overlap, most: int, done: tuple[int, int]) -> None:
    """A slot each second, a handler of two and a half."""

    async def scenario() -> None:
        cluster = Clockwork(1, "abc", overlap=overlap, work_s=2.5)
        await cluster.form()
        await cluster.at(30)
        assert done[0] <= len(cluster.feed.posts) <= done[1]
        assert cluster.most_at_once <= most
        states = Counter(
            state.done.how if state.done else "open" for state in cluster.live()[0].ledger.state.tasks.values()
        )
        assert (states["skipped"] > 10) == (overlap == "skip")
        assert (states["open"] > 10) == (overlap == "queue")
        assert set(cluster.slots().values()) == {1}

    run(scenario)


@pytest.mark.parametrize(
    ("start", "expected_utc"),
    [
        (datetime(2026, 10, 24, 23, 0, tzinfo=UTC), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        (datetime(2026, 3, 28, 23, 0, tzinfo=UTC), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
    ],
    ids=["fall back", "spring forward"],
)
def test_daylight_saving(start: datetime, expected_utc: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half past two in Berlin, over two nights, with a replica killed each time right before."""
    monkeypatch.setattr(sim_world, "EPOCH_S", start.timestamp())

    async def scenario() -> None:
        slow = Settings(heartbeat_s=10.0, tick_s=5.0, contact_window_s=60.0, suspicion_s=60.0, grace_s=30.0)
        cluster = Clockwork(1, "ab", "30 2 * * *", tz="Europe/Berlin", settings=slow)
        for index, name in enumerate("ab"):
            cluster.start(name, new=index == 0)
        await asyncio.sleep(600)
        for slot in expected_utc:
            due_s = datetime.fromisoformat(slot).timestamp() - start.timestamp()
            await cluster.at(due_s - 30)
            victim = dice(1, slot).choice("ab")
            cluster.kill(victim)
            await cluster.at(due_s + 600)
            cluster.start(victim)
            await asyncio.sleep(600)
        await cluster.at(30 * 3600)
        assert [post.body for post in cluster.feed.posts] == expected_utc

    run(scenario)


# Planted bugs


def slot_by_own_clock(patch: pytest.MonkeyPatch) -> None:
    """A slot is called by what the clock of its replica says, in whole seconds since that replica began."""
    task = Schedule.task

    def local(self: Schedule, slot: int) -> str:
        return task(self, slot + 7200 * local.zone[0])  # type: ignore[attr-defined]

    local.zone = [0]  # type: ignore[attr-defined]
    look = Scheduler.look

    def looked(self: Scheduler) -> None:
        local.zone[0] = ord(self._membership.me.name) % 3  # type: ignore[attr-defined]
        look(self)

    patch.setattr(Schedule, "task", local)
    patch.setattr(Scheduler, "look", looked)


def own_clock_only(patch: pytest.MonkeyPatch) -> None:
    """What time it is, everybody knows alone."""
    patch.setattr("actonce.scheduler.mesh_wall", lambda world, membership: world.wall())


def mark_ahead(patch: pytest.MonkeyPatch) -> None:
    """Slots count as settled as soon as they are seen."""
    patch.setattr(Scheduler, "_is_over", lambda self, schedule, slot: True)


async def unsettled_below_the_mark() -> list[str]:
    """Tasks of slots that are open although the mark says that they are settled: compaction would forget them."""
    cluster = Clockwork(1, "abc", work_s=5.0)
    await cluster.form()
    found: list[str] = []
    for _ in range(30):
        await asyncio.sleep(1.0)
        for engine in cluster.live():
            upto = slot_text(engine.ledger.state.marks["tick"].slot)
            tasks = engine.ledger.state.tasks.items()
            found += [task for task, state in tasks if state.done is None and task <= f"cron:tick:{upto}"]
    assert len({engine.ledger.state.marks["tick"].slot for engine in cluster.live()}) == 1
    return found


def test_the_mark_is_never_ahead_of_what_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(unsettled_below_the_mark) == []
    mark_ahead(monkeypatch)
    assert run(unsettled_below_the_mark) != []


@pytest.mark.parametrize(
    ("fault", "skew_s"),
    [(slot_by_own_clock, 0.0), (own_clock_only, 3600.0)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], skew_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    found: list[Any] = []
    for seed in range(1, 3):
        cluster = run(each_second, seed, "abc", skew_s)
        slots = cluster.slots()
        found += [slot for slot in expected() if slots[slot] != 1]
        found += [late for late in cluster.lateness() if not 0.0 <= late <= LATE_S]
    assert found
