"""SIGSTOP of a replica at work: when it wakes no effect passes the gate until contact is fresh; others are doubts.

The handlers' own diary says what passed the gate and when; the other replicas say since when they hold it to be live
again. Nothing here is believed of the replica that slept.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.lab.support import WAIT_S, Loaded, loaded, until

from actonce.bench.diary import BEGAN, ENDED, PASSED, Line, under_way
from actonce.bench.rig import converge, until_whole
from actonce.demo.mesh import Replica
from actonce.demo.report import count_posts
from actonce.settings import LAN

ROWS = 10_000
RATE = 40.0
FEED_DELAY_MS = 150.0
"""Long, so that some effects are on their way at any moment."""
WINDOW_S = 0.02
"""Between the last check and the socket: microseconds, unless the machine is busy. See the limits in README.md."""
GIVEN_UP_S = LAN.suspicion_s + LAN.grace_s
LONG_S = GIVEN_UP_S + 1.4
"""Long enough for all of its tasks to begin elsewhere before it wakes, on a busy machine too: a few dozen at once."""
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Stop:
    """A replica that was stopped. Times are monotonic seconds."""

    pid: int
    stopped: float
    woke: float
    missing: float
    """When another replica last did not hold it to be live; `woke` if they never missed it."""
    whole: float
    running: list[str]


def early(lines: list[Line], stop: Stop) -> list[Line]:
    """Effects that passed the gate of the sleeper after it woke and before the others had it back.

    Others were refused there, or their handlers were cancelled before they came to it: that is a race of two threads.
    """
    came = (line for line in lines if line.what == PASSED and line.pid == stop.pid)
    return [line for line in came if stop.woke < line.at < stop.missing]


def overtaken(lines: list[Line], stop: Stop) -> list[str]:
    """Tasks of the sleeper that began elsewhere while it slept."""
    began = (line for line in lines if line.what == BEGAN and line.pid != stop.pid)
    elsewhere = {line.subject for line in began if stop.stopped < line.at < stop.whole}
    return [task for task in stop.running if task in elsewhere]


def finished_elsewhere(lines: list[Line], stop: Stop) -> set[str]:
    """Tasks that came to their end elsewhere while it slept: nobody had its word on what was under way."""
    ended = (line for line in lines if line.what == ENDED and line.pid != stop.pid)
    return {line.subject for line in ended if stop.stopped < line.at < stop.woke}


def left_before(lines: list[Line], stop: Stop) -> set[str]:
    """Keys of effects of its running tasks that had passed the gate when it was stopped, too late for an answer."""
    since = stop.stopped - FEED_DELAY_MS / 1000
    return {
        line.subject
        for line in lines
        if line.what == PASSED and line.pid == stop.pid and since < line.at < stop.stopped
        if line.subject.rpartition("/")[0] in stop.running
    }


def in_the_window(lines: list[Line], stop: Stop) -> str:
    """The effect that the sleeper was perhaps about to give to its socket: one at most, as one loop does it. If it was,
    it leaves when the sleeper wakes, and only a sink that checks the fence refuses it."""
    passed = (line for line in lines if line.what == PASSED and line.pid == stop.pid and line.at < stop.stopped)
    last = max(passed, key=lambda line: line.at, default=None)
    return last.subject if last is not None and stop.stopped - last.at < WINDOW_S else ""


async def stop_for(stage: Loaded, seconds: float) -> Stop:
    """Stop a replica at work, wake it, and wait until the mesh is whole."""
    mesh = stage.mesh
    await until_whole(mesh)
    await until(lambda: len(stage.relay.deliveries) > RATE, WAIT_S)
    found: list[Replica] = []

    def at_work() -> bool:
        found[:] = [replica for replica in mesh.replicas if posting(stage, replica)]
        return bool(found)

    await until(at_work, WAIT_S)
    victim = found[0]
    victim.child.signal(signal.SIGSTOP)
    pid, stopped = victim.child.pid, time.monotonic()  # not before: what it still did must not count as under way
    await asyncio.sleep(seconds)
    running = under_way([line for line in stage.diary.read() if line.at <= stopped], pid)
    others = [replica for replica in mesh.replicas if replica is not victim]
    woke = missing = time.monotonic()
    victim.child.signal(signal.SIGCONT)
    while True:
        asked = time.monotonic()
        if all([await sees(replica, victim.name) for replica in others]):
            break
        missing = asked
    await until_whole(mesh)
    return Stop(pid, stopped, woke, missing, time.monotonic(), running)


def posting(stage: Loaded, replica: Replica) -> bool:
    """Whether an effect of it is on its way, and stays so for a while."""
    lines, pid, since = stage.diary.read(), replica.child.pid, time.monotonic() - FEED_DELAY_MS / 2000
    left = (line for line in lines if line.what == PASSED and line.pid == pid and line.at > since)
    passed = {line.subject.rpartition("/")[0] for line in left}
    return bool(passed.intersection(under_way(lines, pid)))


async def sees(replica: Replica, name: str) -> bool:
    return name in (await replica.get("/status"))["view"]["members"]


async def run_stops(folder: Path, lengths: list[float], **environment: str) -> tuple[Loaded, list[Stop], list[str]]:
    """The stops one after the other, to the end of all work; what is wrong with what the feed got."""
    environment |= {"ACTONCE_BENCH_DAWDLE_S": "0.3"}
    async with loaded(folder, RATE, work_s=0.05, feed_delay_ms=FEED_DELAY_MS, **environment) as stage:
        stops = [await stop_for(stage, seconds) for seconds in lengths]
        await stage.end()
        assert await converge(stage.mesh, len(stage.messages)) == 1
        posts = await stage.mesh.posts()
        rows = await stage.mesh.replicas[0].get(f"/posts?limit={ROWS}")
        stage.diary.read()
    doubts = {row["effect"]: row["doubt"] for row in rows if row["doubt"]}
    lost, doubled = count_posts([message.id for message in stage.messages], posts)
    wrong = [f"{name} is lost" for name in lost if doubts.get(f"reply/{name}/#1") != "skipped"]
    slipped = {in_the_window(stage.diary.lines, stop) for stop in stops} & set(doubts)
    wrong += [f"{name} is doubled" for name in doubled if f"reply/{name}/#1" not in slipped]
    for stop in stops:
        over = finished_elsewhere(stage.diary.lines, stop)
        left = {key for key in left_before(stage.diary.lines, stop) if key.rpartition("/")[0] in over}
        wrong += [f"{key} had left, its task was done again, and it is no doubt" for key in sorted(left - set(doubts))]
    print(f"{[(len(s.running), round(s.missing - s.woke, 3)) for s in stops]}, {len(doubts)} doubts, {wrong[:5]}")
    return stage, stops, wrong


@pytest.mark.parametrize("askable", ["1", "0"], ids=["lookup", "no lookup"])
async def test_a_stopped_replica_lets_nothing_out_when_it_wakes(tmp_path: Path, askable: str) -> None:
    lengths = [0.5, LONG_S, 10.0] if askable == "1" else [LONG_S]
    stage, stops, wrong = await run_stops(tmp_path, lengths, ACTONCE_BENCH_ASKABLE=askable)
    assert wrong == []
    for seconds, stop in zip(lengths, stops, strict=True):
        assert stop.running
        if seconds > GIVEN_UP_S:
            assert sorted(overtaken(stage.diary.lines, stop)) == sorted(stop.running)
            assert stop.missing > stop.woke
            assert early(stage.diary.lines, stop) == []
        else:
            assert overtaken(stage.diary.lines, stop) == []
    assert any(left_before(stage.diary.lines, stop) for stop in stops)


async def test_a_replica_that_goes_on_regardless_is_found(tmp_path: Path) -> None:
    stage, stops, wrong = await run_stops(tmp_path, [2.0, 2.0], ACTONCE_LAB_PLANT="deaf")
    assert wrong or any(early(stage.diary.lines, stop) for stop in stops)
