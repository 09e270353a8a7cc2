"""What happened in one simulation, in order, with its hash; and the truth about who could reach whom."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Event:
    """`at` in seconds of virtual time; `pid` is that of the process, 0 for the outside; `facts` depend on `what`."""

    at: float
    what: str
    pid: int
    facts: tuple[Value, ...]


Runner = tuple[str, int]
"""A process: the name of its replica and its pid."""


class History:
    """Everything that checkers look at. The hash covers every event: same seed, same hash."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._hash = hashlib.sha256()
        self.events: list[Event] = []
        self.sometimes: Counter[str] = Counter()
        """How often a rare branch was reached: a batch of seeds that never gets there proves nothing about it."""
        self.outcomes: dict[str, tuple[float, str, int]] = {}
        """Task -> when, by whom (name, pid) its outcome was first known, also if everybody has forgotten it since."""

    def add(self, what: str, pid: int, *facts: Value) -> None:
        event = Event(self._now(), what, pid, facts)
        self.events.append(event)
        self._hash.update(f"{event.at:.9f} {what} {pid} {facts!r}\n".encode())

    def of(self, what: str) -> Iterator[Event]:
        """Events of one kind, in order."""
        return (event for event in self.events if event.what == what)

    @property
    def trace(self) -> str:
        """Hex SHA-256 of all events so far."""
        return self._hash.hexdigest()


@dataclass(slots=True)
class Reachability:
    """The ground truth about pauses and cuts, by process and by replica name."""

    now: Callable[[], float]
    pauses: dict[int, list[list[float]]] = field(default_factory=dict)
    cuts: dict[frozenset[str], list[list[float]]] = field(default_factory=dict)
    unlinked: dict[frozenset[int], list[list[float]]] = field(default_factory=dict)
    """Between two live processes whose connection broke, until they are connected again."""

    def pause(self, pid: int) -> None:
        _open(self.pauses.setdefault(pid, []), self.now())

    def resume(self, pid: int) -> None:
        _close(self.pauses.get(pid, []), self.now())

    def cut(self, one: str, other: str) -> None:
        _open(self.cuts.setdefault(frozenset((one, other)), []), self.now())

    def heal(self, one: str, other: str) -> None:
        _close(self.cuts.get(frozenset((one, other)), []), self.now())

    def link(self, one: int, other: int, *, up: bool) -> None:
        spans = self.unlinked.setdefault(frozenset((one, other)), [])
        if up:
            _close(spans, self.now())
        else:
            _open(spans, self.now())

    def longest(self, one: Runner, other: Runner, since: float, at: float, *, pauses: bool) -> float:
        """The longest time, overlapping [since, at], during which the two could not talk, in seconds up to `at`.

        Faults that touch, or nearly so, count as one: what was held by the first may still be held by the second.
        """
        spans = [list(span) for span in self.cuts.get(frozenset((one[0], other[0])), [])]
        spans += [list(span) for span in self.unlinked.get(frozenset((one[1], other[1])), [])]
        if pauses:
            spans += [list(span) for pid in (one[1], other[1]) for span in self.pauses.get(pid, [])]
        merged: list[list[float]] = []
        for begin, end in sorted((begin, min(end, at)) for begin, end in spans if begin <= at):
            if merged and begin <= merged[-1][1] + TOUCH_S:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        return max((end - begin for begin, end in merged if end >= since), default=0.0)


TOUCH_S = 0.35
"""Gaps shorter than this between two faults leave no time for a round trip of heartbeats to be sure of."""

_FOREVER = float("inf")


def _open(spans: list[list[float]], at: float) -> None:
    if not spans or spans[-1][1] != _FOREVER:
        spans.append([at, _FOREVER])


def _close(spans: list[list[float]], at: float) -> None:
    if spans and spans[-1][1] == _FOREVER:
        spans[-1][1] = at
