"""Which entries a log needs no more, and what has to be written before they go. Pure.

A log is shortened from its front, by its replica or, when that is gone, by another. In one change (`Document.compact`)

- the joined state of every key that the removed entries supported is appended to the log of whoever does it, whoever
  else supports it too; left out is only what a process that shortens its own log has written itself, later, already;
- so is, of a task or an effect about which two claims have said something, what lost, for the retention: the evidence;
- except the keys that are *forgotten*: over for their retention, measured at the floors; then the floors themselves
  are appended in the same way;
- at least one entry is appended (a `Cut` if nothing else). So whoever reads the removal has read all that its author
  had written by then: an update that starts beyond what is known is refused, and a difference carries both.

Hence, for every set of entries that any replica can come to hold, however compactions cross:

1. *A live value never changes.* An entry that was removed is below a copy that was written later, which is there, or
   was removed in turn; the last copy of all cannot have been. (Hence "later": of two replicas that shorten each
   other's logs, each counting on the copy in its own, both copies would go. And hence a removal says where the one
   before it ended, and is a gap for whoever has not read that: its copies may be in a chain that is not read yet.)
2. *Nothing becomes runnable again.* Forgotten is only what every floor that the remover had read says is over: asked
   for at or below it, and not kept by it. Who reads the removal reads those floors, or others that cover them, and
   what they do not let pass does not pass those either. So a `Task` entry of it that anybody may still bring is late.

A `Done` goes last, when no other log holds an entry that asked for the task; that is only so that what is over does
not look late for a moment. What became of an effect goes after every `Intent` of it: one that looks unsettled is never
forgotten, nor is its task.

What speaks of no task lives for ever: its joined state is as large as what it speaks of, not as its history.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from .cells import Cell, Tally
from .cursor import Cursor
from .cuts import Cut, Floor
from .effect import is_settled, lift
from .entries import (
    Cancel,
    Claim,
    Done,
    Doubt,
    EffectRecord,
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
from .horizon import is_kept
from .rights import Cool, Gift, Lapse, Share
from .shelves import EntryId
from .state import State
from .switch import Shut, Switch

_TASKS = TaskRecord.__args__
_EFFECTS = EffectRecord.__args__


@dataclass(frozen=True, slots=True)
class Rules:
    """When what is over may be forgotten."""

    retention: Callable[[str], int]
    """Task id -> for how long after its last entry it is remembered, as a difference of stamps."""
    pinned: Callable[[str], bool]
    """Whether something that is not over needs the outcome of this task."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What to append, in order, so that the entries may be removed."""

    entries: tuple[bytes, ...]
    forgotten: tuple[str, ...]
    """Tasks of which the last entries in this log go."""


def rewrite(
    state: State,
    removed: Collection[EntryId],
    unread: Mapping[EntryId, bytes],
    client: int | None,
    rules: Rules,
    cut: Cut,
) -> Rewrite:
    """What has to be appended so that the entries `removed`, the front of a log, may go.

    Args:
        state: the fold of all entries present.
        unread: of those, the ones that do not decode: they are kept as they are.
        client: whose entries that stay need not be written again: our own, if the log is our own; None if it is not.
        cut: appended if nothing else is.
    """
    gone = set(removed)
    needed: dict[bytes, None] = {}
    forgotten: dict[str, None] = {}

    def need(records: Iterable[Record], there: Mapping[EntryId, Record]) -> None:
        """These, of one key, about which all this is there."""
        written = [known for one, known in there.items() if one[0] == client and one not in gone]
        for record in records:
            if record not in written:
                needed[encode(record)] = None

    seen: set[EntryId] = set()
    for entry_id in removed:
        record = state.get(entry_id)
        if record is None:
            if entry_id in unread:
                needed[unread[entry_id]] = None
            continue
        there = state.beside(record)
        first = next(iter(there))  # stands for its key in its key space
        if first in seen:
            continue
        seen.add(first)
        if is_forgotten(state, record, rules):
            for floor in state.floors:
                need([floor], state.beside(floor))
            state_of = state.tasks.get(record.key) if isinstance(record, _TASKS) else None
            if state_of is not None and state_of.done is not None and _is_asked_for_elsewhere(state, record.key, gone):
                need([state_of.done], there)
            elif isinstance(record, _TASKS):
                forgotten[record.key] = None
            elif isinstance(record, _EFFECTS) and not all(map(_settles, _left(there, gone))):
                need(filter(_settles, state.joined(record)), there)
        else:
            need(state.joined(record), there)
            for one in state.evidence(record):
                if not _is_below(state, one.stamp, _task_of(state, record), rules):
                    need([one], there)
    if not needed:
        needed[encode(cut)] = None
    return Rewrite(tuple(needed), tuple(forgotten))


def is_forgotten(state: State, record: Record, rules: Rules) -> bool:
    """Whether the key of this entry may be forgotten by now."""
    match record:
        case Cut():
            return True
        case Task() | Claim() | Try() | Done() | Passed() | Cancel() | Reopen() | Grant() | Release():
            return bool(state.floors) and _task_is_forgotten(state, record.key, rules)
        case Step() | Intent() | Receipt() | Doubt():
            task = _task_of(state, record)
            if task and state.entries_of_task(task):
                return bool(state.floors) and _task_is_forgotten(state, task, rules)
            open_effect = not isinstance(record, Step) and not is_settled(state.effects[record.key])
            return not open_effect and _is_old(state, task, state.beside(record).values(), rules)
        case Gift() | Share() | Lapse() | Cool() | Roster() | Mark() | Cursor() | Floor():
            return False
        case Cell() | Tally() | Switch() | Shut() | Unknown():
            return False
        case _:
            assert_never(record)


def _task_of(state: State, record: Record) -> str:
    """The task that an entry speaks of; "" if that is not known."""
    if isinstance(record, Step):
        return record.task
    if isinstance(record, _TASKS):
        key: str = record.key
        return key
    raised = state.effects.get(record.key) if isinstance(record, Intent | Receipt | Doubt) else None
    return raised.intent.task if raised is not None and raised.intent is not None else ""


def _task_is_forgotten(state: State, task: str, rules: Rules) -> bool:
    entries = state.entries_of_task(task)
    known = state.tasks.get(task)
    over = known is not None and known.done is not None and task not in state.late
    if not over and any(isinstance(one, Task) for one in entries.values()):
        return False  # not over, or late: then a person decides
    if not _is_old(state, task, entries.values(), rules):
        return False
    return all(is_settled(state.effects[key]) for key in state.effects_of(task))


def _is_old(state: State, task: str, entries: Collection[Record], rules: Rules) -> bool:
    """Below every floor for its retention, kept by none, and needed by nobody."""
    newest = max(record.stamp for record in entries)
    if not _is_below(state, newest, task, rules):
        return False
    return not is_kept(task, state.floors) and not rules.pinned(task)


def _is_below(state: State, stamp: int, task: str, rules: Rules) -> bool:
    """Whether something of this stamp is below every floor for its retention, and there is one."""
    limit = min((floor.until for floor in state.floors), default=-1)
    return stamp + rules.retention(task) <= limit


def _left(there: Mapping[EntryId, Record], gone: set[EntryId]) -> Iterable[Record]:
    return (one for entry_id, one in there.items() if entry_id not in gone)


def _settles(record: Record) -> bool:
    """Whether an effect of which this is known is settled, whatever else is known."""
    return isinstance(record, _EFFECTS) and is_settled(lift(record))


def _is_asked_for_elsewhere(state: State, task: str, gone: set[EntryId]) -> bool:
    entries = state.entries_of_task(task).items()
    return any(isinstance(one, Task | Reopen) and entry_id not in gone for entry_id, one in entries)
