"""Which open tasks may begin, and which of them goes first. Pure but for the timers that `Readiness` asks for.

A task may have to wait for a time, or for other tasks. Times are wall times of whoever owns the task, so a task begins
as early or late as that replica's clock is wrong. Priorities order what *one* replica may begin: they are no promise
about the order in which tasks of different owners begin.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from actonce.agent import parse_duration_s
from actonce.errors import ConfigError, PayloadInvalid
from actonce.world import Cancel, World
from actonce_crdt import AFTER_MAX, COUNT_MAX, PRIORITY_MAX, Task, TaskState

STALE_MAX = 1_000
"""Entries of the heap that mean nothing any more, beside as many as there are others."""
LOOK_S_MAX = 60.0
"""A task that waits for a time is looked at again at least this often: wall clocks are set."""


Place = tuple[int, int, str]
"""Of a task that may begin: what sorts first goes first. Ends with the task."""


@dataclass(frozen=True, slots=True)
class Terms:
    """When a task may begin: see `Task`."""

    priority: int = 0
    not_before_ms: int = 0
    after: tuple[str, ...] = ()
    needs_ok: bool = True
    parent: str = ""


class Wait(NamedTuple):
    """Why a task may not begin yet: a time (unix milliseconds), or another task."""

    until_ms: int = 0
    on: str = ""


def make_terms(
    wall_s: float,
    *,
    priority: object = 0,
    delay: str | float | None = None,
    not_before: datetime | float | None = None,
    after: object = (),
) -> Terms:
    """What a caller asked for, checked.

    Raises:
        PayloadInvalid: it makes no sense; the message says what to write.
    """
    if type(priority) is not int or not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
        raise PayloadInvalid(f"priority={priority!r}: use an integer from {-PRIORITY_MAX} to {PRIORITY_MAX}")
    if delay is not None and not_before is not None:
        raise PayloadInvalid("give a delay or a time before which it must not begin, not both")
    if isinstance(after, str) or not isinstance(after, tuple | list) or len(after) > AFTER_MAX:
        raise PayloadInvalid(f"after={after!r}: use a list of at most {AFTER_MAX} task ids")
    for task in after:
        if not isinstance(task, str) or not task.isprintable() or not 0 < len(task.encode()) <= 512:
            raise PayloadInvalid(f"after={after!r}: {task!r} is no task id")
    begin_s = 0.0
    if delay is not None:
        try:
            begin_s = wall_s + (0.0 if delay == 0 else parse_duration_s(delay))
        except (ConfigError, TypeError, ValueError):
            raise PayloadInvalid(f"delay={delay!r}: write 250ms, 30s, 2m, 1h, 1d, or seconds as a number") from None
    elif isinstance(not_before, datetime):
        if not_before.tzinfo is None:
            raise PayloadInvalid(f"not_before={not_before}: a time needs a time zone")
        begin_s = not_before.timestamp()
    elif isinstance(not_before, int | float):
        begin_s = not_before
    elif not_before is not None:
        raise PayloadInvalid(f"not_before={not_before!r}: use unix seconds, or a time with its zone")
    if not 0 <= begin_s <= COUNT_MAX / 1000:
        raise PayloadInvalid(f"not_before={not_before!r}: use unix seconds, or a time with its zone")
    return Terms(priority, int(begin_s * 1000), tuple(after))


def waits(state: TaskState, tasks: Mapping[str, TaskState], wall_ms: float) -> Wait | None:
    """What an open task waits for; None when it may begin, if only to be given up."""
    task = state.task
    assert task is not None
    if state.cancel is not None or failed_before(task, tasks) is not None:
        return None
    if task.not_before_ms > wall_ms:
        return Wait(until_ms=task.not_before_ms)
    for key in task.after:
        other = tasks.get(key)
        if other is None or other.done is None:
            return Wait(on=key)
    return None


def failed_before(task: Task, tasks: Mapping[str, TaskState]) -> str | None:
    """A task that this one comes after and whose result it will never get."""
    for key in task.after if task.needs_ok else ():
        other = tasks.get(key)
        if other is not None and other.done is not None and not other.done.ok:
            return key
    return None


class Readiness:
    """The tasks of one replica that may begin now, by priority and age; and those that wait, until they need not."""

    def __init__(self, world: World, look: Callable[[list[str]], None]) -> None:
        """
        Args:
            look: these tasks may have to wait no more: look at them again.
        """
        self._world, self._look = world, look
        self._heap: list[Place] = []
        self._ready: dict[str, int] = {}
        self._count = 0
        self._timers: dict[str, Cancel] = {}
        self._far: dict[str, int] = {}
        """Task -> when it may begin, if that was more than `LOOK_S_MAX` away at the last look at all of these."""
        self._looks_far = False
        self._on: dict[str, dict[str, None]] = {}
        """Task -> those that wait for it."""
        self._waiting: dict[str, str] = {}
        """Task -> the one that it waits for."""

    def __len__(self) -> int:
        return len(self._ready)

    def put(self, task: str, priority: int) -> None:
        """It may begin. One that may already keeps its place."""
        if task in self._ready:
            return
        if len(self._heap) > 2 * len(self._ready) + STALE_MAX:
            self._heap = [entry for entry in self._heap if self._ready.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
        self._count += 1
        self._ready[task] = self._count
        heapq.heappush(self._heap, (-priority, self._count, task))

    def discard(self, task: str) -> None:
        """It may not, as far as is known now."""
        self._ready.pop(task, None)

    def pop(self) -> str:
        """The one that goes first. There must be one."""
        return self.pop_place()[2]

    def pop_place(self) -> Place:
        """The same, with its place."""
        while True:
            place = heapq.heappop(self._heap)
            if self._ready.get(place[2]) == place[1]:
                del self._ready[place[2]]
                return place

    def restore(self, place: Place) -> None:
        """It could not be taken: it has its place again, unless it got another one meanwhile."""
        if place[2] not in self._ready:
            self._ready[place[2]] = place[1]
            heapq.heappush(self._heap, place)

    def hold(self, task: str, wait: Wait) -> None:
        """It waits."""
        if wait.on:
            self._wait_no_more(task)
            self._on.setdefault(wait.on, {})[task] = None
            self._waiting[task] = wait.on
        elif task not in self._timers:
            wait_s = max(0.0, wait.until_ms / 1000 - self._world.wall())
            if wait_s > LOOK_S_MAX:
                self._far[task] = wait.until_ms
                self._look_far_later()
            else:
                self._timers[task] = self._world.call_later(wait_s, lambda: self._due(task))

    def _look_far_later(self) -> None:
        """One timer for all tasks that are far from due, however many."""
        if self._far and not self._looks_far:
            self._looks_far = True
            self._world.call_later(LOOK_S_MAX, self._look_far)

    def _look_far(self) -> None:
        near_ms = (self._world.wall() + LOOK_S_MAX) * 1000
        near = [task for task, until_ms in self._far.items() if until_ms <= near_ms]
        for task in near:
            del self._far[task]
        self._looks_far = False
        self._look_far_later()
        self._look(near)

    def _due(self, task: str) -> None:
        del self._timers[task]
        self._look([task])

    def ended(self, task: str) -> None:
        """It has an outcome: look at what waited for it."""
        waiting = self._on.pop(task, None)
        if waiting is not None:
            for one in waiting:
                self._waiting.pop(one, None)
            self._look(list(waiting))

    def over(self, task: str) -> None:
        """It will never begin: it has an outcome, or was forgotten."""
        self.discard(task)
        self._far.pop(task, None)
        self._wait_no_more(task)

    def _wait_no_more(self, task: str) -> None:
        on = self._waiting.pop(task, None)
        if on is not None:
            waiting = self._on[on]
            waiting.pop(task)
            if not waiting:
                del self._on[on]
