"""The least that a heal can take: round trips, the missing bytes on the wire, and the library's bare apply of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pycrdt import Doc

from actonce_crdt import Document

ROUND_TRIPS = 1.5
"""One side learns what the other has, asks for what it lacks, is sent it."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What the replica that lacks most has to get."""

    entries: int
    size: int
    """Of the smallest update that holds it, in bytes."""
    apply_s: float
    """CPU seconds that pycrdt takes to apply that update, without any check of ours."""


def measure_missing(documents: Sequence[Document]) -> Missing:
    """Compare these documents, one of each side, and apply what is missing, on this machine, now."""
    union: Doc[Any] = Doc()
    for document in documents:
        union.apply_update(document.diff({}))
    clocks: dict[int, int] = {}
    for document in documents:
        for client, clock in document.state_vector().items():
            clocks[client] = max(clock, clocks.get(client, 0))
    found = Missing(0, 0, 0.0)
    for document in documents:
        mine = document.state_vector()
        entries = sum(clock - mine.get(client, 0) for client, clock in clocks.items())
        update = union.get_update(document.encoded_state_vector())
        if entries > found.entries:
            found = Missing(entries, len(update), _apply(document.diff({}), update))
    return found


def _apply(base: bytes, update: bytes) -> float:
    """The best of a few: the first ones warm the caches, and other programs disturb."""
    best = float("inf")
    for _ in range(3):
        doc: Doc[Any] = Doc()
        doc.apply_update(base)
        began = time.thread_time()
        doc.apply_update(update)
        best = min(best, time.thread_time() - began)
    return best
