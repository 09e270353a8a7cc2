"""The SQLite file of a journal: made whole, verified whole, then only appended to. One thread at a time; it blocks.

    rows(seq, kind, data, sum)    seq counts from 1 without a gap; sum = checksum(seq, kind, data)
      row 1, "journal"            JSON: format, id, agent, replica. Its shape stays the same in all later formats
      "opened"                    the incarnation number, once for each opening
      "update", "view", "text", "meta"    what the replica appended
      "snapshot"                  follows row 1, with a gap in seq: the incarnation number. All rows between were
                                  replaced by the "view", the "update" and the "text" after it, in one transaction
    head(one, seq, state, sum)    the last seq, and "open" or "closed": a row that damage hides is missed

Beside it lies the mark (`mark.py`), which tells an end that was cut off from one that never reached the disk.

SQLite's own integrity check misses most flipped bits, the checksums miss what could hurt a later write (a free list
that points at live pages), so both are asked. Read a journal with other tools only in a copy, or with
`sqlite3 -readonly`: a tool that may write deletes the write-ahead log, and that is taken for damage.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from actonce.edge.mark import Mark, read_mark
from actonce.edge.wal import wal_is_damaged
from actonce.errors import JournalDamaged, JournalForeign, JournalTooNew, JournalTooOld, JournalUnreadable
from actonce.journal import TEXT, UPDATE, VIEW, Recovered, Row, checksum
from actonce.recovery import SNAPSHOT

FORMAT = 1
FILE_NAME = "journal.db"
FILE_HEADER_BYTES = 100
MAGIC = b"SQLite format 3\x00"
IN_WAL_MODE = b"\x02\x02"  # bytes 18 and 19 of the file

OPEN, CLOSED = "open", "closed"
OPENED = "opened"

SCHEMA = """
    CREATE TABLE rows (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL, sum BLOB NOT NULL);
    CREATE TABLE head (one INTEGER PRIMARY KEY, seq INTEGER NOT NULL, state TEXT NOT NULL, sum BLOB NOT NULL);
"""


class Store:
    """An open journal file. SQLite's errors pass through `append` and `close`."""

    def __init__(self, path: Path, seq: int, journal_id: str) -> None:
        self._path = path
        self._seq = seq
        self._mark = Mark(path.parent, journal_id)
        self._db = connect(path)
        self._whole = True

    def append(self, rows: Sequence[Row], state: str = OPEN) -> None:
        """Write `rows` in one transaction; they are on disk when this returns. After an error, only `close`."""
        self._whole = False
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._insert(rows, state)
        self._whole = True

    def _insert(self, rows: Sequence[Row], state: str) -> None:
        first = self._seq + 1
        self._db.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?)",
            [(seq, row.kind, row.data, checksum(seq, row.kind, row.data)) for seq, row in enumerate(rows, first)],
        )
        self._seq += len(rows)
        write_head(self._db, self._seq, state)

    def snapshot(self, update: bytes, beside: Sequence[Row] = ()) -> None:
        """Let `update`, and the rows `beside` it, take the place of all that hold changes: in one transaction, on disk
        when this returns."""
        self._whole = False
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            newest = "SELECT data FROM rows WHERE kind IN (?, ?) ORDER BY seq DESC LIMIT 1"
            rows = [Row(SNAPSHOT, *self._db.execute(newest, (OPENED, SNAPSHOT)).fetchone())]
            view = self._db.execute(newest, (VIEW, VIEW)).fetchone()
            rows += [Row(VIEW, view[0])] if view is not None else []
            self._db.execute("DELETE FROM rows WHERE seq > 1")
            self._insert([*rows, Row(UPDATE, update), *beside], OPEN)
        self._whole = True

    def vouch(self) -> None:
        """Say in the mark that all of it is on disk: before anybody else is told."""
        self._mark.write(self._seq)

    def checkpoint(self) -> None:
        """Move all into the main file: what is in it by now outlives even the loss of the write-ahead log."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.vouch()
        self._mark.sync()

    def close(self) -> None:
        try:
            if self._whole:
                self.append((), CLOSED)
                self.vouch()
        finally:
            self._db.close()
            self._mark.close()
            if not self._whole:
                with suppress(OSError):  # SQLite removes a log that is in the file by now: it is empty then, not lost
                    log_of(self._path).touch()


def connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    return db


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def write_head(db: sqlite3.Connection, seq: int, state: str) -> None:
    db.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)", (seq, state, checksum(seq, state, b"head")))


def create(path: Path, *, agent: str, replica: str, journal_id: str) -> None:
    """Make a new journal file under another name, then move it to `path`: no crash leaves half of one there."""
    draft = path.with_name(path.name + ".new")
    for suffix in ("-wal", "-shm", ""):  # of a crash here before: an old log would be replayed into the new file
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    identity = {"format": FORMAT, "id": journal_id, "agent": agent, "replica": replica}
    data = json.dumps(identity, sort_keys=True).encode()
    with closing(connect(draft)) as db:
        db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        db.execute("BEGIN")
        db.execute("INSERT INTO rows VALUES (1, 'journal', ?, ?)", (data, checksum(1, "journal", data)))
        write_head(db, 1, CLOSED)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # as closing does, but this one raises when it fails
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path, *, agent: str, replica: str) -> tuple[Recovered, int]:
    """All that a journal holds, as of before this opening, and its last seq. A refused journal is left as it was.

    Raises:
        JournalDamaged, JournalForeign, JournalTooNew, JournalUnreadable
    """
    has_log = check_files(path)
    address = path.resolve().as_uri() + ("?mode=ro" if has_log else "?mode=ro&immutable=1")  # makes no empty log
    try:
        with closing(sqlite3.connect(address, uri=True)) as db:
            seq, rows = read_rows(path, db, has_log)
    except (sqlite3.Error, UnicodeError, MemoryError) as error:  # MemoryError: a damaged length
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:
            raise JournalUnreadable(f"the journal {path} cannot be opened: {error}") from None
        raise damaged(path, str(error)) from None
    identity = json.loads(rows[0].data)
    if (identity["agent"], identity["replica"]) != (agent, replica):
        raise JournalForeign(
            f"the journal {path} belongs to replica {identity['replica']!r} of agent {identity['agent']!r}, "
            f"not to replica {replica!r} of agent {agent!r}"
        )
    check_mark(path, identity["id"], seq)
    views = [row.data for row in rows if row.kind == VIEW]
    updates = tuple(row.data for row in rows if row.kind == UPDATE)
    after = identity.get("after", {})  # what this journal came in place of: see `aside.py`
    damage = "" if views else after.get("damage", "")
    recovered = Recovered(
        journal_id=identity["id"],
        incarnation=max((int(row.data) for row in rows if row.kind in (OPENED, SNAPSHOT)), default=0),
        updates=updates,
        view=views[-1] if views else None,
        # A process that died before its first view was on disk leaves a journal that is as good as new.
        new=not views and not damage and (not updates or after.get("new", False)),
        damage=damage,
        replaces=after.get("journal", ""),
        texts=tuple(row.data for row in rows if row.kind == TEXT),
    )
    return recovered, seq


def check_mark(path: Path, journal_id: str, seq: int) -> None:
    """Whether rows that were durable are missing at the end, which nothing else shows."""
    marked = read_mark(path.parent)
    if marked is None:
        if seq > 1:  # with one row, its process ended between making the journal and making the mark
            raise damaged(path, "its mark is gone, so nobody knows whether it is complete")
    elif not marked.journal:
        raise damaged(path, "its mark is unreadable, so nobody knows whether it is complete")
    elif marked.journal != journal_id:
        raise damaged(path, f"its mark is that of journal {marked.journal}, so it is another one than was here before")
    elif marked.seq > seq:
        raise damaged(path, f"rows {seq + 1} to {marked.seq} were on the disk and are gone")


def check_files(path: Path) -> bool:
    """What has to be seen before SQLite touches the files: it would repair, or forget, without a word.

    Returns whether there is a write-ahead log.
    """
    try:
        with path.open("rb") as file:
            header = file.read(FILE_HEADER_BYTES)
        has_log = log_of(path).exists()
        log = log_of(path).read_bytes() if has_log else b""
    except OSError as error:
        raise JournalUnreadable(f"the journal {path} cannot be read: {error.strerror}") from None
    alike = sum(one == other for one, other in zip(header, MAGIC, strict=False))
    if alike < len(header[: len(MAGIC)]) / 2 and read_mark(path.parent) is None:
        raise JournalUnreadable(f"{path} is not a journal")
    if header[: len(MAGIC)] != MAGIC or header[18:20] != IN_WAL_MODE:
        raise damaged(path, "its first bytes are not those of a journal")
    if wal_is_damaged(log):
        raise damaged(log_of(path), "rows in its middle fail their checksums")
    return has_log


def read_rows(path: Path, db: sqlite3.Connection, has_log: bool) -> tuple[int, list[Row]]:
    """All rows, verified against their checksums, the head and SQLite's own check."""
    rows: list[Row] = []
    expected = 0
    for seq, kind, data, stated in db.execute("SELECT * FROM rows ORDER BY seq"):
        expected = seq if expected == 1 and kind == SNAPSHOT and isinstance(seq, int) else expected + 1
        if seq != expected or not isinstance(kind, str) or not isinstance(data, bytes):
            raise damaged(path, f"row {expected} is missing or unreadable")
        if stated != checksum(seq, kind, data):
            raise damaged(path, f"row {seq} fails its checksum")
        if seq == 1:
            check_format(path, kind, data)
        rows.append(Row(kind, data))
    head = db.execute("SELECT one, seq, state, sum FROM head").fetchall()
    if not rows or len(head) != 1 or not isinstance(head[0][1], int) or head[0][2] not in (OPEN, CLOSED):
        raise damaged(path, f"its head is missing or unreadable, {len(rows)} rows are there")
    one, seq, state, stated = head[0]
    if one != 1:  # the next head would not take its place, but stand beside it
        raise damaged(path, "its head is not where it was")
    if stated != checksum(seq, state, b"head") or seq != expected:
        raise damaged(path, f"row {expected + 1} is missing, or the head is wrong")
    if state == OPEN and not has_log:
        raise damaged(path, f"it was not closed, and its last rows are gone with {log_of(path).name}")
    if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise damaged(path, str(verdict))
    return seq, rows


def check_format(path: Path, kind: str, data: bytes) -> None:
    """Row 1, as soon as it is read: later formats may differ in all the rest."""
    written = json.loads(data)["format"] if kind == "journal" else 0
    if written > FORMAT:
        raise JournalTooNew(
            f"the journal {path} has format {written}, this version of Actonce reads up to {FORMAT}: upgrade it"
        )
    if kind != "journal":
        raise damaged(path, "row 1 does not say what it is")
    if written != FORMAT:
        raise JournalTooOld(
            f"the journal {path} has format {written}, this version of Actonce reads only {FORMAT}: export it with the "
            "version that wrote it (actonce journal export), and import that file"
        )


def damaged(path: Path, what: str) -> JournalDamaged:
    what = " ".join(what.split())
    return JournalDamaged(
        f"the journal {path} is damaged ({what}): start with --join and the address of another replica, to refetch "
        "what is lost; if there is no other, see `actonce journal repair --help`",
        what,
    )
