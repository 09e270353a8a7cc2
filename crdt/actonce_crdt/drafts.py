"""Edits of a text on top of a version of it that may be an old one by the time they are made.

A handler edits the text that it read. Meanwhile others edit it too; what it typed must then land where it meant it, and
nothing that others wrote may be lost. So a draft does not say "replace the text by this" but which parts of the version
that it was made of it keeps, and what it puts between them; `Track` says where those parts are now.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Piece: TypeAlias = tuple[int, int] | str
"""A part of the base that is kept, from its start to its end, or new text."""
Delta: TypeAlias = Sequence[tuple[str, int]]
"""What happened to a text, from its start: ("keep", n), ("delete", n), ("insert", n)."""


class Draft:
    """A text being edited. Positions are those of Python strings."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.pieces: tuple[Piece, ...] = ((0, len(base)),) if base else ()
        self.text = base

    def splice(self, start: int, stop: int, new: str) -> None:
        """Put `new` in the place of what is between two positions of the text as it is now."""
        before, rest = _split(self.pieces, start)
        _, after = _split(rest, stop - start)
        self.pieces = tuple(_joined((*before, *((new,) if new else ()), *after)))
        self.text = self.text[:start] + new + self.text[stop:]

    def fork(self) -> "Draft":
        """The same, to be edited on its own."""
        made = Draft(self.base)
        made.pieces, made.text = self.pieces, self.text
        return made

    @property
    def is_changed(self) -> bool:
        """Whether anything is left of the edits."""
        return self.pieces != (((0, len(self.base)),) if self.base else ())


def difference(before: str, after: str) -> tuple[int, int, str]:
    """The one splice that makes `after` of `before`: start, stop, new."""
    most = min(len(before), len(after))
    start = next((at for at in range(most) if before[at] != after[at]), most)
    most -= start
    end = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
    return start, len(before) - end, after[start : len(after) - end]


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, str) else piece[1] - piece[0]


def _split(pieces: Iterable[Piece], at: int) -> tuple[list[Piece], list[Piece]]:
    before: list[Piece] = []
    after: list[Piece] = []
    for piece in pieces:
        size = _length(piece)
        if at <= 0:
            after.append(piece)
        elif size <= at:
            before.append(piece)
        elif isinstance(piece, str):
            before.append(piece[:at])
            after.append(piece[at:])
        else:
            before.append((piece[0], piece[0] + at))
            after.append((piece[0] + at, piece[1]))
        at -= size
    return before, after


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    last: Piece | None = None
    for piece in pieces:
        if isinstance(last, str) and isinstance(piece, str):
            last += piece
        elif isinstance(last, tuple) and isinstance(piece, tuple) and last[1] == piece[0]:
            last = (last[0], piece[1])
        else:
            if last is not None:
                yield last
            last = piece
    if last is not None:
        yield last


@dataclass(frozen=True, slots=True)
class Change:
    """Of a text, at one position: first `delete` characters are taken away, then `insert` is put there."""

    at: int
    delete: int
    insert: str


def changes(base: str, pieces: Sequence[Piece], track: "Track") -> list[Change]:
    """What a draft does to the text as it is now, the last position first, so that no change moves the next."""
    made: list[Change] = []
    at = 0
    for piece in pieces:
        if isinstance(piece, str):
            made.append(Change(track.gap(at), 0, piece))
        else:
            made += [Change(start, end - start, "") for start, end in track.alive(at, piece[0])]
            at = piece[1]
    made += [Change(start, end - start, "") for start, end in track.alive(at, len(base))]
    return made[::-1]


class Track:
    """Where the parts of an earlier version of a text are now."""

    def __init__(self, length: int) -> None:
        self._parts: list[tuple[int, int, int, bool]] = [(0, length, 0, True)] if length else []
        """(start, end, where it is now, whether it is still there), in order."""
        self._base, self._now = length, length

    def follow(self, delta: Delta) -> None:
        """The text changed."""
        parts, todo = list[tuple[int, int, int, bool]](), list(delta)
        rest = self._parts[::-1]
        old = new = 0  # positions before and after
        for what, size in todo:
            if what == "insert":
                new += size
                continue
            until = old + size
            while rest and rest[-1][2] < until:
                start, end, at, alive = rest.pop()
                if not alive:
                    parts.append((start, end, new + (at - old if what == "keep" else 0), False))
                    continue
                if at + end - start > until:  # the change ends within it
                    cut = start + until - at
                    rest.append((cut, end, until, True))
                    end = cut
                kept = what == "keep"
                parts.append((start, end, new + (at - old if kept else 0), kept))
            old = until
            new += size if what == "keep" else 0
        while rest:
            start, end, at, alive = rest.pop()
            parts.append((start, end, new + at - old, alive))
        self._parts = parts
        self._now += sum({"insert": size, "delete": -size}.get(what, 0) for what, size in delta)

    def gap(self, at: int) -> int:
        """Where the place before this character of the earlier version is now: after the character before it."""
        if at == self._base:
            return self._now
        if at == 0:
            return 0
        for start, end, now, alive in self._parts:
            if start < at <= end:
                return now + (at - start if alive else 0)
        raise ValueError(f"position {at} is outside of a text of {self._base} characters")

    def alive(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """What is left of the characters between two positions of the earlier version, where it is now."""
        for low, high, now, alive in self._parts:
            if alive and low < end and start < high:
                yield now + max(start, low) - low, now + min(end, high) - low
