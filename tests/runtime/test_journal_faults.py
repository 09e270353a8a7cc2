"""Faults of a real disk under a real process: an fsync that fails, or in which the process is killed; a full disk, one
that cannot be written; flipped bits, files cut short or gone. What was durable is there, or its loss is said.

strace makes the faults (`apt-get install strace`). Where it is not allowed or not there, its tests are skipped, and the
run says so in its summary; the damage to files is done in any case.

    JOURNAL_ROUNDS=200 pytest tests/runtime/test_journal_faults.py        # the long run
"""

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actonce.edge import aside, journal_store
from actonce.edge.journal import open_journal
from actonce.edge.mark import read_mark
from actonce.journal import Recovered
from actonce_crdt import Document

from .documents import STRACE, Written, fail, run_writer, written

ROUNDS = int(os.environ.get("JOURNAL_ROUNDS", "1"))
SYNCS_AT_START = 17
"""Up to so many syncs come before the first commit."""
needs_strace = pytest.mark.skipif(STRACE is None, reason="NOT TESTED: faults at fsync; apt-get install strace")


def open_again(folder: Path, *, rejoin: bool) -> Recovered:
    journal, recovered = open_journal(
        folder, agent="kevin", replica="a", post=lambda call: None, on_error=fail, rejoin=rejoin
    )
    journal.close()
    return recovered


def flip(path: Path, rng: random.Random) -> str:
    bit = rng.randrange(path.stat().st_size * 8)
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
    return f"bit {bit} of {path.name}"


def cut(path: Path, rng: random.Random) -> str:
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} cut to {size} bytes"


def lose(path: Path, rng: random.Random) -> str:
    path.unlink()
    return f"{path.name} is gone"


DAMAGES: tuple[Callable[[Path, random.Random], str], ...] = (flip, flip, cut, lose)


def damage(folder: Path, rng: random.Random) -> str:
    """One random damage to one of the files."""
    files = [folder / "journal.db", folder / "journal.db-wal", folder / "mark"]
    there = [file for file in files if file.exists() and file.stat().st_size]
    return rng.choice(DAMAGES)(rng.choice(there), rng) if there else "nothing is there"


def fault(rng: random.Random) -> str:
    """One fault of the disk, somewhere from the making of the journal to its closing."""
    when = rng.randint(1, SYNCS_AT_START + 25)
    return rng.choice(
        [
            f"fdatasync:signal=KILL:when={when}",
            f"fdatasync:signal=KILL:when={when}",
            f"fdatasync:error=EIO:when={when}",
            f"pwrite64:error=ENOSPC:when={4 * when}+",
            f"pwrite64:error=EIO:when={4 * when}",
            f"pwrite64:signal=KILL:when={4 * when}",
            f"fsync:signal=KILL:when={rng.randint(1, 4)}",
        ]
    )


def check(folder: Path, done: Written, what: str, *, damaged: bool) -> bool:
    """What must hold of a journal after a fault and, perhaps, a damage. Returns whether a loss was reported."""
    marked = read_mark(folder)
    recovered = open_again(folder, rejoin=True)
    assert set(recovered.updates) <= set(done.tried), f"never written: {what}"
    if recovered.damage:
        assert damaged, f"{recovered.damage}, but nothing was damaged: {what}"
        assert marked is None or marked.journal in ("", recovered.replaces), what
        assert recovered.journal_id != recovered.replaces, what
        assert (recovered.view, recovered.new) == (None, False), what
        assert (folder / "damaged-1").is_dir(), what
    else:
        assert set(done.durable) <= set(recovered.updates), f"lost in silence: {what}"
    assert_equal_again(recovered.updates, done, what)
    again = open_again(folder, rejoin=False)
    assert again.updates == recovered.updates, what
    assert (again.journal_id, again.damage) == (recovered.journal_id, recovered.damage), what
    return bool(recovered.damage)


def assert_equal_again(updates: tuple[bytes, ...], done: Written, what: str) -> None:
    """With a peer that has read all that was durable, both sides come to the same digest."""
    mine, theirs = Document("a", 1), Document("b", 2)
    for update in updates:
        mine.integrate(update)
    for update in done.durable:
        theirs.integrate(update)
    mine.integrate(theirs.diff(mine.state_vector()))
    theirs.integrate(mine.diff(theirs.state_vector()))
    assert mine.digest == theirs.digest, what
    assert mine.state_vector() == theirs.state_vector(), what


@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_damage_is_silent_and_none_diverges(number: int, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    folder = tmp_path / "journal"
    done = run_writer(folder, rng.choice([1, 5, 60]), kill=rng.random() < 0.7)
    what = f"{damage(folder, rng)}, seed {seed}"
    check(folder, done, what, damaged=True)


class Anything(bytes):
    """Equal to any checksum."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


def checksum_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal_store, "checksum", lambda seq, kind, data: Anything())


def mark_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal_store, "check_mark", lambda path, journal_id, seq: None)


def started_as_empty(patch: pytest.MonkeyPatch) -> None:
    """What is damaged is removed, and the replica begins anew."""

    def remove(folder: Path, why: str, **names: object) -> None:
        for file in folder.iterdir():
            if file.is_file() and file.name != "lock":
                file.unlink()

    patch.setattr(aside, "set_aside", remove)


def journal_id_kept(patch: pytest.MonkeyPatch) -> None:
    """The repaired journal has the id of the damaged one."""
    make = aside.write_draft

    def made(folder: Path, *, journal: str, after: dict[str, Any], **rest: Any) -> None:
        make(folder, journal=after["journal"], after=after, **rest)

    patch.setattr(aside, "write_draft", made)


def change_a_row(folder: Path) -> None:
    """One byte of the last update, as SQLite sees it: its own checks find nothing."""
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as db, db:
        changed = "substr(data, 1, length(data) - 1) || x'ff'"
        db.execute(f"UPDATE rows SET data = CAST({changed} AS BLOB) WHERE seq = (SELECT max(seq) - 1 FROM rows)")


def set_back(folder: Path) -> None:
    """The last rows are gone, and the head agrees with that."""
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as db, db:
        db.execute("DELETE FROM rows WHERE seq > (SELECT max(seq) - 3 FROM rows)")
        (seq,) = db.execute("SELECT max(seq) FROM rows").fetchone()
        journal_store.write_head(db, seq, "closed")


@pytest.mark.parametrize(
    ("bug", "hurt"),
    [
        (checksum_ignored, change_a_row),
        (mark_ignored, set_back),
        (started_as_empty, change_a_row),
        (journal_id_kept, change_a_row),
        (journal_id_kept, set_back),
    ],
    ids=lambda value: value.__name__,
)
def test_a_planted_bug_is_found(
    bug: Callable[[pytest.MonkeyPatch], None], hurt: Callable[[Path], None], tmp_path: Path
) -> None:
    """The check of the tests above passes on this damage, and fails with the bug."""
    for planted in (False, True):
        folder = tmp_path / str(planted)
        updates = written(folder, 8)
        done = Written(0, updates, updates, "")
        hurt(folder)
        with pytest.MonkeyPatch.context() as patch:
            if planted:
                bug(patch)
                with pytest.raises(AssertionError):
                    check(folder, done, "planted", damaged=True)
            else:
                assert check(folder, done, "not planted", damaged=True)


@needs_strace
@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_fault_of_the_disk_is_silent_and_none_diverges(number: int, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    folder = tmp_path / "journal"
    inject = fault(rng)
    done = run_writer(folder, 20, kill=False, inject=inject)
    what = f"{inject}, seed {seed}, {done.error}"
    if ":error=" in inject and done.status != 0:
        assert done.error.startswith(("JournalFailed: ", "JournalUnreadable: ")), what
        assert len(done.tried) <= len(done.durable) + 1, what
    then = ""
    if rng.random() < 0.5 and folder.exists():
        then = damage(folder, rng)
    check(folder, done, f"{what}, {then}", damaged=bool(then))


@needs_strace
def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = run_writer(tmp_path / "journal", 20, kill=False, inject="pwrite64:error=ENOSPC:when=70+")
    assert done.status == 1
    assert done.error.endswith("failed: database or disk is full; free the disk, then start again")
    assert 0 < len(done.durable) < len(done.tried) <= 20


@needs_strace
def test_a_disk_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    run_writer(folder, 2, kill=False)
    done = run_writer(folder, 2, kill=False, inject="pwrite64:error=EROFS:when=1+")
    assert done.status == 1
    assert done.error.startswith(("JournalFailed: ", "JournalUnreadable: ")), done.error
    assert done.durable == []


@needs_strace
def test_a_slow_disk_is_slow_and_nothing_else(tmp_path: Path) -> None:
    done = run_writer(tmp_path / "journal", 10, kill=False, inject="fdatasync:delay_exit=20000")
    assert (done.status, len(done.durable)) == (0, 10), done.error
