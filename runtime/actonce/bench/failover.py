"""How long a dead replica's tasks wait: real processes are killed, stopped and made to vanish while they work.

Three ways to die, one after the other, each under steady load and on a mesh that is whole again:

- *killed*: SIGKILL. Death is certain: the link ends, and the process table proves it.
- *stopped*: SIGSTOP, until everything that it had under way has ended elsewhere; then SIGCONT. Death by silence, and
  it comes back: what it does after it woke must not double anything.
- *vanished*: a black hole in the network, and in the same moment SIGKILL, as when a machine loses its power: no reset,
  no end of a connection reaches the others. Death by silence.

A sample is one task whose handler ran in the victim: from the fault to the first line of its handler elsewhere, as the
handlers themselves note it, and to the arrival of its effect at the feed.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from actonce.bench.diary import BEGAN, ENDED, Reader, elsewhere, under_way
from actonce.bench.figures import Figures, Sample
from actonce.bench.load import Endless
from actonce.bench.rig import busy, converge, until_whole
from actonce.demo.driver import Narrator
from actonce.demo.mesh import LOOK_S, Mesh
from actonce.demo.messages import KIND
from actonce.demo.relay import Relay
from actonce.demo.report import count_posts
from actonce.inbox import task_id

KILLED, STOPPED, VANISHED = "killed", "stopped", "vanished"
REPLICAS = 3
QUIET_S = (0.1, 0.4)
"""Of undisturbed work on a whole mesh, before each fault."""
TAKEOVER_LIMIT_S = 15.0
"""A task that has not begun elsewhere by then counts as not taken over."""
ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Faults:
    """How many of each."""

    killed: int
    stopped: int
    vanished: int

    @property
    def all(self) -> int:
        return self.killed + self.stopped + self.vanished

    def each(self) -> Iterable[str]:
        """All faults by name, in the order in which they are made."""
        return [KILLED] * self.killed + [STOPPED] * self.stopped + [VANISHED] * self.vanished


@dataclass(slots=True)
class Failover:
    """One run on a mesh of `actonce.bench.agent`."""

    mesh: Mesh
    diary: Reader
    rate: float
    """Messages a second; each is delivered to all replicas."""
    rng: random.Random
    narrator: Narrator
    samples: list[Sample] = field(default_factory=list)
    stuck: int = 0
    """Tasks that had not begun elsewhere after TAKEOVER_LIMIT_S."""

    async def run(self, faults: Faults) -> Figures:
        """Make the faults, wait until all work is done, count.

        Raises:
            ActonceError: a process ended on its own, or the mesh did not become whole again.
        """
        messages = Endless()
        relay = Relay(self.mesh.replicas, messages, self.rate)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(relay.run())
                try:
                    for number, kind in enumerate(faults.each()):
                        self.narrator.progress(number, faults.all)
                        await self._fault(kind)
                    await until_whole(self.mesh)
                finally:
                    messages.stop = True
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        self.narrator.progress(faults.all, faults.all)
        digests = await converge(self.mesh, len(messages))
        return await self._figures(messages, digests)

    async def _fault(self, kind: str) -> None:
        await until_whole(self.mesh)
        await asyncio.sleep(self.rng.uniform(*QUIET_S))
        among = self.mesh.replicas[-1:] if kind == VANISHED else self.mesh.replicas
        victim = await busy(self.mesh, self.diary, among, self.rng)
        pid = victim.child.pid
        if kind == VANISHED:
            self.mesh.cut()
        at = time.monotonic()
        if kind == STOPPED:
            victim.child.signal(signal.SIGSTOP)
        else:
            await victim.child.kill()
        orphans = under_way([line for line in self.diary.read() if line.at <= at], pid)
        began = await self._taken_over(orphans, pid, at)
        if kind == STOPPED:
            victim.child.signal(signal.SIGCONT)
        else:
            self.mesh.heal()
            await self.mesh.start(victim)
        self.samples += [Sample(kind, task, at, until) for task, until in began.items()]
        self.stuck += len(orphans) - len(began)
        last = f"the last began elsewhere after {max(began.values()) - at:.3f} s" if began else "none began elsewhere"
        self.narrator.say(f"{kind} {victim.name} with {len(orphans)} tasks under way: {last}")

    async def _taken_over(self, tasks: list[str], pid: int, since: float) -> dict[str, float]:
        """When each began elsewhere, once all have ended there; without those that never did.

        The next fault comes only after that, or its silence would count in the effects of this one.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            lines = [line for line in self.diary.read() if line.at >= since]
            began, ended = elsewhere(lines, BEGAN, pid), elsewhere(lines, ENDED, pid)
            if all(task in began and task in ended for task in tasks) or time.monotonic() > since + TAKEOVER_LIMIT_S:
                return {task: began[task] for task in tasks if task in began}

    async def _figures(self, messages: Endless, digests: int) -> Figures:
        posts = await self.mesh.posts()
        lost, doubled = count_posts([message.id for message in messages], posts)
        for name in [*lost, *doubled][:10]:
            self.narrator.say(f"{'lost' if name in lost else 'doubled'}: {task_id(KIND, name)}")
        behind_s = time.time() - time.monotonic()
        arrived: dict[str, float] = {}
        for post in posts:
            arrived.setdefault(task_id(KIND, str(post["body"]["to"])), post["at"] - behind_s)
        effects = [sample.with_effect(arrived[sample.task]) for sample in self.samples if sample.task in arrived]
        status = await self.mesh.replicas[0].get("/status")
        doubts = [row["doubt"] for row in await self.mesh.replicas[0].get(f"/posts?limit={ROWS}") if row["doubt"]]
        return Figures(
            samples=self.samples,
            effects=[effect for effect in effects if effect.until >= effect.at],  # the others came before the fault
            messages=len(messages),
            lost=len(lost),
            doubled=sum(doubled.values()),
            doubts=status["doubts"],
            found=doubts.count("found"),
            resent=doubts.count("resent"),
            stuck=self.stuck,
            digests=digests,
        )


async def run_failover(
    folder: Path, faults: Faults, *, rate: float, work_s: float, seed: int, narrator: Narrator
) -> Figures:
    """Start everything in `folder`, which must exist and be empty, make the faults, end everything.

    Raises:
        ActonceError: a process could not be started, ended on its own, or the mesh fell apart for good.
    """
    diary = folder / "diary"
    environment = {"ACTONCE_BENCH_DIARY": str(diary), "ACTONCE_BENCH_WORK_S": str(work_s)}
    narrator.say(f"starting a feed and {REPLICAS} replicas (seed {seed})")
    async with Mesh(folder, REPLICAS, seed, "actonce.bench.agent:agent", environment) as mesh:
        return await Failover(mesh, Reader(diary), rate, random.Random(f"faults {seed}"), narrator).run(faults)
