"""Damage to what is on a simulated disk, as disks and careless hands do it; and the truth about what it took.

tail     the last rows are gone, as when a write-ahead log was cut off: the rest is a sound, older journal
torn     the last row is not whole
flip     single bits of some rows
cut      all rows from one on are gone, and the head says that there were more
gone     nothing is left but the mark
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from actonce.journal import UPDATE, Row, checksum
from actonce.recovery import Found, is_sound, salvaged
from actonce.sim.disk import Disk
from actonce_crdt import Document, EntryInvalid, decode

WAYS = ("tail", "torn", "flip", "cut", "gone")
FLIPS_MAX = 3
TAIL_MAX = 8


@dataclass(frozen=True, slots=True)
class Damage:
    """kill -9, and what was on the disk is damaged, in one of these ways; it starts again after `for_s`.

    Not drawn by default: of what only that disk held, nothing is left.
    """

    at: float
    replica: str
    way: str
    for_s: float


def damage(disk: Disk, rng: random.Random, way: str) -> bool:
    """Damage the disk of a process that is dead. Whether a row that was durable is gone or changed."""
    image = [Found(seq, row, checksum(seq, row.kind, row.data)) for seq, row in enumerate(disk.rows, 1)]
    head = len(image)
    if way == "tail":
        del image[max(0, head - rng.randint(1, TAIL_MAX)) :]
        head = len(image)
    elif way == "cut":
        del image[rng.randrange(head + 1) :]
    elif way == "gone":
        image.clear()
        head = 0
    elif image:
        whole = list(image)
        places = [head - 1] if way == "torn" else rng.sample(range(head), rng.randint(1, min(head, FLIPS_MAX)))
        for place in places:
            image[place] = _torn(image[place], rng) if way == "torn" else _flipped(image[place], rng)
        disk.image = image, head
        return image != whole
    disk.image = image, head
    return len(image) < max(disk.mark, head)


def _torn(found: Found, rng: random.Random) -> Found:
    data = found.row.data
    return Found(found.seq, Row(found.row.kind, data[: rng.randrange(len(data))] if data else data), found.sum)


def _flipped(found: Found, rng: random.Random) -> Found:
    data = bytearray(found.row.data)
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return Found(found.seq, Row(found.row.kind, bytes(data)), found.sum)


def lost_for_all(victim: Disk, before: list[Row], others: Iterable[Disk]) -> set[str]:
    """Keys of entries that were on this disk alone, and are not readable there any more."""
    left = [found.row for found in victim.image[0] if is_sound(found)] if victim.image is not None else victim.rows
    elsewhere = [other.rows[: other.synced] for other in others if other is not victim]
    return keys_only_in(before, [make_document(rows) for rows in (left, *elsewhere)])


def keys_only_in(rows: Iterable[Row], others: Iterable[Document]) -> set[str]:
    """Keys of entries in the updates of `rows` that none of the other documents holds."""
    mine, known = make_document(rows), [other.state_vector() for other in others]
    keys = set()
    for entry in mine.entries():
        client, clock = entry.id
        if all(clock >= vector.get(client, 0) for vector in known):
            try:
                keys.add(decode(entry.data).key)
            except EntryInvalid:
                continue
    return keys


def make_document(rows: Iterable[Row]) -> Document:
    """What a process would read from these rows."""
    document = Document("any", 1)
    for row in salvaged(rows):
        if row.kind == UPDATE:
            document.integrate(row.data)
    return document
