"""Entries about what an agent remembers; what they mean, and how they are joined, is in `memory`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """`author` wrote `value` (`pack_value`; empty: took it away) to one place, on behalf of `task` ("" for a person).

    `seen` are (author, stamp) pairs, sorted by author: the writes to this place, up to that stamp of each author, that
    the writer had seen, and that this one replaces. From `expires_ms` on (unix milliseconds; 0: never) it counts as
    taken away.
    """

    key: str
    stamp: int
    author: str
    value: bytes
    seen: tuple[tuple[str, int], ...]
    expires_ms: int
    task: str


@dataclass(frozen=True, slots=True)
class Tally:
    """To the counter `key` this replica, with this journal, added `plus` and took off `minus` in all, by word `seq`."""

    key: str
    stamp: int
    author: str
    journal: str
    seq: int
    plus: int
    minus: int
    task: str
