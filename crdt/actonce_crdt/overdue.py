"""The shelves of tasks and of floors. What was asked for below a floor, and not kept by it, is *late*: see `horizon`.

A late task has an outcome in the view that nobody wrote, a failure that says so. Which tasks are late is itself a
function of the set of entries.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from types import MappingProxyType

from msgspec.structs import replace

from . import horizon, task
from .cuts import Floor
from .entries import Done, Record, Reopen, Task, TaskRecord, encode
from .shelves import EntryId, Shelf
from .task import TaskState

_NO_STATE = TaskState()
_NOTHING: Mapping[EntryId, Record] = {}


class TaskShelf(Shelf[TaskState]):
    """Knows which tasks are late under the floors that it was told of."""

    __slots__ = ("_below", "_flipped", "_late", "floors", "late")

    def __init__(self) -> None:
        super().__init__(task.lift, task.join, task.records, task.absorb)
        self.floors: tuple[Floor, ...] = ()
        """Those that count, sorted by keeper."""
        self._late: dict[str, Task] = {}
        self.late: Mapping[str, Task] = MappingProxyType(self._late)
        """Task id -> what was asked for below a floor, and has no other outcome: a live, read-only view."""
        self._below: dict[str, None] = {}  # tasks with a `Task` entry that is late and does not count
        self._flipped: dict[str, None] = {}  # tasks that became late, or are not any more, because of a floor

    def add(self, entry_id: EntryId, record: Record) -> None:
        if self.floors and (record.key in self._late or self._may_be_late(record)):
            self.entries.setdefault(record.key, {})[entry_id] = record
            self.fold(record.key)
        else:
            super().add(entry_id, record)

    def _may_be_late(self, record: Record) -> bool:
        """Whether it takes more than a join to know what the view shows once this entry of a task that is not late is
        there: if it may be late, or bring the task back to life, or end one of which something was late."""
        key = record.key
        known = self._states.get(key)
        match record:
            case Task() if key not in self._below:
                at = known.reopen.stamp if known is not None and known.reopen is not None else 0
                is_over = known is not None and known.done is not None
                return not is_over and not horizon.passes(key, record.stamp, at, self.floors)
            case Done() if key not in self._below:
                return known is not None and known.reopen is not None  # which may void it
            case Task() | Done() | Reopen():
                return True
            case _:
                return False

    def fold(self, key: str) -> None:
        """Join the entries of a task anew. Of one without an outcome, what is late does not count."""
        self._late.pop(key, None)
        self._below.pop(key, None)
        entries: list[TaskRecord] = list(self.entries.get(key, _NOTHING).values())  # type: ignore[arg-type]
        joined = reduce(task.absorb, entries, _NO_STATE)
        if self.floors and joined.task is not None and joined.done is None:
            at = joined.reopen.stamp if joined.reopen is not None else 0
            asked = [one for one in entries if isinstance(one, Task)]
            late = [one for one in asked if not horizon.passes(key, one.stamp, at, self.floors)]
            if late:
                self._below[key] = None
                joined = self._without(key, entries, late)
        self.put(key, joined if joined != _NO_STATE else None)

    def _without(self, key: str, entries: Sequence[TaskRecord], late: list[Task]) -> TaskState:
        joined = reduce(task.absorb, (one for one in entries if one not in late), _NO_STATE)
        if joined.task is None:
            first = self._late[key] = min(late, key=lambda one: (one.stamp, one.author, encode(one)))
            joined = replace(joined, task=first, done=horizon.outcome_of_late(first))
        return joined

    def joined(self, key: str) -> list[Record]:
        """Of a late task what was asked for, too, and not the outcome that nobody wrote."""
        if key not in self._late:
            return super().joined(key)
        late = [one for one in self.entries[key].values() if isinstance(one, Task)]
        return [*task.records(replace(self._states[key], task=None, done=None)), *late]

    def look_at(self, floors: tuple[Floor, ...]) -> None:
        """Other floors count: which tasks are late now? Only those without an outcome, and not above all floors."""
        if floors == self.floors:
            return
        top = max(floor.until for floor in (*floors, *self.floors))
        self.floors = floors
        asked = ((key, state.task) for key, state in self._states.items() if state.done is None and state.task)
        for key in [*self._below, *(key for key, one in asked if one.stamp <= top and key not in self._below)]:
            before, late = self._states.get(key), self._late.get(key)
            self.fold(key)
            if self._states.get(key) != before or self._late.get(key) != late:
                self._flipped[key] = None

    def take_flipped(self) -> list[str]:
        """Tasks that became late, or are not any more, because a floor came or went, since this was last asked."""
        flipped, self._flipped = list(self._flipped), {}
        return flipped


class FloorShelf(Shelf[tuple[Floor, ...]]):
    """Tells the tasks which floors count. All are looked at each time: they are few."""

    __slots__ = ("_tasks",)

    def __init__(self, tasks: TaskShelf) -> None:
        super().__init__(lambda floor: (floor,), lambda a, b: horizon.tips((*a, *b)), lambda floors: floors)
        self._tasks = tasks

    def add(self, entry_id: EntryId, record: Record) -> None:
        self.entries.setdefault(record.key, {})[entry_id] = record
        self.fold(record.key)

    def fold(self, key: str) -> None:
        floors = [one for one in self.entries.get(key, _NOTHING).values() if isinstance(one, Floor)]
        self.put(key, horizon.tips(floors) if floors else None)

    def put(self, key: str, after: tuple[Floor, ...] | None) -> None:
        super().put(key, after)
        if key == horizon.FLOOR_KEY:
            self._tasks.look_at(after or ())
