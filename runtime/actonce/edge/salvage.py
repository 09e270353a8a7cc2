"""Reads what can be read of a damaged journal. Works on copies, since SQLite repairs and forgets as it reads."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actonce.edge.journal_store import FILE_NAME, log_of
from actonce.edge.mark import read_mark
from actonce.journal import Row, checksum
from actonce.recovery import Found, Verdict, is_sound, judge

UNREADABLE = (sqlite3.Error, UnicodeError, MemoryError, OverflowError)
"""What reading a damaged database raises; MemoryError: a damaged length."""


@dataclass(frozen=True, slots=True)
class Salvage:
    """What is left of a journal. `identity` is what its first row says, or {}; `journal` its id, or "" if unknown."""

    identity: dict[str, Any]
    journal: str
    verdict: Verdict


def salvage(folder: Path) -> Salvage:
    """All rows of the journal in `folder` that are as they were written. The folder is left as it is.

    OSError passes through: a copy of the files has to fit on the disk.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="salvage-") as name:
        copy = Path(name) / FILE_NAME
        for file in (folder / FILE_NAME, log_of(folder / FILE_NAME)):
            if file.is_file():
                shutil.copyfile(file, copy.with_name(file.name))
        image, head = read_image(copy)
        if not image and log_of(copy).exists():  # with a log that stops SQLite: what is in the main file
            log_of(copy).unlink()
            image, head = read_image(copy)
    marked = read_mark(folder)
    verdict = judge(image, max(head, marked.seq if marked is not None else 0))
    identity = {}
    if image and image[0].seq == 1 and is_sound(image[0]) and image[0].row.kind == "journal":
        identity = json.loads(image[0].row.data)
    return Salvage(identity, identity.get("id", marked.journal if marked is not None else ""), verdict)


def read_image(path: Path) -> tuple[list[Found], int]:
    """Every row that SQLite still finds, sound or not, and the seq in the head, 0 when it is not sound."""
    if not path.is_file():
        return [], 0
    try:
        with closing(sqlite3.connect(path)) as db:
            head = _head(db)
            return list(_rows(db, head)), head
    except UNREADABLE:
        return [], 0


def _head(db: sqlite3.Connection) -> int:
    try:
        seq, state, stated = db.execute("SELECT seq, state, sum FROM head").fetchone()
        return int(seq) if stated == checksum(seq, state, b"head") else 0
    except (*UNREADABLE, TypeError, AttributeError):
        return 0


def _rows(db: sqlite3.Connection, head: int) -> Iterator[Found]:
    """In order as long as that works; beyond a page that cannot be read, one by one."""
    last = 0
    try:
        for seq, kind, data, stated in db.execute("SELECT seq, kind, data, sum FROM rows ORDER BY seq"):
            if isinstance(seq, int) and seq > last and isinstance(kind, str) and isinstance(data, bytes):
                last = seq
                yield Found(seq, Row(kind, data), stated)
        return
    except UNREADABLE:
        pass
    for seq in range(last + 1, head + 1):
        try:
            row = db.execute("SELECT kind, data, sum FROM rows WHERE seq = ?", (seq,)).fetchone()
        except UNREADABLE:
            continue
        if row is not None and isinstance(row[0], str) and isinstance(row[1], bytes):
            yield Found(seq, Row(row[0], row[1]), row[2])
