"""What the agent remembers, on the engine's side: limits, and the one moment in which a handler's writes are written.

Writes of a handler are collected at the hands and written together with its outcome, in one update: they and the result
become known as one, or not at all. So a handler that fails, or whose replica dies, or whose task was taken over, has
written nothing, and one that runs again does not count twice. Each side of a partition longer than the grace runs its
own: both wrote, and what they wrote to one place stays visible as a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from actonce.errors import MemoryFull, MemoryInvalid
from actonce.ledger import Ledger
from actonce.texts import Texts
from actonce_crdt import (
    SHAPES,
    TEXT_CLIENTS_MAX,
    Cell,
    CellState,
    Tally,
    TallyState,
    ValueInvalid,
    Version,
    pack_value,
    parse_place,
    place,
    stamp_wall_s,
    unpack_value,
)
from actonce_crdt.drafts import Piece

VALUE_BYTES_MAX: Final = 65_536
"""For one value, as msgpack."""
MEMORY_BYTES_MAX: Final = 8 * 1024 * 1024
"""For all values together, concurrent ones included."""
PLACES_MAX: Final = 100_000
"""Registers, counters, members, fields and items, those taken away included."""
TEXT_BYTES_MAX: Final = 262_144
"""For one text, as UTF-8."""
TEXTS_BYTES_MAX: Final = 4 * 1024 * 1024
"""For all texts together."""
NAME_BYTES_MAX: Final = 200
MEMBER_BYTES_MAX: Final = 256
WRITES_MAX: Final = 1_000
"""By one task, or one order."""
COUNT_MAX: Final = (1 << 53) - 1

Context = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value` (packed; empty: take away) to a place, over what was `seen` there. A new item has no `member`."""

    shape: str
    name: str
    member: str
    value: bytes
    seen: Context = ()
    expires_ms: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """Add to a counter."""

    name: str
    plus: int
    minus: int


@dataclass(frozen=True, slots=True)
class Revision:
    """Edit a text: keep these parts of the version that was read, and put new text between them."""

    name: str
    base: Version
    pieces: tuple[Piece, ...]
    text: str
    """What it would be if nobody else edited."""


Write = Put | Count | Revision


def pack_memory(value: object) -> bytes:
    """
    Raises:
        MemoryInvalid: not JSON-like, or above `VALUE_BYTES_MAX`.
    """
    try:
        packed = pack_value(value, name="value")
    except ValueInvalid as error:
        raise MemoryInvalid(f"this cannot be remembered: {error}") from None
    if len(packed) > VALUE_BYTES_MAX:
        raise MemoryInvalid(f"a value of {len(packed):,} bytes cannot be remembered: the limit is {VALUE_BYTES_MAX:,}")
    return packed


def check_text(what: str, text: object, limit: int) -> str:
    """
    Raises:
        MemoryInvalid: no text, empty, too long, or with control characters.
    """
    if not isinstance(text, str) or not text or not text.isprintable():
        raise MemoryInvalid(f"{what} is {text!r}: it must be printable text of at least one character")
    size = len(text.encode("utf-8", "replace"))
    if size > limit:
        raise MemoryInvalid(f"{what} has {size} bytes: the limit is {limit}")
    return text


@dataclass(frozen=True, slots=True)
class Value:
    """A remembered value, and where it comes from."""

    value: Any
    """JSON-like."""
    replica: str
    task: str
    """The task that wrote it, or "" for a person."""
    at: float
    """Unix seconds, by the writer's clock, which is never behind what it had seen."""


def to_value(cell: Cell) -> Value:
    """What a cell says."""
    return Value(unpack_value(cell.value), cell.author, cell.task, stamp_wall_s(cell.stamp))


def _shape(write: Write) -> str:
    if isinstance(write, Put):
        return write.shape
    return "c" if isinstance(write, Count) else "t"


class Memory:
    """The memory of one replica: any thread reads, the engine writes.

    Reads from another thread see single values as they were a moment ago (lookups are atomic in CPython); two
    reads may be of different moments.
    """

    def __init__(self, ledger: Ledger, name: str, journal: str) -> None:
        self._ledger, self._name, self._journal = ledger, name, journal
        self.texts = Texts(ledger)

    @property
    def cells(self) -> Mapping[str, CellState]:
        """Place -> state."""
        return self._ledger.state.cells

    @property
    def tallies(self) -> Mapping[str, TallyState]:
        """Counter -> state."""
        return self._ledger.state.tallies

    @property
    def names(self) -> Sequence[str]:
        """All names, sorted."""
        return self._ledger.state.remembered

    def places(self, name: str) -> Sequence[str]:
        """Keys of the places under a name, sorted."""
        return self._ledger.state.places(name)

    def shape(self, name: str) -> str | None:
        """What is under this name: a key of `SHAPES`, or None. Two at once, after a partition: the first by letter."""
        places = self.places(name)
        parsed = parse_place(places[0]) if places else None
        return parsed[0] if parsed else None

    def check(self, writes: Sequence[Write]) -> None:
        """Whether these may be written, by what is known now. The limits are each replica's own: together, replicas
        that are cut off may pass them.

        Raises:
            MemoryInvalid: a name is of another shape.
            MemoryFull: a limit would be passed.
        """
        if len(writes) > WRITES_MAX:
            raise MemoryFull(f"more than {WRITES_MAX:,} writes at once: let another task do the rest")
        state, shapes = self._ledger.state, dict[str, str]()
        for write in writes:
            shape, there = _shape(write), self.shape(write.name)
            there = shapes.setdefault(write.name, shape) if there is None else there
            if there != shape:
                raise MemoryInvalid(f"{write.name!r} is a {SHAPES[there]}: it cannot be used as a {SHAPES[shape]}")
        added = sum(len(write.value) for write in writes if isinstance(write, Put))
        if added and state.cell_bytes + added > MEMORY_BYTES_MAX:
            full = f"{state.cell_bytes:,} of {MEMORY_BYTES_MAX:,} bytes"
            raise MemoryFull(f"memory has {full}: take something away first")
        self._check_texts([write for write in writes if isinstance(write, Revision)])
        if len(state.cells) + len(state.tallies) + len(writes) > PLACES_MAX:
            raise MemoryFull(f"memory has {len(state.cells):,} of {PLACES_MAX:,} places: take something away first")

    def _check_texts(self, revisions: Sequence[Revision]) -> None:
        grown = 0
        for one in revisions:
            size = len(one.text.encode())
            grown += size - len(one.base.text.encode())
            if size > TEXT_BYTES_MAX and grown > 0:
                raise MemoryFull(f"the text {one.name!r} would have {size:,} bytes: the limit is {TEXT_BYTES_MAX:,}")
        document = self.texts.document
        if grown > 0 and document.bytes + grown > TEXTS_BYTES_MAX:
            full = f"{document.bytes:,} of {TEXTS_BYTES_MAX:,} bytes"
            raise MemoryFull(f"the texts in memory have {full}: delete something first")
        if revisions and not document.has_room:
            raise MemoryFull(f"{TEXT_CLIENTS_MAX:,} process runs have edited texts, which is the limit")

    def write(self, writes: Sequence[Write], task: str) -> int:
        """Write all, now. On the engine. Returns the clock that must be durable."""
        clock = self._ledger.next_clock
        for write in writes:
            clock = self._ledger.write(self._record(write, task))
        return clock

    def _record(self, write: Write, task: str) -> Cell | Tally:
        stamp = self._ledger.stamp()
        if isinstance(write, Revision):
            delta = self.texts.edit(write.name, write.base.text, write.base.number, write.pieces)
            key = place("t", write.name, self._name)
            value = pack_value({"added": delta.added, "deleted": delta.taken})
            return Cell(key, stamp, self._name, value, self.cells.get(key, CellState()).context(), 0, task)
        if isinstance(write, Put):
            member = write.member or (f"{stamp:016x}.{self._name}" if write.shape == "l" else "")
            key = place(write.shape, write.name, member)
            return Cell(key, stamp, self._name, write.value, write.seen, write.expires_ms, task)
        key = place("c", write.name)
        words = self.tallies.get(key, TallyState()).words
        mine = next((word for word in words if (word.author, word.journal) == (self._name, self._journal)), None)
        seq, plus, minus = (mine.seq, mine.plus, mine.minus) if mine is not None else (0, 0, 0)
        plus, minus = min(plus + write.plus, COUNT_MAX), min(minus + write.minus, COUNT_MAX)
        return Tally(key, stamp, self._name, self._journal, seq + 1, plus, minus, task)
