"""Sets of clocks as ranges: sorted, disjoint, not touching. Immutable."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ranges:
    """`spans` are (start, end) pairs, the end not included."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int]]) -> "Ranges":
        """Any spans, which may overlap."""
        made: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if start >= end:
                continue
            if made and start <= made[-1][1]:
                made[-1] = (made[-1][0], max(end, made[-1][1]))
            else:
                made.append((start, end))
        return cls(tuple(made))

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.spans)

    def __or__(self, other: "Ranges") -> "Ranges":
        return Ranges.of((*self.spans, *other.spans)) if other.spans else self

    def __sub__(self, other: "Ranges") -> "Ranges":
        left: list[tuple[int, int]] = []
        for start, end in self.spans:
            at = max(0, bisect_right(other.spans, (start, 1 << 62)) - 1)
            while at < len(other.spans) and other.spans[at][0] < end and start < end:
                low, high = other.spans[at]
                if high > start:
                    if low > start:
                        left.append((start, low))
                    start = max(start, high)
                at += 1
            if start < end:
                left.append((start, end))
        return Ranges(tuple(left))

    def covers(self, start: int, end: int) -> bool:
        """Whether all of a span is in it."""
        at = bisect_right(self.spans, (start, 1 << 62)) - 1
        return at >= 0 and self.spans[at][0] <= start and end <= self.spans[at][1]
