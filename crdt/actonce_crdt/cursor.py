"""How far a polled source was read: the entry, and the join.

Every claim on polling a source has a higher epoch than those before it, and counts its cursors on from the last one
that it knew. So the largest (epoch, number) is the word of whoever polled last, however late an older one arrives.
"""

from .facts import Blob, Count, Fact, Number


class Cursor(Fact, frozen=True, tag="cursor"):
    """Of the source named `key`, all up to `value` (`pack_value` of something opaque) has become tasks.

    The author wrote it under its claim of `epoch`, as the `number`-th cursor of the source.
    """

    epoch: Count
    number: Number
    value: Blob


def cursor_order(cursor: Cursor) -> tuple[int | str, ...]:
    """What is largest counts."""
    return (cursor.epoch, cursor.number, cursor.stamp, cursor.author)
