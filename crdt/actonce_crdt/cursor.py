"""How far a polled source was read: the entry, and the join.

Every claim on polling a source has a higher epoch than those before it, and counts its cursors on from the last one
that it knew. So the largest (epoch, number) is the word of whoever polled last, however late an older one arrives.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cursor:
    """Of the source named `key`, all up to `value` (`pack_value` of something opaque) has become tasks.

    The author wrote it under its claim of `epoch`, as the `number`-th cursor of the source.
    """

    key: str
    stamp: int
    author: str
    epoch: int
    number: int
    value: bytes


def cursor_order(cursor: Cursor) -> tuple[int | str, ...]:
    """What is largest counts."""
    return (cursor.epoch, cursor.number, cursor.stamp, cursor.author)
