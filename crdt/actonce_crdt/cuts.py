"""Entries of compaction; what they mean, and why they are safe, is in `horizon` and `compaction`."""

from .facts import Fact, Key, Marks, Number, Stamp, Versions


class Floor(Fact, frozen=True, tag="floor"):
    """What was asked for up to the stamp `until`, and is not among `kept`, begins no more.

    `keeper` is the journal that says so, written ``name/journal``, in its `number`-th floor (from 1). `over` lists the
    floors that it had read, all that those covered included: (keeper, number), sorted. `kept` holds a mark for
    each task that was unfinished then, sorted.
    """

    keeper: Key
    number: Number
    until: Stamp
    over: Versions
    kept: Marks


class Cut(Fact, frozen=True, tag="cut"):
    """The author shortened the log named `key`. It means nothing in itself: see `Document.compact`."""
