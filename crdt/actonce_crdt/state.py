"""The view: the join of all entries present, kept incrementally.

The view is a pure function of the *set* of entries: it depends neither on their order, nor on who sent them, nor on
seeing one twice. `State.fold` computes it from nothing; adding and removing entries one by one gives the same view.

What was asked for below a floor, and is not kept by it, is *late* (see `horizon`): in the view it has an outcome that
nobody wrote, a failure that says so. Which entries are late is itself a function of the set of entries.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from types import MappingProxyType
from typing import TypeAlias

from . import effect, horizon, quota, roster, step, task
from .cuts import Cut, Floor
from .effect import EffectState
from .entries import (
    Cancel,
    Claim,
    Done,
    Doubt,
    Grant,
    Intent,
    Mark,
    Passed,
    Receipt,
    Record,
    Release,
    Reopen,
    Roster,
    Step,
    Task,
    TaskRecord,
    Try,
    Unknown,
    encode,
)
from .lattice import greatest
from .packing import pack
from .quota import QuotaState
from .rights import Cool, Gift, Share
from .roster import RosterState
from .task import TaskState

EntryId: TypeAlias = tuple[int, int]
"""(client id, clock): names one entry of the document, for ever, on every replica."""

_TASK_KINDS = (Task, Claim, Try, Done, Passed, Cancel, Reopen, Grant, Release)
_EFFECT_KINDS = (Intent, Receipt, Doubt)
_QUOTA_KINDS = (Gift, Share, Cool)
_NOTHING: Mapping[EntryId, Record] = {}
NO_STATE = TaskState()


class State:
    """The fold of the entries present. Tasks, effects, quotas, steps, marks, rosters have separate key spaces.

    `add` costs O(1); `remove` costs O(entries of that key). Entries of unknown kinds are kept, counted in
    `canonical` and `history`, and change nothing else.
    """

    __slots__ = (
        *("_effect_entries", "_effects", "_effects_of", "_keys", "_mark_entries", "_marks"),
        *("_quota_entries", "_quotas", "_roster_entries", "_rosters", "_step_entries", "_steps", "_steps_of"),
        *("_cuts", "_floor_entries", "_floors", "_flipped", "_below", "_late", "_task_entries", "_tasks", "_unknown"),
    )

    def __init__(self) -> None:
        self._tasks: dict[str, TaskState] = {}
        self._effects: dict[str, EffectState] = {}
        self._effects_of: dict[str, set[str]] = {}  # task id -> keys of the effects whose winning intent names it
        self._task_entries: dict[str, dict[EntryId, Record]] = {}
        self._effect_entries: dict[str, dict[EntryId, Record]] = {}
        self._rosters: dict[str, RosterState] = {}
        self._roster_entries: dict[str, dict[EntryId, Record]] = {}
        self._quotas: dict[str, QuotaState] = {}
        self._quota_entries: dict[str, dict[EntryId, Record]] = {}
        self._unknown: dict[str, dict[EntryId, Record]] = {}
        self._steps: dict[str, Step] = {}
        self._steps_of: dict[str, set[str]] = {}  # task id -> keys of its steps
        self._step_entries: dict[str, dict[EntryId, Record]] = {}
        self._marks: dict[str, Mark] = {}
        self._mark_entries: dict[str, dict[EntryId, Record]] = {}
        self._keys: dict[EntryId, Record] = {}
        self._cuts: dict[str, dict[EntryId, Record]] = {}
        self._floor_entries: dict[str, dict[EntryId, Record]] = {}
        self._floors: tuple[Floor, ...] = ()
        self._late: dict[str, Task] = {}
        self._below: dict[str, None] = {}  # tasks with a `Task` entry that is late and does not count
        self._flipped: dict[str, None] = {}  # tasks that became late, or are not any more, by what came for another key

    @classmethod
    def fold(cls, entries: Iterable[tuple[EntryId, Record]]) -> "State":
        """The view of these entries, from scratch."""
        state = cls()
        for entry_id, record in entries:
            state.add(entry_id, record)
        return state

    @property
    def tasks(self) -> Mapping[str, TaskState]:
        """Task id -> state: a live, read-only view. Of some tasks only a claim or a result may be known yet."""
        return MappingProxyType(self._tasks)

    @property
    def effects(self) -> Mapping[str, EffectState]:
        """Effect key -> state: a live, read-only view."""
        return MappingProxyType(self._effects)

    @property
    def rosters(self) -> Mapping[str, RosterState]:
        """Roster version, as decimal text -> state: a live, read-only view."""
        return MappingProxyType(self._rosters)

    @property
    def quotas(self) -> Mapping[str, QuotaState]:
        """Resource -> state: a live, read-only view."""
        return MappingProxyType(self._quotas)

    def __len__(self) -> int:
        """Number of entries present."""
        return len(self._keys)

    def add(self, entry_id: EntryId, record: Record) -> None:
        """Join one more entry. Adding it again changes nothing; another record under its id is a ValueError."""
        present = self._keys.setdefault(entry_id, record)
        if present is not record:
            if present != record:
                raise ValueError(f"entry {entry_id} is already present with another record")
            return
        key, beside = record.key, self._shelf(record).setdefault(record.key, {})
        copied = any(one == record for one in beside.values())
        beside[entry_id] = record
        if copied:
            return  # joins are idempotent
        if isinstance(record, _TASK_KINDS):
            if self._floors and (isinstance(record, Task | Reopen | Done) or key in self._late):
                self._fold_task(key)
            else:
                known, lifted = self._tasks.get(key), task.lift(record)
                self._tasks[key] = lifted if known is None else task.join(known, lifted)
        elif isinstance(record, _EFFECT_KINDS):
            before = self._effects.get(key)
            raised = effect.lift(record)
            self._put_effect(key, raised if before is None else effect.join(before, raised))
        elif isinstance(record, _QUOTA_KINDS):
            had = self._quotas.get(key)
            self._quotas[key] = quota.lift(record) if had is None else quota.join(had, quota.lift(record))
        elif isinstance(record, Roster):
            self._rosters[key] = roster.join(self._rosters.get(key, RosterState()), roster.lift(record))
        elif isinstance(record, Step):
            there = self._steps.get(key)
            self._put_step(key, record if there is None else step.join(there, record))
        elif isinstance(record, Mark):
            self._marks[key] = join_marks(self._marks.get(key), record)
        elif isinstance(record, Floor):
            self._look_at_floors()

    def remove(self, entry_id: EntryId) -> None:
        """Take an entry away and fold its key again from what is left.

        An id that is not present is ignored: an entry that could not be decoded was never added.
        """
        record = self._keys.pop(entry_id, None)
        if record is None:
            return
        key, shelf = record.key, self._shelf(record)
        rest = shelf[key]
        del rest[entry_id]
        if not rest:
            del shelf[key]
        if any(one == record for one in rest.values()):
            return
        if isinstance(record, _TASK_KINDS):
            self._fold_task(key)
        elif isinstance(record, _EFFECT_KINDS):
            raised = [effect.lift(one) for one in rest.values() if isinstance(one, _EFFECT_KINDS)]
            self._put_effect(key, reduce(effect.join, raised) if raised else None)
        elif isinstance(record, _QUOTA_KINDS):
            left = [quota.lift(one) for one in rest.values() if isinstance(one, _QUOTA_KINDS)]
            if left:
                self._quotas[key] = reduce(quota.join, left)
            else:
                del self._quotas[key]
        elif isinstance(record, Roster):
            acts = [roster.lift(one) for one in rest.values() if isinstance(one, Roster)]
            if acts:
                self._rosters[key] = reduce(roster.join, acts)
            else:
                del self._rosters[key]
        elif isinstance(record, Step):
            steps = [one for one in rest.values() if isinstance(one, Step)]
            self._put_step(key, reduce(step.join, steps) if steps else None)
        elif isinstance(record, Mark):
            del self._marks[key]
            for one in rest.values():
                assert isinstance(one, Mark)
                self._marks[key] = join_marks(self._marks.get(key), one)
        elif isinstance(record, Floor):
            self._look_at_floors()

    def effects_of(self, task_id: str) -> Sequence[str]:
        """Keys of the effects whose winning intent names this task, sorted."""
        return sorted(self._effects_of.get(task_id, ()))

    @property
    def steps(self) -> Mapping[str, Step]:
        """Step key -> step: a live, read-only view."""
        return MappingProxyType(self._steps)

    @property
    def marks(self) -> Mapping[str, Mark]:
        """Schedule -> the newest of its slots up to which all are settled: a live, read-only view."""
        return MappingProxyType(self._marks)

    @property
    def floors(self) -> tuple[Floor, ...]:
        """The floors that count, sorted by keeper."""
        return self._floors

    @property
    def late(self) -> Mapping[str, Task]:
        """Task id -> what was asked for below a floor, and has no other outcome: a live, read-only view."""
        return MappingProxyType(self._late)

    def take_flipped(self) -> list[str]:
        """Tasks that became late, or are not any more, because a floor came or went, since this was last asked."""
        flipped, self._flipped = list(self._flipped), {}
        return flipped

    def get(self, entry_id: EntryId) -> Record | None:
        """An entry that is present; None too for one that could not be decoded."""
        return self._keys.get(entry_id)

    def beside(self, record: Record) -> Mapping[EntryId, Record]:
        """All entries present for the key of `record` in its key space, itself included: a live, read-only view."""
        return MappingProxyType(self._shelf(record).get(record.key, {}))

    def entries_of_task(self, task_id: str) -> Mapping[EntryId, Record]:
        """All entries present for a task but those of its effects and steps: a live, read-only view."""
        return MappingProxyType(self._task_entries.get(task_id, {}))

    def joined(self, record: Record) -> list[Record]:
        """Entries whose join is the state of the key of `record`, late ones included: enough to write it down again."""
        key = record.key
        if isinstance(record, _TASK_KINDS):
            state = self._tasks.get(key, NO_STATE)
            if key not in self._late:
                return list(task.records(state))
            late = [one for one in self._task_entries[key].values() if isinstance(one, Task)]
            return [*task.records(replace(state, task=None, done=None)), *late]
        if isinstance(record, _EFFECT_KINDS):
            raised = self._effects[key]
            return [one for one in (raised.intent, raised.receipt, raised.doubt) if one is not None]
        if isinstance(record, _QUOTA_KINDS):
            return list(self._quotas[key].records())
        if isinstance(record, Roster):
            return list(self._rosters[key].steps)
        if isinstance(record, Step):
            return [self._steps[key]]
        if isinstance(record, Mark):
            return [self._marks[key]]
        if isinstance(record, Floor):
            return list(self._floors)
        return [] if isinstance(record, Cut) else list(self._unknown[key].values())

    def steps_of(self, task_id: str) -> Sequence[Step]:
        """The steps of a task, of all its claims, by key."""
        return [self._steps[key] for key in sorted(self._steps_of.get(task_id, ()))]

    def history(self, key: str) -> list[Record]:
        """Every entry present for a task, its effects, steps and unknown kinds included, by (stamp, author)."""
        found = [*self._task_entries.get(key, _NOTHING).values(), *self._unknown.get(key, _NOTHING).values()]
        for name in self._effects_of.get(key, ()):
            found.extend(self._effect_entries[name].values())
            if name != key:
                found.extend(self._unknown.get(name, _NOTHING).values())
        found.extend(self.steps_of(key))
        return sorted(found, key=lambda record: (record.stamp, record.author, encode(record)))

    def canonical(self) -> bytes:
        """Bytes that are equal exactly when two views are: every joined field and every unknown entry, sorted."""
        fields: set[bytes] = set()
        for state in self._tasks.values():
            fields.update(encode(one) for one in task.records(state))
        fields.update(encode(one) for one in self._floors)
        for raised in self._effects.values():
            fields.update(encode(one) for one in (raised.intent, raised.receipt, raised.doubt) if one is not None)
        for decided in self._rosters.values():
            fields.update(encode(one) for one in decided.steps)
        fields.update(encode(one) for one in self._steps.values())
        fields.update(encode(one) for one in self._marks.values())
        for had in self._quotas.values():
            fields.update(encode(one) for one in had.records())
        for entries in self._unknown.values():
            fields.update(encode(one) for one in entries.values())
        return pack(sorted(fields))

    def _shelf(self, record: Record) -> dict[str, dict[EntryId, Record]]:
        if isinstance(record, Unknown):
            return self._unknown
        if isinstance(record, Floor):
            return self._floor_entries
        if isinstance(record, Cut):
            return self._cuts
        if isinstance(record, _QUOTA_KINDS):
            return self._quota_entries
        if isinstance(record, Roster):
            return self._roster_entries
        if isinstance(record, Step):
            return self._step_entries
        if isinstance(record, Mark):
            return self._mark_entries
        return self._task_entries if isinstance(record, _TASK_KINDS) else self._effect_entries

    def _fold_task(self, key: str) -> None:
        """Fold a task again from its entries. Of one without an outcome, what is late does not count."""
        entries = [one for one in self._task_entries.get(key, _NOTHING).values() if isinstance(one, _TASK_KINDS)]
        joined = reduce(task.join, map(task.lift, entries), NO_STATE)
        for known in (self._tasks, self._late, self._below):
            known.pop(key, None)
        if self._floors and joined.task is not None and joined.done is None:
            at = joined.reopen.stamp if joined.reopen is not None else 0
            asked = [one for one in entries if isinstance(one, Task)]
            late = [one for one in asked if not horizon.passes(key, one.stamp, at, self._floors)]
            if late:
                self._below[key] = None
                joined = self._without(key, entries, late)
        if joined != NO_STATE:
            self._tasks[key] = joined

    def _without(self, key: str, entries: Sequence[TaskRecord], late: list[Task]) -> TaskState:
        joined = reduce(task.join, (task.lift(one) for one in entries if one not in late), NO_STATE)
        if joined.task is None:
            first = self._late[key] = min(late, key=lambda one: (one.stamp, one.author, encode(one)))
            joined = replace(joined, task=first, done=horizon.outcome_of_late(first))
        return joined

    def _look_at_floors(self) -> None:
        """A floor came or went: which tasks are late now? Only those without an outcome, and not above all floors."""
        there = self._floor_entries.get(horizon.FLOOR_KEY, _NOTHING).values()
        floors = horizon.tips(one for one in there if isinstance(one, Floor))
        if floors == self._floors:
            return
        top = max(floor.until for floor in (*floors, *self._floors))
        self._floors = floors
        asked = ((key, state.task) for key, state in self._tasks.items() if state.done is None and state.task)
        for key in [*self._below, *(key for key, one in asked if one.stamp <= top and key not in self._below)]:
            before, late = self._tasks.get(key), self._late.get(key)
            self._fold_task(key)
            if self._tasks.get(key) != before or self._late.get(key) != late:
                self._flipped[key] = None

    def _put_effect(self, key: str, after: EffectState | None) -> None:
        """Replace the state of an effect, keeping the index of effects by task."""
        before = self._effects.get(key)
        old = before.intent.task if before and before.intent else None
        new = after.intent.task if after and after.intent else None
        if after is None:
            self._effects.pop(key, None)
        else:
            self._effects[key] = after
        if old == new:
            return
        if old is not None:
            keys = self._effects_of[old]
            keys.discard(key)
            if not keys:
                del self._effects_of[old]
        if new is not None:
            self._effects_of.setdefault(new, set()).add(key)

    def _put_step(self, key: str, after: Step | None) -> None:
        """Replace a step, keeping the index of steps by task."""
        before = self._steps.pop(key, None)
        if before is not None:
            keys = self._steps_of[before.task]
            keys.discard(key)
            if not keys:
                del self._steps_of[before.task]
        if after is not None:
            self._steps[key] = after
            self._steps_of.setdefault(after.task, set()).add(key)


def join_marks(a: Mark | None, b: Mark) -> Mark:
    """Least upper bound: the largest (slot, stamp, author). What is settled stays settled."""
    joined = greatest(a, b, lambda mark: (mark.slot, mark.stamp, mark.author))
    assert joined is not None
    return joined
