"""`ctx.memory`: the agent's memory as a handler sees it, with its own writes on top. They count once it succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actonce.agent import parse_duration_s
from actonce.errors import MemoryFull, MemoryInvalid
from actonce.memory import (
    COUNT_MAX,
    MEMBER_BYTES_MAX,
    NAME_BYTES_MAX,
    Context,
    Count,
    Memory,
    Put,
    Revision,
    Value,
    Write,
    check_text,
    pack_memory,
    to_value,
)
from actonce.merging import Merge
from actonce.running import Run
from actonce_crdt import AUTHORS_MAX, Cell, CellState, TallyState, Version, parse_place, place, unpack_value
from actonce_crdt.drafts import Draft, difference


class Recall:
    """Registers by name, like a dict; `counter`, `set`, `map` and `list` for the rest.

    Reads give what this replica knows now: what tasks elsewhere wrote arrives with their results. Writes are this
    handler's alone until it returns; if it fails or loses its task, they never were. A write replaces what was there
    when the handler last read that place (or wrote, if it never read); what others wrote meanwhile stays beside it, as
    a conflict: the latest is read, `conflicts` shows all, and the next write replaces all that it has seen. Where the
    agent has a merge for the name, a write after a mere read replaces only the value that was read: the rest is merged.
    """

    def __init__(
        self, memory: Memory, run: Run, wall: Callable[[], float], merges: Mapping[str, Merge] | None = None
    ) -> None:
        self._memory, self._run, self._wall = memory, run, wall
        self._merges = tuple((merges or {}).values())
        self._seen: dict[str, Context] = {}
        self._drafts: dict[str, tuple[Version, Draft]] = {}

    def __getitem__(self, name: str) -> Any:
        found = self._read("r", name)
        if found is None:
            raise KeyError(name)
        return found[0]

    def get(self, name: str, default: object = None) -> Any:
        """The value under a name, the latest of concurrent ones, or `default`."""
        found = self._read("r", name)
        return default if found is None else found[0]

    def __contains__(self, name: str) -> bool:
        return self._read("r", name) is not None

    def __setitem__(self, name: str, value: object) -> None:
        self.put(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._write("r", name, "", b"")

    def put(self, name: str, value: object, *, ttl: str | float | None = None) -> None:
        """Remember a value; with `ttl` (seconds, or text such as "1h") for so long, by the wall clock of whoever reads.

        Raises:
            MemoryInvalid: it cannot be remembered, or the name is of another shape.
            MemoryFull: a limit would be passed.
        """
        self._write("r", name, "", pack_memory(value), ttl)

    def conflicts(self, name: str) -> Sequence[Value]:
        """The values that were written at the same time, the one that is read first; none when there is no conflict."""
        key = place("r", check_text("the name", name, NAME_BYTES_MAX))
        cells = self._values(key)
        self._seen[key] = self._context(key)
        return [to_value(cell) for cell in cells] if len(cells) > 1 and self._own(key) is None else []

    def source(self, name: str) -> Value | None:
        """The value under a name with where it comes from: which replica, when, for which task. None where there is
        none, or where this handler wrote itself."""
        key = place("r", check_text("the name", name, NAME_BYTES_MAX))
        cells = self._values(key)
        return to_value(cells[0]) if cells and self._own(key) is None else None

    def counter(self, name: str) -> Counter:
        """A number that is added to."""
        return Counter(self, check_text("the name", name, NAME_BYTES_MAX))

    def set(self, name: str) -> Members:
        """Texts, each there or not. One that is added and taken away at the same time stays."""
        return Members(self, check_text("the name", name, NAME_BYTES_MAX))

    def map(self, name: str) -> Fields:
        """Values by text; each field is a register."""
        return Fields(self, check_text("the name", name, NAME_BYTES_MAX))

    def text(self, name: str) -> Written:
        """A text that many edit at once, without losing what any of them wrote."""
        return Written(self, check_text("the name", name, NAME_BYTES_MAX))

    def list(self, name: str) -> Items:
        """Values in the order of their writers' clocks; only appended to."""
        return Items(self, check_text("the name", name, NAME_BYTES_MAX))

    # For the collections

    def _draft(self, name: str) -> Draft:
        """The text as this handler read it first, with its own edits: so that positions hold still while it works."""
        if name not in self._drafts:
            base = self._memory.texts.read(name)
            self._drafts[name] = base, Draft(base.text)
        return self._drafts[name][1]

    def _splice(self, name: str, start: int, stop: int, new: str) -> None:
        if not isinstance(new, str):
            raise MemoryInvalid(f"{new!r} cannot be written into a text: it is no str")
        try:
            new.encode()
        except UnicodeEncodeError as error:
            raise MemoryInvalid(f"this cannot be written into a text: it has no UTF-8 form ({error.reason})") from None
        before, base = self._draft(name), self._drafts[name][0]
        draft = before.fork()
        draft.splice(start, stop, new)
        rest = [one for one in self._run.writes if not (isinstance(one, Revision) and one.name == name)]
        revision = [Revision(name, base, draft.pieces, draft.text)] if draft.is_changed else []
        self._memory.check([*rest, *revision])
        self._run.writes[:] = [*rest, *revision]
        self._drafts[name] = base, draft

    def _own(self, key: str) -> Put | None:
        """This handler's own last write to a place."""
        puts = [one for one in self._run.writes if isinstance(one, Put)]
        own = [put for put in puts if place(put.shape, put.name, put.member) == key]
        return own[-1] if own else None

    def _values(self, key: str) -> Sequence[Cell]:
        return self._memory.cells.get(key, CellState()).values(int(self._wall() * 1000))

    def _context(self, key: str) -> Context:
        return self._memory.cells.get(key, CellState()).context()

    def _read(self, shape: str, name: str, member: str = "") -> tuple[Any] | None:
        key = place(shape, check_text("the name", name, NAME_BYTES_MAX), member)
        own = self._own(key)
        if own is not None:
            return (unpack_value(own.value),) if own.value else None
        state = self._memory.cells.get(key, CellState())
        found = state.values(int(self._wall() * 1000))
        is_merged = len(found) > 1 and shape in "rm" and any(merge.takes(name) for merge in self._merges)
        self._seen[key] = _only(found) if is_merged else state.context()
        return (unpack_value(found[0].value),) if found else None

    def _write(self, shape: str, name: str, member: str, value: bytes, ttl: str | float | None = None) -> None:
        key = place(shape, check_text("the name", name, NAME_BYTES_MAX), member)
        expires_ms = 0 if ttl is None else min(COUNT_MAX, int((self._wall() + parse_duration_s(ttl)) * 1000))
        seen = () if shape == "l" else self._seen.setdefault(key, self._context(key))
        if len(seen) > AUTHORS_MAX:
            raise MemoryFull(
                f"{name!r} was written by {len(seen):,} replicas of different names; {AUTHORS_MAX:,} can be told "
                "apart: let replicas keep their names"
            )
        put = Put(shape, name, member, value, seen, expires_ms)
        kept = [one for one in self._run.writes if shape == "l" or not _same(one, put)]
        self._memory.check([*kept, put])
        self._run.writes[:] = [*kept, put]

    def _members(self, shape: str, name: str) -> Sequence[str]:
        """Members that may be there, in order."""
        found = {parsed[2] for key in self._memory.places(name) if (parsed := parse_place(key)) and parsed[0] == shape}
        puts = [one for one in self._run.writes if isinstance(one, Put)]
        found.update(put.member for put in puts if (put.shape, put.name) == (shape, name))
        return sorted(found)


def _only(values: Sequence[Cell]) -> Context:
    """What a write replaces that has seen the first of these values and none of the others. Nothing, if its author
    wrote another one of them: what replaces its later write replaces the earlier one, too."""
    first = values[0]
    alone = all(other.author != first.author for other in values[1:])
    return ((first.author, first.stamp),) if alone else ()


def _same(a: Write, b: Put) -> bool:
    return isinstance(a, Put) and (a.shape, a.name, a.member) == (b.shape, b.name, b.member)


@dataclass(frozen=True, slots=True)
class Counter:
    """A number: every addition of every replica counts, once."""

    _recall: Recall
    name: str

    @property
    def value(self) -> int:
        """The sum that this replica knows, with what this handler added."""
        known = self._recall._memory.tallies.get(place("c", self.name), TallyState()).value
        return known + sum(
            one.plus - one.minus for one in self._recall._run.writes if isinstance(one, Count) and one.name == self.name
        )

    def add(self, by: int = 1) -> None:
        """Add a whole number, which may be negative.

        Raises:
            MemoryInvalid: no whole number below 2**53.
        """
        if type(by) is not int or abs(by) > COUNT_MAX:
            raise MemoryInvalid(f"a counter cannot add {by!r}: it must be a whole number below 2**53")
        run, memory = self._recall._run, self._recall._memory
        plus, minus = max(by, 0), max(-by, 0)
        rest = [one for one in run.writes if not (isinstance(one, Count) and one.name == self.name)]
        for one in run.writes:
            if isinstance(one, Count) and one.name == self.name:
                plus, minus = plus + one.plus, minus + one.minus
        memory.check([*rest, Count(self.name, plus, minus)])
        run.writes[:] = [*rest, Count(self.name, plus, minus)]


@dataclass(frozen=True, slots=True)
class Members:
    """A set of texts."""

    _recall: Recall
    name: str

    def add(self, member: str) -> None:
        """Put one in."""
        self._recall._write("s", self.name, check_text("the member", member, MEMBER_BYTES_MAX), pack_memory(True))

    def discard(self, member: str) -> None:
        """Take one out, if it is known to be in."""
        if member in self:
            self._recall._write("s", self.name, member, b"")

    def __contains__(self, member: str) -> bool:
        return self._recall._read("s", self.name, check_text("the member", member, MEMBER_BYTES_MAX)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([member for member in self._recall._members("s", self.name) if member in self])

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True, slots=True)
class Fields:
    """Values by text."""

    _recall: Recall
    name: str

    def __getitem__(self, field: str) -> Any:
        found = self._recall._read("m", self.name, check_text("the field", field, MEMBER_BYTES_MAX))
        if found is None:
            raise KeyError(field)
        return found[0]

    def get(self, field: str, default: object = None) -> Any:
        """The value of a field, or `default`."""
        found = self._recall._read("m", self.name, check_text("the field", field, MEMBER_BYTES_MAX))
        return default if found is None else found[0]

    def __setitem__(self, field: str, value: object) -> None:
        self.put(field, value)

    def put(self, field: str, value: object, *, ttl: str | float | None = None) -> None:
        """As `Recall.put`, for one field."""
        self._recall._write("m", self.name, check_text("the field", field, MEMBER_BYTES_MAX), pack_memory(value), ttl)

    def __delitem__(self, field: str) -> None:
        if field not in self:
            raise KeyError(field)
        self._recall._write("m", self.name, field, b"")

    def __contains__(self, field: str) -> bool:
        return self._recall._read("m", self.name, check_text("the field", field, MEMBER_BYTES_MAX)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([field for field in self._recall._members("m", self.name) if field in self])

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True, slots=True)
class Items:
    """Values in the order in which they were appended, as their writers' clocks have it."""

    _recall: Recall
    name: str

    def append(self, value: object) -> None:
        """Put one at the end."""
        self._recall._write("l", self.name, "", pack_memory(value))

    def __iter__(self) -> Iterator[Any]:
        members = [member for member in self._recall._members("l", self.name) if member]
        known = [self._recall._read("l", self.name, member) for member in members]
        own = [
            unpack_value(one.value)
            for one in self._recall._run.writes
            if isinstance(one, Put) and (one.shape, one.name) == ("l", self.name)
        ]
        return iter([*(found[0] for found in known if found is not None), *own])

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True, slots=True)
class Written:
    """A text. Edits of many handlers, on many replicas, at once or cut off from each other, are all kept.

    A handler sees the text as it was when it looked first, with its own edits; positions are those of that `str`. When
    it returns, its edits are made where they were meant, whatever others did meanwhile: what it put in stands after the
    character that it put it after, and of what it deleted, that which is still there goes. Two that write at one place
    stand one after the other.
    """

    _recall: Recall
    name: str

    def __str__(self) -> str:
        return self._recall._draft(self.name).text

    def __len__(self) -> int:
        return len(str(self))

    def __contains__(self, part: str) -> bool:
        return part in str(self)

    def insert(self, at: int, new: str) -> None:
        """Put `new` before the character at this position; at the length of the text, to its end.

        Raises:
            MemoryInvalid: no such position; not a text.
            MemoryFull: a limit would be passed.
        """
        self.replace(at, at, new)

    def append(self, new: str) -> None:
        """Put `new` to the end."""
        size = len(self)
        self.replace(size, size, new)

    def delete(self, start: int, stop: int) -> None:
        """Take away what stands from `start` up to, not including, `stop`."""
        self.replace(start, stop, "")

    def replace(self, start: int, stop: int, new: str) -> None:
        """Put `new` in the place of what stands from `start` up to, not including, `stop`."""
        size = len(self)
        if type(start) is not int or type(stop) is not int or not 0 <= start <= stop <= size:
            raise MemoryInvalid(f"{self.name!r} has {size} characters: there is no place {start!r} to {stop!r}")
        self._recall._splice(self.name, start, stop, new)

    def set(self, new: str) -> None:
        """Make the text this, by the one edit that does it: what stays the same at both ends stays."""
        if not isinstance(new, str):
            raise MemoryInvalid(f"{new!r} cannot be written into a text: it is no str")
        self.replace(*difference(str(self), new))
