"""What an agent remembers: places that hold values, and counters.

A *place* is an optimised multi-value register (Almeida, Baquero, Goncalves, Preguica, Fonte: "Scalable and accurate
causality tracking for eventually consistent stores", 2014): a write replaces the writes that its writer had seen, and
only those, so that concurrent values stay side by side until somebody who has seen them writes again. A write is named
by (author, stamp), and what was seen by one stamp for each author, because one author's stamps only grow.

A register is one place; a set is a place for each member, a map one for each field, a list one for each item. A member
that is added and taken away at once stays (add-wins: Bieniusa et al., "An optimized conflict-free replicated set",
2012), since of concurrent values those that are no removal are what is read.

A *counter* keeps the largest word of each replica with its journal (Shapiro et al., 2011: PN-counter).

Not guaranteed: anything if one author's stamps go back: which takes a lost journal *and* a clock that was set back.
"""

from dataclasses import dataclass
from typing import Final

from .cells import Cell, Tally
from .entries import encode
from .lattice import each_greatest

SHAPES: Final = {"r": "register", "s": "set", "m": "map", "l": "list", "c": "counter", "t": "text"}
"""The first letter of an entry's key, and what it says."""


def place(shape: str, name: str, member: str = "") -> str:
    """The key of the entries of one place, or of one counter.

    Args:
        shape: a key of `SHAPES`.
        name: what the agent calls it: without the character NUL.
        member: the set's member, the map's field, the list's item, the replica that edited the text; "" for a register
            and a counter.
    """
    return f"{shape}:{name}\0{member}"


def parse_place(key: str) -> tuple[str, str, str] | None:
    """(shape, name, member) of a key that `place` made, or None."""
    shape, colon, rest = key.partition(":")
    name, nul, member = rest.partition("\0")
    return (shape, name, member) if colon and nul and shape in SHAPES else None


@dataclass(frozen=True, slots=True)
class CellState:
    """What is known of one place."""

    seen: tuple[tuple[str, int], ...] = ()
    """Author -> stamp: writes up to it are replaced."""
    live: tuple[Cell, ...] = ()
    """The writes that nobody replaced, by (stamp, author, bytes), the newest first. More than one: concurrent."""

    def records(self) -> tuple[Cell, ...]:
        """Entries whose join is this state, for all that writers who follow the rules can have written."""
        return self.live

    def values(self, now_ms: int) -> list[Cell]:
        """The values to be read, the winner first: neither removals nor expired."""
        return [cell for cell in self.live if cell.value and not 0 < cell.expires_ms <= now_ms]

    def context(self) -> tuple[tuple[str, int], ...]:
        """The `seen` of a write by somebody who knows this state."""
        known = dict(self.seen)
        for cell in self.live:
            known[cell.author] = max(cell.stamp, known.get(cell.author, 0))
        return tuple(sorted(known.items()))


@dataclass(frozen=True, slots=True)
class TallyState:
    """What is known of one counter: the newest word of each (author, journal), sorted by these."""

    words: tuple[Tally, ...] = ()

    def records(self) -> tuple[Tally, ...]:
        """Entries whose join is this state."""
        return self.words

    @property
    def value(self) -> int:
        """The sum over all replicas."""
        return sum(word.plus - word.minus for word in self.words)


def lift_cell(cell: Cell) -> CellState:
    """The state that one entry alone stands for."""
    return CellState(cell.seen, (cell,) if cell.stamp > dict(cell.seen).get(cell.author, -1) else ())


def join_cells(a: CellState, b: CellState) -> CellState:
    """Least upper bound: a function of the set of writes, whatever their order."""
    if a == b:
        return a
    seen = dict(a.seen)
    for author, stamp in b.seen:
        seen[author] = max(stamp, seen.get(author, 0))
    live = {cell for cell in (*a.live, *b.live) if cell.stamp > seen.get(cell.author, -1)}
    return CellState(tuple(sorted(seen.items())), tuple(sorted(live, key=_order, reverse=True)))


def _order(cell: Cell) -> tuple[int, str, bytes]:
    return cell.stamp, cell.author, encode(cell)


def lift_tally(word: Tally) -> TallyState:
    """The state that one entry alone stands for."""
    return TallyState((word,))


def join_tallies(a: TallyState, b: TallyState) -> TallyState:
    """Least upper bound: the largest (seq, stamp) of each replica with its journal."""
    return TallyState(
        each_greatest(
            a.words, b.words, lambda word: (word.author, word.journal), lambda word: (word.seq, word.stamp)
        )
    )
