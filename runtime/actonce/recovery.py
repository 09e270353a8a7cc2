"""What of a journal may be believed, and what a replica starts from when not all of it may. Pure.

A journal whose last rows were still on their way to the disk when its process ended has lost nothing: nobody was told
of them. Anything else that is missing was *durable*: others may have acted on it, and we may have promised what we do
not remember. Then the replica does not go on with that journal. It takes what is readable into a new one, with a new
id (so that a voter that forgot its grants is another voter, and a holder of rights that forgot what it spent another
holder) and without a view (so that it settles on the word of a replica that remembers, never on its own).

Not promised: that everything is found. The checksums have no key, and a disk that was rolled back as a whole, with its
mark, is a consistent journal; what others know of us shows that (`Ledger.forgotten`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actonce.journal import TEXT, UPDATE, Row, checksum
from actonce_crdt import CrdtError, Document, TextDocument

SNAPSHOT = "snapshot"
"""Kind of a row that takes the place of all rows between the first and it."""

NAMED_MAX = 3
"""Ranges of lost rows that are named one by one."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row as it lies on the disk; `sum` is the checksum that stands beside it."""

    seq: int
    row: Row
    sum: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rows` are those that are as they were written, in order. `lost` says what is not, or is empty."""

    rows: tuple[Row, ...]
    lost: str


def is_sound(found: Found) -> bool:
    """Whether a row is as it was written, in the place where it was written."""
    return found.sum == checksum(found.seq, found.row.kind, found.row.data)


def judge(image: Sequence[Found], durable: int) -> Verdict:
    """What of these rows, in order, may be believed; rows up to `durable` are known to have been on the disk.

    Args:
        durable: the largest seq that the head of the journal, or its mark, vouches for.
    """
    sound = [found for found in image if is_sound(found)]
    there = {found.seq for found in sound}
    last = max([durable, *(found.seq for found in image)], default=0)
    replaced = max((found.seq for found in sound if found.row.kind == SNAPSHOT), default=1)
    missing = [seq for seq in range(1, last + 1) if seq not in there and not 1 < seq < replaced]
    return Verdict(tuple(found.row for found in sound), name_rows(missing))


def name_rows(missing: Sequence[int]) -> str:
    """For people: "rows 3 to 7, 12 and 40 to 41", or "" for none."""
    ranges: list[list[int]] = []
    for seq in missing:
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1][1] = seq
        else:
            ranges.append([seq, seq])
    if not ranges:
        return ""
    named = [f"{first} to {last}" if first < last else str(first) for first, last in ranges[:NAMED_MAX]]
    rest = sum(last - first + 1 for first, last in ranges[NAMED_MAX:])
    if rest:
        named.append(f"{rest} more")
    text = named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1]
    return f"row{'s' if len(missing) > 1 else ''} {text}"


def believable(updates: Iterable[bytes]) -> list[bytes]:
    """Those updates, in order, that a document takes one after the other.

    What builds on a lost row does not; if others have it, it comes back from them.
    """
    document, taken = Document("recovery", 1), []
    for update in updates:
        try:
            document.integrate(update)
        except CrdtError:
            continue
        taken.append(update)
    return taken


def salvaged(rows: Iterable[Row]) -> list[Row]:
    """The rows with which a new journal begins, in place of one that holds only these: updates, and no view."""
    rows = list(rows)
    updates = believable(row.data for row in rows if row.kind in (UPDATE, SNAPSHOT))
    texts = believable_texts(row.data for row in rows if row.kind == TEXT)
    return [*(Row(UPDATE, update) for update in updates), *(Row(TEXT, text) for text in texts)]


def believable_texts(rows: Iterable[bytes]) -> list[bytes]:
    """As `believable`, of the texts' document."""
    document, taken = TextDocument(1), []
    for row in rows:
        try:
            document.take(document.parse(row))
        except CrdtError:
            continue
        taken.append(row)
    return taken
