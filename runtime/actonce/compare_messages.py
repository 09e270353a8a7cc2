"""What two replicas with many chains say to find where their documents differ: see `comparing`.

Each is a msgpack array `[tag, ...]`; tags from 64 on. What is inside the bytes is checked when it is used, since only
the side that asked knows how many buckets it asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NUMBER_MAX = 2**50
"""Nobody counts so far on one link."""
SUMS_BYTES_MAX = 8 * 1024
ROWS_BYTES_MAX = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sums:
    """Fingerprints of all chains of the sender, at one moment: compare them with yours, and answer with `Rows`."""

    moment: int
    """Which of the sender's tables on this link; the answer names it."""
    sums: bytes
    back: bool
    """The sender wants the receiver's as well: it may lack something."""


@dataclass(frozen=True, slots=True)
class Rows:
    """All that the sender holds: in the buckets named here these rows, in all others what the receiver had at `moment`.

    So it is at once a statement of all that the sender has read, and, with `ask`, a question for what it lacks.
    """

    moment: int
    number: int
    """The statements of the sender on this link are counted from 1."""
    rows: bytes
    ask: bool


CompareMessage = Sums | Rows


def body_of(message: CompareMessage) -> list[Any]:
    """The array that stands for a message."""
    match message:
        case Sums(moment, sums, back):
            return [64, moment, sums, back]
        case Rows(moment, number, rows, ask):
            return [65, moment, number, rows, ask]


def read(body: list[Any]) -> CompareMessage | None:
    """What `body_of` made; None for what it never makes."""
    match body:
        case [64, int(moment), bytes(sums), bool(back)] if _is_number(moment) and len(sums) <= SUMS_BYTES_MAX:
            return Sums(moment, sums, back)
        case [65, int(moment), int(number), bytes(rows), bool(ask)] if len(rows) <= ROWS_BYTES_MAX:
            if _is_number(moment) and _is_number(number):
                return Rows(moment, number, rows, ask)
    return None


def _is_number(value: int) -> bool:
    return not isinstance(value, bool) and 0 < value <= NUMBER_MAX
