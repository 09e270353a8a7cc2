"""What a replica keeps on its own disk: an append-only log of rows, and what is read back from it at the next start.

The contract only; `actonce.edge.journal` is the one on SQLite. The order of things is what matters here: an entry is on
disk before it is gossiped, so a replica acts on its `durable` callback, never on the return of `append`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

CHECKSUM_BYTES = 8

UPDATE = "update"
"""Kind of a row that holds an update of the document."""

VIEW = "view"
"""Kind of a row that holds the view a replica acts under; the last one counts."""

TEXT = "text"
"""Kind of a row that holds an update of the texts' document."""

META = "meta"
"""Kind of a row for people and tools: kept and checked, never read back."""


@dataclass(frozen=True, slots=True)
class Row:
    """`kind` is one of UPDATE, VIEW, TEXT and META; `data` is opaque here."""

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an opened journal held."""

    journal_id: str
    """Made when the journal was created: two journals never share one, whatever name their replicas have."""
    incarnation: int
    """Grows with each opening of this journal; on disk before anybody learns of it. Starts at the unix time in
    milliseconds, so that a journal made in place of a lost one does not repeat the incarnations of that one."""
    updates: tuple[bytes, ...]
    """In order of appending."""
    view: bytes | None
    new: bool
    """Nobody has acted on it yet: it was just made, or imported, or its replica ended before it had settled."""
    damage: str = ""
    """What was lost, for people, when this journal was made in place of a damaged one and has no view yet. Then `view`
    is None and `new` False: only others can say what was forgotten."""
    replaces: str = ""
    """Id of the journal that this one was made in place of, under its lock; "" where there is none, or nobody knows."""
    texts: tuple[bytes, ...] = ()
    """Updates of the texts' document, in order of appending."""


class Journal(Protocol):
    """Rows on disk, in order.

    Guaranteed: rows reach the disk in order of `append`, those of one call together or not at all; `durable` is called
    once they would survive a loss of power, in order of `append`, on the engine's thread, never from within `append`.

    Not guaranteed: that `durable` is ever called. After a write error, and after `close`, rows are dropped in silence.
    Rows whose `durable` was not yet called may be there at the next start all the same.
    """

    def append(self, rows: Sequence[Row], durable: Callable[[], None]) -> None:
        """Queue `rows`; never blocks. With no rows `durable` follows that of the append before. Engine's thread."""
        ...

    def snapshot(self, update: bytes, durable: Callable[[], None], beside: Sequence[Row] = ()) -> None:
        """Queue an update that stands for all that were appended before, and, with the rows `beside` it, takes the
        place of all rows but the last view: all or nothing."""
        ...

    def close(self) -> None:
        """Write what is queued, report it durable, let go of the files. Blocks. A second call does nothing."""
        ...


def checksum(seq: int, kind: str, data: bytes) -> bytes:
    """BLAKE2b-64 of a row and its place. Finds damage by accident, not forgery: it has no key."""
    name = kind.encode()
    digest = hashlib.blake2b(seq.to_bytes(8) + len(name).to_bytes(2) + name, digest_size=CHECKSUM_BYTES)
    digest.update(data)
    return digest.digest()
