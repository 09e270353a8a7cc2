"""The story that `actonce demo` tells: kill, restart, pause, continue, cut off, heal - and count what the feed got.

Everything runs as real processes over real sockets; a seed decides about messages, ports and moments, not about what
the machine makes of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from actonce.demo.mesh import LOOK_S, Mesh, Replica
from actonce.demo.messages import KIND, Message
from actonce.demo.relay import Relay
from actonce.demo.report import Report, count_posts, takeover
from actonce.demo.wire import Unreached
from actonce.inbox import task_id
from actonce.settings import LAN

FIRST_EVENT_S = 0.6
"""Of undisturbed work before the first event, and between two of them."""
DEAD_S = 0.8
"""From SIGKILL to the restart."""
PAUSE_S = 3.0
CUT_S = 0.7
assert LAN.suspicion_s + LAN.grace_s < PAUSE_S, "the pause is to be taken for a death"
assert LAN.suspicion_s > CUT_S, "the cut is not even noticed"
BUSY_LIMIT_S = 5.0
"""How long we wait for a replica to have a task under way before something happens to it."""
STALL_LIMIT_S = 20.0
"""Without any progress after the last event, the run has failed."""
ROWS = 10_000


class Narrator(Protocol):
    """Who tells the user what happens."""

    def say(self, sentence: str) -> None:
        """Something has happened."""
        ...

    def progress(self, done: int, of: int) -> None:
        """So much is done: messages that at least one replica acknowledged, or faults that were made."""
        ...


@dataclass(slots=True)
class Fall:
    """A replica that was killed or stopped while it worked."""

    replica: Replica
    at: float
    """Unix seconds."""
    running: list[str]
    """Tasks that it had claimed and not finished, as another replica saw it."""
    refused: int


class Demo:
    """One run."""

    def __init__(self, mesh: Mesh, messages: Sequence[Message], rate: float, seed: int, narrator: Narrator) -> None:
        self._mesh, self._messages, self._seed, self._narrator = mesh, messages, seed, narrator
        self._relay = Relay(mesh.replicas, messages, rate)
        self._rng = random.Random(f"moments {seed}")
        self._began = time.time()

    async def run(self) -> Report:
        """Tell the story, wait for the end, count.

        Raises:
            ActonceError: a process ended on its own, or does not answer.
        """
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch())
                story = group.create_task(self._disturb())
                await self._relay.run()
                killed, stopped, healed_at = await story
                watch.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        for delivery in self._relay.deliveries:
            if delivery.refusal:
                self._say(f"message {delivery.message.id} was refused: {delivery.refusal}")
        converged_at = await self._converge()
        last_event_at = max(healed_at, self._relay.acknowledged_at)
        return await self._report(killed, stopped, None if converged_at is None else converged_at - last_event_at)

    def _say(self, sentence: str) -> None:
        self._narrator.say(f"{time.time() - self._began:5.1f} s  {sentence}")

    async def _watch(self) -> None:
        while True:
            self._mesh.check()
            self._narrator.progress(self._relay.acknowledged, len(self._messages))
            await asyncio.sleep(10 * LOOK_S)

    # The story

    async def _disturb(self) -> tuple[Fall, Fall, float]:
        """(who was killed, who was stopped, when the cut was healed)."""
        mesh = self._mesh
        victim, sleeper = self._rng.sample(mesh.replicas[:-1], 2) if len(mesh.replicas) > 2 else mesh.replicas
        await self._quiet_work()
        killed = await self._freeze(victim)  # for a few milliseconds: it is to die at work
        killed.at = time.time()
        await victim.child.kill()
        self._say(f"killed {victim.name} (SIGKILL) with {_tasks(len(killed.running))} under way")
        await asyncio.sleep(DEAD_S)
        await mesh.start(victim)
        await victim.until_it_acts()
        self._say(f"{victim.name} is back, on its own journal")
        await self._quiet_work()
        stopped = await self._freeze(sleeper)
        self._say(f"stopped {sleeper.name} (SIGSTOP) with {_tasks(len(stopped.running))} under way")
        await asyncio.sleep(PAUSE_S)
        sleeper.child.signal(signal.SIGCONT)
        await sleeper.until_it_acts()
        self._say(f"continued {sleeper.name} after {PAUSE_S:g} s; it is back")
        await self._quiet_work()
        mesh.cut()
        self._say(f"cut {mesh.replicas[-1].name} off from the others")
        await asyncio.sleep(CUT_S)
        mesh.heal()
        self._say(f"healed the cut after {CUT_S:g} s")
        return killed, stopped, time.time()

    async def _quiet_work(self) -> None:
        await asyncio.sleep(FIRST_EVENT_S * self._rng.uniform(0.5, 1.5))

    async def _freeze(self, replica: Replica) -> Fall:
        """SIGSTOP it while it has a task under way, as another replica sees it. Gives up looking for such a moment."""
        refused = (await replica.get("/status"))["gossip"].get("refused", 0)
        deadline = time.monotonic() + BUSY_LIMIT_S
        while True:
            at = time.time()
            replica.child.signal(signal.SIGSTOP)
            await asyncio.sleep(LOOK_S)  # what it sent before arrives
            running = await self._running_at(replica)
            if running or time.monotonic() > deadline:
                return Fall(replica, at, running, refused)
            replica.child.signal(signal.SIGCONT)
            await asyncio.sleep(self._rng.uniform(0.0, 2 * LOOK_S))

    async def _running_at(self, replica: Replica) -> list[str]:
        witness = next(other for other in reversed(self._mesh.replicas) if other is not replica)
        rows = await witness.get("/tasks?state=running&limit=100")
        return [row["task"] for row in rows if row["claimed_by"] == replica.name]

    # The end

    async def _converge(self) -> float | None:
        """When all replicas had finished all tasks and agreed (unix seconds); None when they stopped getting there."""
        expected = sum(delivery.acknowledged for delivery in self._relay.deliveries)
        seen: list[Any] = []
        progress_s = time.monotonic()
        while time.monotonic() - progress_s < STALL_LIMIT_S:
            self._mesh.check()
            try:
                found = [await replica.get("/status") for replica in self._mesh.replicas]
            except Unreached:
                await asyncio.sleep(LOOK_S)
                continue
            ended = [facts["tasks"]["done"] + facts["tasks"]["failed"] for facts in found]
            digests = {facts["document"]["digest"] for facts in found}
            if len(digests) == 1 and all(count >= expected for count in ended):
                return time.time()
            if [ended, digests] != seen:
                seen, progress_s = [ended, digests], time.monotonic()
            await asyncio.sleep(LOOK_S)
        for replica, count in zip(self._mesh.replicas, seen[0] if seen else [], strict=False):
            self._say(f"{replica.name} has finished {count} of {expected} tasks, and nothing moves")
        return None

    async def _report(self, killed: Fall, stopped: Fall, convergence_s: float | None) -> Report:
        mesh = self._mesh
        posts = await mesh.posts()
        (mesh.folder / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
        lost, doubled = count_posts([message.id for message in self._messages], posts)
        for name in lost[:10]:
            self._say(f"lost: message {name}")
        for name in list(doubled)[:10]:
            self._say(f"doubled: message {name}, see `actonce explain {task_id(KIND, name)}`")
        effects = await mesh.replicas[-1].get(f"/posts?limit={ROWS}")
        doubts = [effect["doubt"] for effect in effects if effect["doubt"] is not None]
        found = [await replica.get("/status") for replica in mesh.replicas]
        after_kill, after_stop = await self._takeovers(killed), await self._takeovers(stopped)
        return Report(
            messages=len(self._messages),
            posts=len(posts),
            lost=len(lost),
            doubled=sum(doubled.values()),
            doubts=len(doubts),
            found=doubts.count("found"),
            resent=doubts.count("resent"),
            skipped=doubts.count("skipped"),
            takeover_s=after_kill[0] if after_kill else None,
            taken_over=len(after_kill),
            pause_takeover_s=after_stop[0] if after_stop else None,
            convergence_s=convergence_s,
            refused=killed.refused + sum(facts["gossip"].get("refused", 0) for facts in found),
            failed=found[-1]["tasks"]["failed"],
            replicas=len(mesh.replicas),
            seed=self._seed,
            seconds=time.time() - self._began,
        )

    async def _takeovers(self, fall: Fall) -> list[float]:
        ask = self._mesh.replicas[-1].get
        stories = [(await ask(f"/explain/{quote(task, safe='')}"))["story"] for task in fall.running]
        return takeover(stories, fall.replica.name, fall.at)


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


def fresh_seed() -> int:
    """A seed that people can type."""
    return random.SystemRandom().randrange(1_000_000)


async def run_demo(
    folder: Path, messages: Sequence[Message], *, rate: float, replicas: int, seed: int, narrator: Narrator
) -> Report:
    """Start everything in `folder`, which must exist and be empty, tell the story, end everything.

    Raises:
        ActonceError: a process could not be started, or ended on its own.
    """
    narrator.say(f"starting a feed and {replicas} replicas (seed {seed})")
    async with Mesh(folder, replicas, seed) as mesh:
        return await Demo(mesh, messages, rate, seed, narrator).run()
