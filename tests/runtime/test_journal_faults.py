"""Faults of a real disk under a real process: an fsync that fails, or in which the process is killed; a full disk, one
that cannot be written; flipped bits, files cut short or gone. What was durable is there, or its loss is said.

strace makes the faults (`apt-get install strace`). Where it is not allowed or not there, its tests are skipped, and the
run says so in its summary; the damage to files is done in any case.

    JOURNAL_ROUNDS=200 pytest tests/runtime/test_journal_faults.py        # the long run
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from actonce.edge.journal import open_journal
from actonce.edge.mark import read_mark
from actonce.journal import Recovered
from actonce_crdt import Document

from .documents import STRACE, Written, fail, run_writer

ROUNDS = int(os.environ.get("JOURNAL_ROUNDS", "2"))
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
