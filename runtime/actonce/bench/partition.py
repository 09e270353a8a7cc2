"""Healing on real processes: the last replica is reached through proxies only, which hold all bytes while it is cut.

Two sides, then: the last replica and the others. The time runs from the moment when the proxies let go to the first
moment when the same digest stands at all replicas; each looks every 2 ms, on one clock. The round trip of the limit is
a bare one through such a proxy; the transfer is charged as if it took no time on loopback.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actonce.bench.crew import NAMES, Crew, WorkerFailed
from actonce.bench.figures import rank
from actonce.bench.floor import ROUND_TRIPS, Missing, measure_missing
from actonce.bench.healing import Healed
from actonce.bench.meter import Traffic
from actonce.bench.shapes import outlasts
from actonce.demo.proxy import Proxy
from actonce.settings import LAN
from actonce_crdt import Document

IDLE_S, WHOLE_S, BEFORE_S, REST_S = 2.0, 2.0, 0.5, 1.5
ENTRIES_A_TASK = 3
HEAL_S, QUIET_S = 60.0, 60.0
ECHOES = 200
LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Real:
    """What one heal of real processes is made of. Times in seconds."""

    replicas: int = 3
    partition_s: float = 8.0
    rate: float = 20.0
    """Tasks a second, each submitted at all replicas."""
    entries: int = 0
    """Further entries that each side writes while it is alone, by doing tasks that do nothing."""


async def run_real(number: int, setup: Real) -> Healed:
    """Start a mesh, cut it, heal it, end it.

    Raises:
        ActonceError: a process ended on its own, or the mesh fell apart for good.
    """
    with tempfile.TemporaryDirectory(prefix="actonce-convergence-") as folder:
        names, proxies, ports = NAMES[: setup.replicas], list[Proxy](), dict[str, int]()

        def via(name: str, other: str, address: str) -> str:
            if other == names[-1]:
                return ""  # nobody can dial it: it dials all others, through the proxies
            return f"127.0.0.1:{ports[other]}" if name == names[-1] else address

        crew = Crew(Path(folder), setup.replicas, via)
        try:
            for name in names[:-1]:
                proxies.append(Proxy(crew.addresses[name]))
                ports[name] = await proxies[-1].start()
            async with crew:
                return await Partition(crew, proxies, Path(folder), setup).heal(number)
        finally:
            for proxy in proxies:
                await proxy.stop()


class Partition:
    """One mesh that is cut and healed, once."""

    def __init__(self, crew: Crew, proxies: Sequence[Proxy], folder: Path, setup: Real) -> None:
        self._crew, self._proxies, self._folder, self._setup = crew, proxies, folder, setup
        self._over: set[str] = set()
        """Tasks that every replica knew to be over when the cut began."""
        self._knowing: Counter[str] = Counter()
        """Of each task, how many sides knew it when the cut ended."""

    async def heal(self, number: int) -> Healed:
        crew = self._crew
        before = await self._traffic()
        await asyncio.sleep(IDLE_S)
        idle = await self._traffic()
        known = await crew.hands[0].tell("size")
        tasks = await self._work_whole()
        whole, facts = await self._traffic(), await crew.hands[0].tell("size") - known
        await self._work_apart()
        missing, round_trip_s, healing = await self._missing(), await measure_round_trip(), await self._traffic()
        heal_s, healed = await self._heal()
        states = await self._quiet()
        submitted = {task for tasks in await crew.all("rest") for task in tasks}
        posted = Counter(crew.posts.read_text().split())
        done = set.intersection(*({task for task, over in state.items() if over} for state in states))
        links, others, idle_s = len(crew.hands) * (len(crew.hands) - 1) / 2, len(crew.hands) - 1, idle.at - before.at
        beats = (idle.size - before.size) / idle_s
        return Healed(
            seed=number,
            network_s=heal_s,
            cpu_s=0.0,
            trips_s=ROUND_TRIPS * round_trip_s,
            transfer_s=0.0,
            apply_s=missing.apply_s,
            missing_entries=missing.entries,
            missing_bytes=missing.size,
            idle_bytes_per_s=beats / links,
            idle_messages_per_s=(idle.messages - before.messages) / idle_s / links,
            bytes_per_task=max(0.0, whole.size - idle.size - beats * (whole.at - idle.at)) / others / max(1, tasks),
            facts_per_task=facts / max(1, tasks),
            heal_bytes=(healed.size - healing.size) / links,
            heal_messages=(healed.messages - healing.messages) / links,
            tasks=len(submitted),
            doubled=sum(times - 1 for times in posted.values()),
            doubled_bound=self._bound(posted),
            lost=len(submitted - done | submitted - {task_of(key) for key in posted}),
        )

    async def _traffic(self) -> Traffic:
        facts = await self._crew.all("facts")
        messages, size = (sum(one["sent"][part] for one in facts) for part in (0, 1))
        return Traffic(time.monotonic(), messages, size)

    async def _quiet(self) -> list[dict[str, bool]]:
        """The tasks that each replica knows, once all agree and nothing is open."""

        def quiet(facts: Sequence[dict[str, Any]]) -> bool:
            return len({one["digest"] for one in facts}) == 1 and not any(one["open"] for one in facts)

        await self._crew.until(quiet, "finish everything", QUIET_S)
        states: list[dict[str, bool]] = await self._crew.all("tasks")
        return states

    async def _work_whole(self) -> int:
        await self._crew.all("load", rate=self._setup.rate, prefix="w")
        await asyncio.sleep(WHOLE_S)
        submitted = await self._crew.all("rest")
        await self._quiet()
        return len({task for tasks in submitted for task in tasks})

    async def _work_apart(self) -> None:
        crew, setup = self._crew, self._setup
        await crew.all("load", rate=setup.rate, prefix="c")
        await asyncio.sleep(BEFORE_S)
        states: list[dict[str, bool]] = await crew.all("tasks")
        self._over = set.intersection(*({task for task, over in state.items() if over} for state in states))
        ends = time.monotonic() + setup.partition_s
        for proxy in self._proxies:
            proxy.cut()
        await asyncio.sleep(max(setup.partition_s - REST_S, setup.partition_s / 2))
        await crew.all("rest")
        if setup.entries:
            sides, tasks = (crew.hands[0], crew.hands[-1]), setup.entries // ENTRIES_A_TASK
            await asyncio.gather(*(hand.tell("flood", tasks=tasks, prefix="filled") for hand in sides))
            await crew.until(lambda facts: not (facts[0]["open"] or facts[-1]["open"]), "do what fills them", QUIET_S)
            await asyncio.sleep(REST_S)
        await asyncio.sleep(max(0.0, ends - time.monotonic()))
        states = await crew.all("tasks")
        self._knowing.update(set().union(*states[:-1]))
        self._knowing.update(set(states[-1]))

    async def _missing(self) -> Missing:
        documents = []
        for number, hand in enumerate((self._crew.hands[0], self._crew.hands[-1])):
            file = self._folder / f"document-{hand.name}"
            await hand.tell("dump", file=str(file))
            documents.append(Document("bench", number + 1))
            documents[-1].integrate(file.read_bytes())
        return measure_missing(documents)

    async def _heal(self) -> tuple[float, Traffic]:
        """(seconds from the heal to equal digests, traffic by then)."""
        crew = self._crew
        await crew.all("watch")
        await asyncio.sleep(LOOK_S)
        healed_at = time.monotonic()
        for proxy in self._proxies:
            proxy.heal()
        await crew.until(lambda facts: len({one["digest"] for one in facts}) == 1, "agree", HEAL_S)
        traffic = await self._traffic()
        await self._quiet()  # what changes while all are asked must not hide that they agree
        return equal_from([tuple(seen) for seen in await crew.all("seen")], healed_at) - healed_at, traffic

    def _bound(self, posted: Counter[str]) -> int:
        """See `actonce.bench.convergence`: a post more for each further side that knew a task that was not over."""
        if not outlasts(LAN, self._setup.partition_s):
            return 0
        tasks = map(task_of, posted)
        return sum(max(0, self._knowing[task] - 1) for task in tasks if task not in self._over)


def task_of(key: str) -> str:
    """The task of an effect's key."""
    return key.rpartition("/")[0]


def equal_from(seen: Sequence[Sequence[tuple[float, str]]], since: float) -> float:
    """When the digests of all replicas were equal for the first time, at or after `since`.

    `seen` are for each replica the moments at which it was first seen with a digest, in order.

    Raises:
        WorkerFailed: never.
    """
    events = sorted((at, number, digest) for number, one in enumerate(seen) for at, digest in one)
    now: dict[int, str] = {}
    for index, (at, number, digest) in enumerate(events):
        now[number] = digest
        latest = index + 1 == len(events) or events[index + 1][0] > since
        if latest and len(now) == len(seen) and len(set(now.values())) == 1:
            return max(at, since)
    raise WorkerFailed("the replicas were never seen with equal digests")


async def measure_round_trip() -> float:
    """The median of bare round trips of a byte through a proxy on this host, in seconds."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    took = []
    for _ in range(ECHOES):
        began = time.perf_counter()
        writer.write(b"x")
        await reader.readexactly(1)
        took.append(time.perf_counter() - began)
    writer.close()
    await proxy.stop()
    server.close()
    return rank(took, 0.5)
