"""The faults of the lab, one after the other, under load; and what is measured at each."""

import asyncio
import json
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.lab.stage import Stage
from tests.lab.verdict import GUARDS, Cut, Guard, judge, posts_of

from actonce.bench.diary import BEGAN, elsewhere, under_way
from actonce.bench.load import Endless
from actonce.bench.rig import busy, converge, statuses, until_whole
from actonce.demo.mesh import LOOK_S
from actonce.demo.relay import Relay
from actonce.inbox import task_id

TAKEOVER_LIMIT_S = 3.0
MAJORITY_LIMIT_S = 6.0
"""Where a majority decides, its voters wait for the end of the holder's lease: a refusal proves nothing to them."""
ROSTER_LIMIT_S = 20.0
MINORITY_LIMIT_S = 3.0
DIGESTS_LIMIT_S = 2.0
ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the faults last, in seconds."""

    one_way: float
    slow: float
    stop: float
    partition: float
    kills: int


SHORT = Lengths(one_way=2.0, slow=3.0, stop=2.5, partition=5.0, kills=1)
LONG = Lengths(one_way=10.0, slow=20.0, stop=10.0, partition=10.0, kills=5)


Load = dict[Guard, Endless]


def stop(load: Load) -> None:
    """No further messages."""
    for messages in load.values():
        messages.stop = True


@dataclass(slots=True)
class Story:
    """One run. `violations` has a sentence for whatever should not be."""

    stage: Stage
    lengths: Lengths
    seed: int
    rate: float
    skewed: str
    """Replicas whose clock is an hour ahead."""
    facts: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)

    async def run(self) -> None:
        """Everything, from a whole mesh to the verdict."""
        await self._voters()
        load = {guard: Endless(guard.prefix) for guard in GUARDS}
        async with asyncio.TaskGroup() as group:
            for guard, messages in load.items():
                relay = Relay(self.stage.replicas, messages, self.rate / len(load), guard.kind)
                group.create_task(relay.run())
            try:
                for _ in range(self.lengths.kills):
                    await self._kill()
                await self._clocks()
                await self._one_way()
                await self._slow_and_lossy()
                await self._stop()
                await self._partition(load)
            finally:
                stop(load)
        digests = await converge(self.stage, sum(map(len, load.values())))
        if digests != 1:
            self.violations.append(f"{digests} different digests at the end")
        await self._judge(load)

    async def _voters(self) -> None:
        """All three vote. A roster grows by one voter at a time, and before it has two nobody can replace the first."""
        deadline = time.monotonic() + ROSTER_LIMIT_S
        while any(len(facts["roster"]["voters"]) < len(self.stage.replicas) for facts in await statuses(self.stage)):
            assert time.monotonic() < deadline, f"not all are voters within {ROSTER_LIMIT_S:g} s"
            await asyncio.sleep(LOOK_S)

    def _say(self, sentence: str) -> None:
        print(f"lab: {sentence}", flush=True)

    async def _whole(self, what: str) -> None:
        healed = time.monotonic()
        await until_whole(self.stage)
        waited_s = time.monotonic() - healed
        self.facts[f"{what}_whole_s"] = round(waited_s, 3)
        self._say(f"whole again {waited_s:.2f} s after: {what}")

    async def _kill(self) -> None:
        """SIGKILL on another host: no process table, only a link that ends and an address that refuses."""
        stage = self.stage
        victim = await busy(stage, stage.diary, stage.replicas, random.Random(f"{self.seed} {len(stage.diary.lines)}"))
        pid, at = victim.child.pid, time.monotonic()
        await victim.child.kill()
        orphans = under_way([line for line in stage.diary.read() if line.at <= at], pid)
        limits = {task: MAJORITY_LIMIT_S if task.startswith("decide/") else TAKEOVER_LIMIT_S for task in orphans}
        began: dict[str, float] = {}
        while not set(orphans) <= set(began) and time.monotonic() < at + max(limits.values()):
            await asyncio.sleep(LOOK_S)
            began = elsewhere([line for line in stage.diary.read() if line.at >= at], BEGAN, pid)
        waits = [began[task] - at for task in orphans if task in began]
        self.facts.setdefault("kill_takeover_s", []).extend(round(wait_s, 3) for wait_s in waits)
        late = [task for task in orphans if began.get(task, at + limits[task]) - at >= limits[task]]
        self.violations += [f"{task} was not taken over within {limits[task]:g} s" for task in late]
        last_s = max(waits, default=0.0)
        self._say(f"killed {victim.name} with {len(orphans)} tasks; the last began elsewhere after {last_s:.3f} s")
        await stage.start(victim)
        await self._whole("kill")

    async def _clocks(self) -> None:
        """Whoever is an hour ahead is named by the others."""
        for replica, facts in zip(self.stage.replicas, await statuses(self.stage), strict=True):
            told = {name for name in "abc" if any(f"stamps of {name} are 60 min" in fact for fact in facts["degraded"])}
            expected = set(self.skewed) - {replica.name} if replica.name not in self.skewed else set()
            if told != expected:
                self.violations.append(f"{replica.name} names the clocks of {sorted(told)}, not of {sorted(expected)}")
        self.facts["skewed"] = self.skewed

    async def _one_way(self) -> None:
        """Frames of a do not reach c; all else passes."""
        stage = self.stage
        stage.wire.cut([(stage.nodes("a")[0], stage.nodes("c")[0])])
        await asyncio.sleep(self.lengths.one_way)
        found = zip(stage.replicas, await statuses(stage), strict=True)
        self.facts["one_way_unaware"] = [replica.name for replica, facts in found if not facts["degraded"]]
        stage.wire.heal()
        await self._whole("one_way")

    async def _slow_and_lossy(self) -> None:
        """80 ms each way, 5 % of the frames lost."""
        stage, before = self.stage, len(self.stage.feed.posts)
        stage.wire.delay_s, stage.wire.loss = 0.08, 0.05
        await asyncio.sleep(self.lengths.slow)
        self.facts["slow_answers_per_s"] = round((len(stage.feed.posts) - before) / self.lengths.slow, 1)
        stage.wire.heal()
        await self._whole("slow")

    async def _stop(self) -> None:
        victim = await busy(self.stage, self.stage.diary, self.stage.replicas, random.Random(self.seed))
        victim.child.signal(signal.SIGSTOP)
        await asyncio.sleep(self.lengths.stop)
        victim.child.signal(signal.SIGCONT)
        await self._whole("stop")

    async def _partition(self, load: Load) -> None:
        """a and b on one side, c on the other; all are given every message. The load ends with the cut."""
        stage, began, at = self.stage, time.time(), time.monotonic()
        stage.wire.partition(stage.nodes("ab"), stage.nodes("c"))
        said_s: float | None = None
        while time.monotonic() < at + self.lengths.partition:
            found = dict(zip("abc", await statuses(stage), strict=True))
            minority = [name for name, facts in found.items() if any("minority" in fact for fact in facts["degraded"])]
            if said_s is None and minority == ["c"]:
                said_s = time.monotonic() - at
            self.violations += [f"{name} holds itself to be the minority" for name in minority if name != "c"]
            await asyncio.sleep(LOOK_S)
        stop(load)
        stage.wire.heal()
        healed = time.monotonic()
        self.cuts.append(Cut(("ab", "c"), began, time.time()))
        self.facts["minority_said_s"] = said_s and round(said_s, 3)
        if said_s is None or said_s > MINORITY_LIMIT_S:
            self.violations.append(f"the minority said so after {said_s} s, not within {MINORITY_LIMIT_S:g} s")
        while len({facts["document"]["digest"] for facts in await statuses(stage)}) > 1:
            await asyncio.sleep(LOOK_S / 2)
            if time.monotonic() > healed + 10 * DIGESTS_LIMIT_S:
                break
        equal_s = time.monotonic() - healed
        self.facts["digests_equal_s"] = round(equal_s, 3)
        if equal_s > DIGESTS_LIMIT_S:
            self.violations.append(f"equal digests came after {equal_s:.2f} s, not within {DIGESTS_LIMIT_S:g} s")
        self._say(f"the minority said so after {said_s} s; equal digests came {equal_s:.2f} s after healing")
        await self._whole("partition")

    async def _judge(self, load: Load) -> None:
        stage = self.stage
        doubts = [row for row in await stage.replicas[0].get(f"/posts?limit={ROWS}") if row["doubt"]]
        skipped = [str(row["body"]["to"]) for row in doubts if row["doubt"] == "skipped"]
        posts = stage.posts()
        (stage.folder / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
        for guard, messages in load.items():
            found = list(judge(guard, [message.id for message in messages], posts, self.cuts, skipped))
            self.violations += found
            for message in {sentence.split()[1] for sentence in found[:5]}:
                story = await stage.replicas[0].get(f"/explain/{quote(task_id(guard.kind, message), safe='')}")
                self._say("\n     ".join([f"the story of {message}", *story["story"]]))
            answers = posts_of(guard, posts)
            twice = len(answers) - len({post["body"]["to"] for post in answers})
            self.facts[guard.name] = {"messages": len(messages), "posts": len(answers), "both_sides": twice}
        self.facts |= {
            "doubts": len(doubts),
            "skipped": len(skipped),
            "frames": dict(stage.wire.counts),
        }
