"""Entries of compaction; what they mean, and why they are safe, is in `horizon` and `compaction`."""

from dataclasses import dataclass

MARK_BYTES = 16
"""Bytes of one task in `Floor.kept`: a hash of its id, and the stamp of its `Task` entry."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What was asked for up to the stamp `until`, and is not among `kept`, begins no more.

    `keeper` is the journal that says so, written ``name/journal``, in its `number`-th floor (from 1). `over` lists the
    floors that it had read, all that those covered included: (keeper, number), sorted. `kept` holds a mark for
    each task that was unfinished then, sorted.
    """

    key: str
    stamp: int
    author: str
    keeper: str
    number: int
    until: int
    over: tuple[tuple[str, int], ...]
    kept: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """The author shortened the log named `key`. It means nothing in itself: see `Document.compact`."""

    key: str
    stamp: int
    author: str
