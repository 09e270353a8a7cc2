"""Keeping a replica small for years: floors, shortened logs, snapshots. Why it is safe: `actonce_crdt.compaction`.

One replica, the first by rank, is the *keeper*: while it is in contact with all in play, it raises the floor to
`forget_after_s` ago. Every replica shortens its own log, whatever its contact; that of a replica that is gone for
`forget_after_s` is looked after by the first by rank for it. Two who do the same at once do no harm, only work.

A log is gone through in a *pass*: from its front, `FRONT` entries a turn, what is still needed to the end of our own.
A pass begins when the log has doubled since the last, or `forget_after_s` after it; so each entry is copied a bounded
number of times, and a log is never much longer than twice what is alive, or four times while it grows fast. Nothing
here blocks the loop for longer than it takes to look at `FRONT` entries, or at `KEEP_UP` times what came meanwhile.

A task is remembered for its retention after its end, and at most `forget_after_s` and a few passes longer. A replica
that was away for longer than `forget_after_s` joins like any other: what it alone had been asked for is *late*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from actonce.agent import Agent
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import owner
from actonce.settings import Settings
from actonce.world import World
from actonce_crdt import Cut, Rules, TaskState, Unfinished, next_floor

FRONT = 256
"""Entries of a log that one turn goes through, at least."""
KEEP_UP = 4
"""Times as many as have come since the last turn, if that is more: a pass that lets half as many come as it goes
through would end with a log as long as before."""
FRONT_MAX = 2048
"""At most, so that no turn takes long."""
PASS_MIN = 512
"""A log shorter than this is left alone, but for a raised floor."""
STEPS_A_FORGET = 8
"""How often the floor is raised within `forget_after_s`."""
SNAPSHOT_BYTES_MIN = 1024 * 1024
"""A journal shorter than this, since its last snapshot, is left alone."""


@dataclass(slots=True)
class Pass:
    """Going through a log once."""

    log: str
    left: int
    """Entries that were in it when the pass began, and are not looked at yet."""
    seen: int
    """Entries in it after the last turn."""


class Upkeep:
    """What one replica does to stay small."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        agent: Agent,
        ledger: Ledger,
        membership: Membership,
        keeper: str,
        *,
        wall: Callable[[], float],
        unfinished: Callable[[], Iterable[str]],
    ) -> None:
        """
        Args:
            keeper: our journal, written ``name/journal``.
            wall: what time it is by the replicas together.
            unfinished: the tasks without an outcome.
        """
        self._world, self._settings, self._agent, self._ledger = world, settings, agent, ledger
        self._membership, self._keeper, self._wall, self._unfinished = membership, keeper, wall, unfinished
        self._look_at = world.now()
        self._pass: Pass | None = None
        self._size: dict[str, int] = {}
        """Log -> its length after the last pass."""
        self._passed: dict[str, tuple[int, float]] = {}
        """Log -> the floor at the last pass, and when that was."""
        self._absent: dict[str, float] = {}
        """Logs whose replica is not in play -> since when, on our clock."""
        self._needed: frozenset[str] = frozenset()
        self.passes = 0
        self.forgotten = 0
        """Tasks whose last entries in a log went, by our own hand."""

    @property
    def until(self) -> int:
        """The stamp of the lowest floor that counts; 0 for none."""
        return min((floor.until for floor in self._ledger.state.floors), default=0)

    def tick(self, *, acting: bool) -> None:
        """Time passed. `acting`: we are in contact with all in play."""
        now = self._world.now()
        if self._pass is not None:
            self._go_on(self._pass)
        elif now >= self._look_at:
            self._look_at = now + min(60.0, self._settings.forget_after_s / STEPS_A_FORGET / 4)
            self._watch(now)
            if acting:
                self._raise_floor()
            self._pass = self._next_pass(now, acting)
        if self._ledger.journal_bytes > max(SNAPSHOT_BYTES_MIN, 2 * self._ledger.snapshot_bytes):
            self._ledger.snapshot()

    # The floor

    def _raise_floor(self) -> None:
        if not self._is_ours("floor"):
            return
        until = self._stamp(self._wall() - self._settings.forget_after_s)
        if until < self._highest() + self._stamp(self._settings.forget_after_s / STEPS_A_FORGET):
            return
        if not self._is_anything_older(until):
            return
        ledger = self._ledger
        tasks = (_unfinished(ledger.state.tasks[task]) for task in self._unfinished())
        floor = next_floor(
            *(ledger.stamp(), ledger.name, self._keeper, until), (one for one in tasks if one), ledger.state.floors
        )
        if floor is not None:
            ledger.write(floor)

    def _is_anything_older(self, until: int) -> bool:
        """Whether any log begins with an entry below it: a floor under all that there is would change nothing."""
        state, document = self._ledger.state, self._ledger.document
        first = (state.get(entry) for log in document.logs() for entry in document.front(log, 1))
        return any(record.stamp <= until for record in first if record is not None)

    def _highest(self) -> int:
        return max((floor.until for floor in self._ledger.state.floors), default=0)

    def _is_ours(self, what: str) -> bool:
        members = self._membership.in_play()
        return owner(what, members, lambda member: True) == self._membership.me

    def _stamp(self, seconds: float) -> int:
        return max(0, int(seconds * 1000)) << 16

    # Logs

    def _watch(self, now: float) -> None:
        here = {member.name for member in self._membership.in_play()}
        for log in self._ledger.document.logs():
            if log in here:
                self._absent.pop(log, None)
            else:
                self._absent.setdefault(log, now)

    def _next_pass(self, now: float, acting: bool) -> Pass | None:
        logs = [self._ledger.name]
        if acting:
            gone = [log for log, since in self._absent.items() if now - since >= self._settings.forget_after_s]
            logs += sorted(log for log in gone if self._is_ours(f"log/{log}"))
        for log in logs:
            count = self._ledger.document.count(log)
            grown = count >= max(PASS_MIN, 2 * self._size.get(log, 0))
            floor, at = self._passed.get(log, (0, -math.inf))
            raised = self.until > floor and now - at >= self._settings.forget_after_s
            if count and (grown or raised):
                self._passed[log] = (self.until, now)
                self._needed = frozenset(self._named_by_unfinished())
                self.passes += 1
                return Pass(log, count, count)
        return None

    def _go_on(self, under_way: Pass) -> None:
        there = self._ledger.document.count(under_way.log)
        keep_up = min(KEEP_UP * max(0, there - under_way.seen), FRONT_MAX)
        count = min(max(FRONT, keep_up), under_way.left, there)
        if count:
            rules = Rules(self._retention, self._is_needed)
            cut = Cut(under_way.log, self._ledger.stamp(), self._ledger.name)
            self.forgotten += len(self._ledger.compact(under_way.log, count, rules, cut))
            under_way.left -= count
            under_way.seen = self._ledger.document.count(under_way.log)
        if not count or not under_way.left:
            self._size[under_way.log] = self._ledger.document.count(under_way.log)
            self._pass = None

    # What may be forgotten

    def _retention(self, task: str) -> int:
        spec = self._agent.tasks.get(_kind(self._ledger.state.tasks.get(task), task))
        kept_s = spec.retention_s if spec is not None else None
        kept_s = self._settings.retention_s if kept_s is None else kept_s
        return self._stamp(kept_s) if kept_s != math.inf else 1 << 63

    def _is_needed(self, task: str) -> bool:
        """Something that is not over waits for its outcome, or would begin it again without it."""
        state = self._ledger.state.tasks.get(task)
        if task in self._needed:
            return True
        parent = state.task.parent if state is not None and state.task is not None else ""
        over = self._ledger.state.tasks.get(parent) if parent else None
        if over is not None and over.task is not None and over.done is None:
            return True
        return self._is_above_mark(task)

    def _named_by_unfinished(self) -> Iterable[str]:
        for key in self._unfinished():
            state = self._ledger.state.tasks[key]
            yield from state.task.after if state.task is not None else ()

    def _is_above_mark(self, task: str) -> bool:
        """A slot that its schedule has not settled: without its task it would begin again after a restart."""
        for name, schedule in self._agent.schedules.items():
            if task.startswith(f"{schedule.kind}:"):
                mark = self._ledger.state.marks.get(name)
                return mark is None or task > schedule.task(mark.slot)
        return False


def _kind(state: TaskState | None, task: str) -> str:
    if state is not None and state.task is not None:
        return state.task.kind
    return task.partition("/")[0]


def _unfinished(state: TaskState) -> Unfinished | None:
    if state.task is None or state.done is not None:
        return None
    stamp = state.task.stamp
    return Unfinished(state.task.key, stamp, max(stamp, state.reopen.stamp if state.reopen is not None else 0))
