"""Entries about what an agent remembers; what they mean, and how they are joined, is in `memory`."""

from .facts import Blob, Count, Fact, Key, MaybeKey, Seen


class Cell(Fact, frozen=True, tag="cell"):
    """`author` wrote `value` (`pack_value`; empty: took it away) to one place, on behalf of `task` ("" for a person).

    `seen` are (author, stamp) pairs, sorted by author: the writes to this place, up to that stamp of each author, that
    the writer had seen, and that this one replaces. From `expires_ms` on (unix milliseconds; 0: never) it counts as
    taken away.
    """

    value: Blob
    seen: Seen
    expires_ms: Count
    task: MaybeKey


class Tally(Fact, frozen=True, tag="tally"):
    """To the counter `key` this replica, with this journal, added `plus` and took off `minus` in all, by word `seq`."""

    journal: Key
    seq: Count
    plus: Count
    minus: Count
    task: MaybeKey
