"""One lattice, many keys: the entries present of some kinds, and the joined state of each of their keys."""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

from . import memory
from .effect import EffectState
from .entries import Record, Step
from .memory import CellState

EntryId: TypeAlias = tuple[int, int]
"""(client id, clock): names one entry of the document, for ever, on every replica."""

S = TypeVar("S")


class Shelf(Generic[S]):
    """`add` costs a join; `remove` a few, or, of an entry that counted, one for each entry that the key has left."""

    __slots__ = ("_absorb", "_lift", "_records", "_states", "entries", "states")

    def __init__(
        self,
        lift: Callable[[Any], S],
        join: Callable[[S, S], S],
        records: Callable[[S], Iterable[Record]],
        absorb: Callable[[S, Any], S] | None = None,
    ) -> None:
        """
        Args:
            lift: the state that one entry stands for.
            join: the least upper bound of two states of one key.
            records: entries whose join is a state.
            absorb: the join of a state with what one entry stands for, where that can be had for less.
        """
        self._lift, self._records = lift, records
        self._absorb = absorb if absorb is not None else lambda state, record: join(state, lift(record))
        self.entries: dict[str, dict[EntryId, Record]] = {}
        self._states: dict[str, S] = {}
        self.states: Mapping[str, S] = MappingProxyType(self._states)
        """Key -> state: a live, read-only view."""

    def add(self, entry_id: EntryId, record: Record) -> None:
        """One more entry, which is not there yet."""
        key = record.key
        there = self.entries.get(key)
        if there is None:
            self.entries[key] = {entry_id: record}
        else:
            there[entry_id] = record
        known = self._states.get(key)
        after = self._lift(record) if known is None else self._absorb(known, record)
        if after is not known:
            self.put(key, after)

    def remove(self, entry_id: EntryId, record: Record) -> None:
        """Take away an entry that is there."""
        key = record.key
        rest = self.entries[key]
        del rest[entry_id]
        if not rest:
            del self.entries[key]
        if not rest or not self._stays(key, record, rest):
            self.fold(key)

    def _stays(self, key: str, record: Record, rest: Mapping[EntryId, Record]) -> bool:
        """Whether the state of a key is the same without this entry: a copy of it is left, or others make it up."""
        there = self.joined(key)
        if record in there:
            return any(one == record for one in rest.values())
        return bool(there) and self._join_all(there) == self._states[key]

    def fold(self, key: str) -> None:
        """Join the entries of a key anew."""
        entries = self.entries.get(key)
        self.put(key, self._join_all(entries.values()) if entries else None)

    def _join_all(self, records: Iterable[Record]) -> S:
        """What these stand for together; there is one at least."""
        rest = iter(records)
        return reduce(self._absorb, rest, self._lift(next(rest)))

    def put(self, key: str, after: S | None) -> None:
        """The state of a key is another one; None: nothing is known of it any more."""
        if after is None:
            self._states.pop(key, None)
        else:
            self._states[key] = after

    def joined(self, key: str) -> list[Record]:
        """Entries whose join is the state of a key: enough to write it down again."""
        state = self._states.get(key)
        return list(self._records(state)) if state is not None else []

    def all_joined(self) -> Iterable[Record]:
        """The same for all keys."""
        for state in self._states.values():
            yield from self._records(state)


class EffectShelf(Shelf[EffectState]):
    """Knows which effects a task has."""

    __slots__ = ("of_task",)

    def __init__(self, *lattice: Any) -> None:
        super().__init__(*lattice)
        self.of_task: dict[str, set[str]] = {}
        """Task id -> keys of the effects whose winning intent names it."""

    def put(self, key: str, after: EffectState | None) -> None:
        before = self._states.get(key)
        super().put(key, after)
        old, new = before.intent if before else None, after.intent if after else None
        if old is not new:
            _move(self.of_task, key, old.task if old else None, new.task if new else None)


class StepShelf(Shelf[Step]):
    """Knows which steps a task has."""

    __slots__ = ("of_task",)

    def __init__(self, *lattice: Any) -> None:
        super().__init__(*lattice)
        self.of_task: dict[str, set[str]] = {}
        """Task id -> keys of its steps."""

    def put(self, key: str, after: Step | None) -> None:
        before = self._states.get(key)
        super().put(key, after)
        _move(self.of_task, key, before.task if before else None, after.task if after else None)


class PlaceShelf(Shelf[S]):
    """Knows what is under a name in memory."""

    __slots__ = ("bytes", "of_name")

    def __init__(self, *lattice: Any) -> None:
        super().__init__(*lattice)
        self.of_name: dict[str, set[str]] = {}
        """Name -> keys of its places."""
        self.bytes = 0
        """Of all values, concurrent ones included."""

    def put(self, key: str, after: S | None) -> None:
        before = self._states.get(key)
        super().put(key, after)
        parsed = memory.parse_place(key)
        name = parsed[1] if parsed else key
        self.bytes += _bytes(after) - _bytes(before)
        _move(self.of_name, key, name if before is not None else None, name if after is not None else None)


def _move(index: dict[str, set[str]], key: str, old: str | None, new: str | None) -> None:
    """`key` is now found under `new` instead of `old`."""
    if old == new:
        return
    if old is not None:
        index[old].discard(key)
        if not index[old]:
            del index[old]
    if new is not None:
        index.setdefault(new, set()).add(key)


def _bytes(state: object) -> int:
    return sum(len(cell.value) for cell in state.live) if isinstance(state, CellState) else 0
