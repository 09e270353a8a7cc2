"""The journal on disk: SQLite in a thread of its own, with group commit.

All that was appended while one commit ran goes into the next, so the cost of an fsync is shared under load and nobody
waits when there is none. `actonce.journal` is the contract, `journal_store` the file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from actonce.edge import aside, journal_store
from actonce.edge.journal_store import FILE_NAME, Store
from actonce.edge.mark import make_mark, read_mark
from actonce.errors import JournalDamaged, JournalError, JournalFailed, JournalInUse, JournalUnreadable
from actonce.journal import Recovered, Row

LOCK_NAME = "lock"

Post = Callable[[Callable[[], None]], object]
Durable = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Whole:
    """What takes the place of all rows: see `Journal.snapshot`."""

    update: bytes
    beside: tuple[Row, ...]


class SqliteJournal:
    """A `Journal` in a folder. Made by `open_journal`; its thread owns the database from the first to the last."""

    def __init__(self, folder: Path, lock: int, post: Post, on_error: Callable[[JournalError], None]) -> None:
        self._folder = folder
        self._lock = lock
        self._post = post
        self._on_error = on_error
        self._queue = SimpleQueue[tuple[Sequence[Row] | Whole, Durable] | None]()
        self._thread = threading.Thread(name="actonce-journal", daemon=True, target=self._run)
        self._opened = SimpleQueue[Recovered | BaseException]()
        self._names = ("", "")
        self._rejoin = False
        self._closed = False

    def open(self, agent: str, replica: str, rejoin: bool) -> Recovered:
        self._names, self._rejoin = (agent, replica), rejoin
        self._thread.start()
        recovered = self._opened.get()
        if isinstance(recovered, BaseException):
            self.close()
            raise recovered
        return recovered

    def append(self, rows: Sequence[Row], durable: Durable) -> None:
        self._queue.put((rows, durable))

    def snapshot(self, update: bytes, durable: Durable, beside: Sequence[Row] = ()) -> None:
        self._queue.put((Whole(update, tuple(beside)), durable))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        os.close(self._lock)

    def _run(self) -> None:
        # The connection lives in this thread's frame alone: when a process ends without `close`, no garbage collector
        # may close it, since SQLite then removes the log, which would look like damage at the next start.
        try:
            store, recovered = open_store(self._folder, *self._names, self._rejoin)
        except BaseException as error:
            self._opened.put(error)
            return
        self._opened.put(recovered)
        try:
            self._write(store)
        except Exception as error:  # whatever it was: the engine must learn that nothing is durable any more
            self._tell(partial(self._on_error, failed(self._folder, error)))
            while self._queue.get() is not None:
                pass
        finally:
            with contextlib.suppress(sqlite3.Error):  # nothing is promised any more by now
                store.close()

    def _write(self, store: Store) -> None:
        """Commit group after group until `close`."""
        closing = False
        while not closing:
            rows: list[Row] = []
            durables: list[Durable] = []
            item = self._queue.get()
            with contextlib.suppress(Empty):
                while item is not None:
                    if isinstance(item[0], Whole):
                        store.append(rows)
                        store.snapshot(item[0].update, item[0].beside)
                        rows = []
                    else:
                        rows += item[0]
                    durables.append(item[1])
                    item = self._queue.get_nowait()
                closing = True
                self._queue.put(None)  # for `_run`, should the last commit fail
            if rows:
                store.append(rows)
            if durables:
                store.vouch()
                self._tell(partial(call_each, durables))

    def _tell(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the engine's loop is gone: nobody is left to be told
            self._post(call)


def call_each(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()


def open_journal(
    path: str | os.PathLike[str],
    *,
    agent: str,
    replica: str,
    post: Post,
    on_error: Callable[[JournalError], None],
    rejoin: bool = False,
) -> tuple[SqliteJournal, Recovered]:
    """Open the journal in the folder `path`, or make a new one there. Blocks: reads and verifies all rows.

    `post` runs a call on the engine's thread soon, in order, from any thread (`loop.call_soon_threadsafe`); it may
    raise RuntimeError once nobody listens. `on_error` is called there once, when a write fails: nothing is acknowledged
    after.

    `rejoin`: there are others to ask. Then a damaged journal is set aside (see `aside.py`), and a new one, with another
    id and what was readable, takes its place: `Recovered.damage` says so. Otherwise a damaged journal is refused.

    The new incarnation number is on disk, in the main file, before this returns. One process at a time can hold a
    journal (`flock` on `<path>/lock`, let go by the kernel when the process ends, however it ends).

    Raises:
        JournalInUse, JournalDamaged, JournalForeign, JournalTooNew, JournalUnreadable
        JournalFailed: the disk is full, or failed, during the opening.
    """
    folder = Path(path)
    journal = SqliteJournal(folder, take_lock(folder), post, on_error)
    return journal, journal.open(agent, replica, rejoin)


def take_lock(folder: Path) -> int:
    """The descriptor that holds the lock. A child that is forked without `exec` shares it, and holds it on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalUnreadable(f"no journal can be kept in {folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise JournalInUse(f"the journal in {folder} is in use by another process") from None
        raise JournalUnreadable(f"the journal in {folder} cannot be locked: {error.strerror}") from None
    return lock


def open_store(folder: Path, agent: str, replica: str, rejoin: bool) -> tuple[Store, Recovered]:
    path = folder / FILE_NAME
    try:
        aside.finish(folder)
        try:
            recovered, seq = look(folder, agent, replica)
        except JournalDamaged as error:
            if not rejoin:
                raise
            aside.set_aside(folder, error.what, agent=agent, replica=replica)
            recovered, seq = look(folder, agent, replica)
        first = int(time.time() * 1000)  # above those of a journal of this name that was lost before
        recovered = replace(recovered, incarnation=recovered.incarnation + 1 if recovered.incarnation else first)
        store = Store(path, seq, recovered.journal_id)
        try:
            store.append([Row("opened", str(recovered.incarnation).encode())])
            store.checkpoint()
        except BaseException:
            with contextlib.suppress(sqlite3.Error, OSError):
                store.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise failed(folder, error) from None
    return store, recovered


def look(folder: Path, agent: str, replica: str) -> tuple[Recovered, int]:
    """What the journal holds, and its last seq. Where there never was one, a new one is made; and only there."""
    path = folder / FILE_NAME
    if not os.path.lexists(path):
        what = ""
        if journal_store.log_of(path).exists():
            what = f"{path} is gone but its write-ahead log is there"
        elif (marked := read_mark(folder)) is not None:
            what = f"{path} is gone, and held {marked.seq} rows"
        if what:
            raise JournalDamaged(
                f"{what}: put it back, or start with --join to refetch everything from the peers; "
                "for a replica that is to begin anew, move the whole folder aside",
                what,
            )
        journal_store.create(path, agent=agent, replica=replica, journal_id=secrets.token_hex(16))
    recovered, seq = journal_store.read(path, agent=agent, replica=replica)
    if read_mark(folder) is None:
        make_mark(folder, recovered.journal_id, seq)
    return recovered, seq


def failed(folder: Path, error: Exception) -> JournalError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_READONLY or isinstance(error, PermissionError):
        why = error.strerror if isinstance(error, OSError) else error
        return JournalUnreadable(f"the journal in {folder} cannot be opened for writing: {why}")
    full = code == sqlite3.SQLITE_FULL or (isinstance(error, OSError) and error.errno == errno.ENOSPC)
    advice = "free the disk" if full else "look at the disk (dmesg, SMART)"
    return JournalFailed(f"writing the journal in {folder} failed: {error}; {advice}, then start again")
