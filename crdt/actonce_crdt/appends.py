"""The update of one append, as it goes over a link of its author: without what the link says already.

Most updates append a few small entries to the chain of the replica that sends them. A third of their bytes says, twice,
whose chain that is, and where it ends. This is no other format of updates: the receiver puts back the same bytes, and
checks them as any others.

    append = varint(clock) varint(n) (74 varint(size) bytes){n} removals
"""

from typing import Final

from .errors import UpdateInvalid
from .wire import CLOCK_MAX, Cursor, Malformed, varint

_ONE: Final = b"\1\1"
"""One chain, of one block."""
_VALUES: Final = b"\x88"
"""Values after an entry of the same chain."""


def shorten(update: bytes, client: int) -> bytes | None:
    """An update of our own without its client; None if it is not one append of this client, or its first.

    Removals that come with it, as in a compaction, stay.
    """
    author = varint(client)
    head = _ONE + author
    if not update.startswith(head):
        return None
    cursor = Cursor(update)
    cursor.pos = len(head)
    clock = cursor.varint(CLOCK_MAX)
    after = _VALUES + author + varint(clock - 1) if clock else b""
    if not clock or not update.startswith(after, cursor.pos):
        return None
    return update[len(head) : cursor.pos] + update[cursor.pos + len(after) :]


def lengthen(append: bytes, client: int) -> bytes:
    """The update that `shorten` made this of, for the same client. Of any other bytes an update that is none.

    Raises:
        UpdateInvalid: it does not even begin with a clock above 0.
    """
    cursor = Cursor(append)
    try:
        clock = cursor.varint(CLOCK_MAX)
    except (IndexError, Malformed):
        clock = 0
    if not clock:
        raise UpdateInvalid("append: it does not begin with a clock above 0")
    author = varint(client)
    return b"".join(
        (_ONE, author, append[: cursor.pos], _VALUES, author, varint(clock - 1), append[cursor.pos :]),
    )
