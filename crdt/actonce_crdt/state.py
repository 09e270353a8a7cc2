"""The view: the join of all entries present, kept incrementally.

The view is a pure function of the *set* of entries: it depends neither on their order, nor on who sent them, nor on
seeing one twice. `State.fold` computes it from nothing; adding and removing entries one by one gives the same view.
What was asked for below a floor is *late* in it: see `overdue`.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from . import control, effect, memory, quota, roster, step
from .cells import Cell, Tally
from .control import ControlState
from .cursor import Cursor, cursor_order
from .cuts import Cut, Floor
from .disputes import ABOUT, ABOUT_EFFECTS, Disputes
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
    Try,
    Unknown,
    encode,
)
from .lattice import greatest
from .memory import CellState, TallyState
from .overdue import FloorShelf, TaskShelf
from .packing import pack
from .quota import QuotaState
from .rights import Cool, Gift, Lapse, Share
from .roster import RosterState
from .shelves import EffectShelf, EntryId, PlaceShelf, Shelf, StepShelf
from .switch import Shut, Switch
from .task import TaskState

_NOTHING: Mapping[EntryId, Record] = {}

_EVIDENCE = (Claim, Try, Done, Intent, Receipt, Doubt)


class State:
    """The fold of the entries present. Each lattice has a key space of its own.

    `add` costs O(1); `remove` at most O(entries of that key). Entries of unknown kinds are kept, counted in
    `canonical` and `history`, and change nothing else.
    """

    def __init__(self) -> None:
        self._tasks = TaskShelf()
        self._effects = EffectShelf(effect.lift, effect.join, effect.records, effect.absorb)
        self._steps = StepShelf(_itself, step.join, _alone)
        self._marks = Shelf[Mark](_itself, join_marks, _alone)
        self._cursors = Shelf[Cursor](_itself, join_cursors, _alone)
        self._rosters = Shelf[RosterState](roster.lift, roster.join, lambda state: state.steps)
        self._quotas = Shelf[QuotaState](quota.lift, quota.join, QuotaState.records)
        self._controls = Shelf[ControlState](control.lift, control.join, ControlState.records)
        self._cells = PlaceShelf[CellState](memory.lift_cell, memory.join_cells, CellState.records)
        self._tallies = PlaceShelf[TallyState](memory.lift_tally, memory.join_tallies, TallyState.records)
        self._cuts = Shelf[None](_nothing, lambda a, b: None, lambda state: ())
        self._unknown = Shelf[frozenset[Unknown]](lambda one: frozenset((one,)), frozenset.union, lambda state: state)
        self._shelves: dict[type[Record], Shelf[Any]] = {
            **dict.fromkeys((Task, Claim, Try, Done, Passed, Cancel, Reopen, Grant, Release), self._tasks),
            **dict.fromkeys((Intent, Receipt, Doubt), self._effects),
            **dict.fromkeys((Gift, Share, Lapse, Cool), self._quotas),
            **dict.fromkeys((Switch, Shut), self._controls),
            **{Step: self._steps, Mark: self._marks, Cursor: self._cursors, Roster: self._rosters},
            **{Cell: self._cells, Tally: self._tallies, Unknown: self._unknown},
            **{Floor: FloorShelf(self._tasks), Cut: self._cuts},
        }
        self._present: dict[EntryId, Record] = {}
        self.tasks: Mapping[str, TaskState] = self._tasks.states
        """Task id -> state: a live, read-only view. Of some tasks only a claim or a result may be known yet."""
        self.late: Mapping[str, Task] = self._tasks.late
        """Task id -> what was asked for below a floor, and has no other outcome: a live, read-only view."""
        self.effects: Mapping[str, EffectState] = self._effects.states
        """Effect key -> state: a live, read-only view."""
        self.steps: Mapping[str, Step] = self._steps.states
        """Step key -> step: a live, read-only view."""
        self.marks: Mapping[str, Mark] = self._marks.states
        """Schedule -> the newest of its slots up to which all are settled: a live, read-only view."""
        self.cursors: Mapping[str, Cursor] = self._cursors.states
        """Poll -> how far it has read: a live, read-only view."""
        self.rosters: Mapping[str, RosterState] = self._rosters.states
        """Roster version, as decimal text -> state: a live, read-only view."""
        self.quotas: Mapping[str, QuotaState] = self._quotas.states
        """Resource -> state: a live, read-only view."""
        self.controls: Mapping[str, ControlState] = self._controls.states
        """Target -> what it may do: a live, read-only view."""
        self.cells: Mapping[str, CellState] = self._cells.states
        """Place in memory (`memory.place`) -> state: a live, read-only view."""
        self.tallies: Mapping[str, TallyState] = self._tallies.states
        """Counter in memory (`memory.place`) -> state: a live, read-only view."""
        self.disputes = Disputes(self.tasks, self.effects)

    @classmethod
    def fold(cls, entries: Iterable[tuple[EntryId, Record]]) -> "State":
        """The view of these entries, from scratch."""
        state = cls()
        for entry_id, record in entries:
            state.add(entry_id, record)
        return state

    def __len__(self) -> int:
        """Number of entries present."""
        return len(self._present)

    def add(self, entry_id: EntryId, record: Record) -> None:
        """Join one more entry. Adding it again changes nothing; another record under its id is a ValueError."""
        present = self._present.setdefault(entry_id, record)
        if present is record:
            kind = type(record)
            shelf = self._shelves[kind]
            if kind in ABOUT:
                self.disputes.before(record, shelf.entries)
            shelf.add(entry_id, record)
            if kind in ABOUT_EFFECTS:
                self.disputes.after(record)
        elif present != record:
            raise ValueError(f"entry {entry_id} is already present with another record")

    def remove(self, entry_id: EntryId) -> None:
        """Take an entry away and fold its key again from what is left.

        An id that is not present is ignored: an entry that could not be decoded was never added.
        """
        record = self._present.pop(entry_id, None)
        if record is not None:
            self._shelves[type(record)].remove(entry_id, record)
            if type(record) in ABOUT or record.key in self.disputes.disputed:
                self.disputes.after(record)

    @property
    def floors(self) -> tuple[Floor, ...]:
        """The floors that count, sorted by keeper."""
        return self._tasks.floors

    def take_flipped(self) -> list[str]:
        """Tasks that became late, or are not any more, because a floor came or went, since this was last asked."""
        return self._tasks.take_flipped()

    def get(self, entry_id: EntryId) -> Record | None:
        """An entry that is present; None too for one that could not be decoded."""
        return self._present.get(entry_id)

    def beside(self, record: Record) -> Mapping[EntryId, Record]:
        """All entries present for the key of `record` in its key space, itself included: a live, read-only view."""
        return MappingProxyType(self._shelves[type(record)].entries.get(record.key, _NOTHING))

    def entries_of_task(self, task_id: str) -> Mapping[EntryId, Record]:
        """All entries present for a task but those of its effects and steps: a live, read-only view."""
        return MappingProxyType(self._tasks.entries.get(task_id, _NOTHING))

    def joined(self, record: Record) -> list[Record]:
        """Entries whose join is the state of the key of `record`, late ones included: enough to write it down again."""
        return self._shelves[type(record)].joined(record.key)

    def evidence(self, record: Record) -> list[Record]:
        """Of a task or an effect about which more than one claim has said something: all of it. Else nothing."""
        if record.key not in self.disputes.disputed:
            return []
        return list(dict.fromkeys(one for one in self.beside(record).values() if isinstance(one, _EVIDENCE)))

    def effects_of(self, task_id: str) -> Sequence[str]:
        """Keys of the effects whose winning intent names this task, sorted."""
        return sorted(self._effects.of_task.get(task_id, ()))

    def steps_of(self, task_id: str) -> Sequence[Step]:
        """The steps of a task, of all its claims, by key."""
        return [self.steps[key] for key in sorted(self._steps.of_task.get(task_id, ()))]

    @property
    def remembered(self) -> Sequence[str]:
        """All names in memory, sorted, also of what was taken away."""
        return sorted({*self._cells.of_name, *self._tallies.of_name})

    @property
    def cell_bytes(self) -> int:
        """Bytes of all values that are remembered, concurrent ones included."""
        return self._cells.bytes

    def places(self, name: str) -> Sequence[str]:
        """Keys of the places, or the counter, under this name in memory, sorted."""
        return sorted([*self._cells.of_name.get(name, ()), *self._tallies.of_name.get(name, ())])

    def writes(self, name: str) -> list[Record]:
        """Every entry present about a name in memory, the replaced ones included, by (stamp, author)."""
        found = [
            record
            for shelf in (self._cells, self._tallies)
            for key in shelf.of_name.get(name, ())
            for record in shelf.entries[key].values()
        ]
        return sorted(found, key=_by_stamp)

    def history(self, key: str) -> list[Record]:
        """Every entry present for a task, its effects, steps and unknown kinds included, by (stamp, author)."""
        unknown = self._unknown.entries
        found = [*self._tasks.entries.get(key, _NOTHING).values(), *unknown.get(key, _NOTHING).values()]
        for name in self.effects_of(key):
            found.extend(self._effects.entries[name].values())
            if name != key:
                found.extend(unknown.get(name, _NOTHING).values())
        found.extend(self.steps_of(key))
        return sorted(found, key=_by_stamp)

    def history_of_effect(self, key: str) -> list[Record]:
        """Every entry present for one effect, by (stamp, author)."""
        return sorted(self._effects.entries.get(key, _NOTHING).values(), key=_by_stamp)

    def canonical(self) -> bytes:
        """Bytes that are equal exactly when two views are: every joined field and every unknown entry, sorted."""
        shelves = {id(shelf): shelf for shelf in self._shelves.values()}
        return pack(sorted({encode(record) for shelf in shelves.values() for record in shelf.all_joined()}))


def join_marks(a: Mark, b: Mark) -> Mark:
    """Least upper bound: the largest (slot, stamp, author). What is settled stays settled."""
    joined = greatest(a, b, lambda mark: (mark.slot, mark.stamp, mark.author))
    assert joined is not None
    return joined


def join_cursors(a: Cursor, b: Cursor) -> Cursor:
    """Least upper bound: the largest (epoch, number, stamp, author). A cursor never goes back."""
    joined = greatest(a, b, cursor_order)
    assert joined is not None
    return joined


def _itself(record: Any) -> Any:
    return record


def _nothing(record: Any) -> None:
    """A cut says nothing."""


def _alone(record: Any) -> tuple[Any]:
    return (record,)


def _by_stamp(record: Record) -> tuple[int, str, bytes]:
    return record.stamp, record.author, encode(record)
