"""A damaged journal on real files: what is damaged is named, nothing is trusted that may be forgotten, nothing is lost
twice. `test_journal` says what counts as damage; here is what follows from it."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actonce.edge import aside
from actonce.edge.journal import SqliteJournal, open_journal
from actonce.edge.journal_store import Store
from actonce.errors import JournalDamaged, JournalForeign, JournalTooOld, JournalUnreadable
from actonce.journal import UPDATE, VIEW, Row, checksum

from .documents import fail, killed, written

WAIT_S = 30


class Opened:
    """What an opening found; the journal is closed."""

    def __init__(self, folder: Path, *, rejoin: bool = False, replica: str = "a") -> None:
        journal, self.recovered = open_journal(
            folder, agent="kevin", replica=replica, post=lambda call: None, on_error=fail, rejoin=rejoin
        )
        journal.close()


def test_without_others_a_damaged_journal_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    killed(tmp_path, 5)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("UPDATE rows SET data = x'00' WHERE seq = 4")
    db.close()
    before = (tmp_path / "journal.db").read_bytes()
    for _ in range(2):
        with pytest.raises(JournalDamaged, match="row 4 fails its checksum") as caught:
            Opened(tmp_path)
        assert "actonce journal repair" in str(caught.value)
    assert (tmp_path / "journal.db").read_bytes() == before
    assert not (tmp_path / "damaged-1").exists()


def test_what_is_readable_is_kept_and_what_is_lost_is_named(tmp_path: Path) -> None:
    durable = written(tmp_path, 8)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        (seq,) = db.execute("SELECT seq FROM rows WHERE data = ?", (durable[5],)).fetchone()
        db.execute("UPDATE rows SET data = substr(data, 1, length(data) - 1) WHERE seq = ?", (seq,))
    db.close()
    recovered = Opened(tmp_path, rejoin=True).recovered
    assert f"row {seq} lost" in recovered.damage
    # What builds on the lost row cannot stay either: it comes back from others, with the row.
    assert list(recovered.updates) == durable[:5]
    assert len(list((tmp_path / "damaged-1").iterdir())) >= 2
    later = Opened(tmp_path).recovered
    assert (later.damage, later.incarnation) == (recovered.damage, recovered.incarnation + 1)


def test_after_it_has_settled_again_it_is_a_journal_like_any_other(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / "mark").unlink()
    assert "mark is gone" in Opened(tmp_path, rejoin=True).recovered.damage
    append(tmp_path, Row(VIEW, b"view"))
    recovered = Opened(tmp_path).recovered
    assert (recovered.damage, recovered.view, recovered.new) == ("", b"view", False)
    assert recovered.replaces


def append(folder: Path, *rows: Row) -> None:
    journal, _ = open_journal(folder, agent="kevin", replica="a", post=lambda call: None, on_error=fail)
    journal.append(rows, lambda: None)
    journal.close()


def test_a_tail_that_was_cut_off_is_missed(tmp_path: Path) -> None:
    """SQLite alone says nothing: a log that ends early is what a crash leaves."""
    killed(tmp_path, 20)
    log = tmp_path / "journal.db-wal"
    os.truncate(log, log.stat().st_size // 2)
    with pytest.raises(JournalDamaged, match=r"rows \d+ to 22 were on the disk and are gone"):
        Opened(tmp_path)


def test_an_older_copy_of_the_database_is_missed(tmp_path: Path) -> None:
    written(tmp_path, 3)
    shutil.copyfile(tmp_path / "journal.db", tmp_path / "older")
    append(tmp_path, Row(VIEW, b"later"))
    (tmp_path / "older").rename(tmp_path / "journal.db")
    with pytest.raises(JournalDamaged, match="are gone"):
        Opened(tmp_path)


def test_a_journal_that_is_gone_never_starts_empty_in_silence(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / "journal.db").unlink()
    with pytest.raises(JournalDamaged, match="is gone, and held"):
        Opened(tmp_path)
    recovered = Opened(tmp_path, rejoin=True).recovered
    assert "is gone" in recovered.damage
    assert not recovered.new


def test_a_damaged_journal_of_another_replica_is_not_set_aside(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / "mark").write_bytes(b"?")
    with pytest.raises(JournalForeign, match="not to replica 'b'"):
        Opened(tmp_path, rejoin=True, replica="b")
    assert not (tmp_path / "damaged-1").exists()


def test_an_older_format_is_refused_and_not_taken_for_damage(tmp_path: Path) -> None:
    Opened(tmp_path)
    data = b'{"agent": "kevin", "format": 0, "id": "x", "replica": "a"}'
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("UPDATE rows SET data = ?, sum = ? WHERE seq = 1", (data, checksum(1, "journal", data)))
    db.close()
    with pytest.raises(JournalTooOld, match="format 0, this version of Actonce reads only 1: export it"):
        Opened(tmp_path, rejoin=True)
    assert not (tmp_path / "damaged-1").exists()


def test_a_disk_that_damages_again_and_again_is_said_to_fail(tmp_path: Path) -> None:
    Opened(tmp_path)
    for number in range(aside.ASIDE_MAX):
        (tmp_path / "mark").write_bytes(b"?")
        assert f"damaged-{number + 1}" in Opened(tmp_path, rejoin=True).recovered.damage
    (tmp_path / "mark").write_bytes(b"?")
    with pytest.raises(JournalUnreadable, match="8 damaged journals are kept"):
        Opened(tmp_path, rejoin=True)


class Killed(BaseException):
    """Stands for kill -9 between two system calls."""


def calls(monkeypatch: pytest.MonkeyPatch, kill_at: int) -> Callable[[], int]:
    """Count what `aside` does to files, and end there at the n-th time."""
    count = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **rest: object) -> object:
            nonlocal count
            count += 1
            if count == kill_at:
                raise Killed
            return real(*args, **rest)

        return call

    for name in ("rename", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    return lambda: count


def test_a_crash_at_any_step_of_setting_aside_loses_nothing_in_silence(tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    durable = killed(folder, 6)
    with (folder / "mark").open("r+b") as file:
        file.write(b"9")  # what is damaged is the mark alone: all updates are there, and have to stay
    step, unfinished = 0, True
    while unfinished:
        step += 1
        copy = tmp_path / str(step)
        shutil.copytree(folder, copy)
        with pytest.MonkeyPatch.context() as patch:
            done = calls(patch, step)
            try:
                aside.set_aside(copy, "damaged on purpose", agent="kevin", replica="a")
            except Killed:
                pass
            else:
                unfinished = done() >= step
        recovered = Opened(copy, rejoin=True).recovered
        assert list(recovered.updates) == durable, step
        assert recovered.damage, step
        assert not recovered.new, step
        shutil.rmtree(copy)
    assert step > 10


@pytest.fixture
def journals() -> Iterator[list[SqliteJournal]]:
    opened: list[SqliteJournal] = []
    yield opened
    for journal in opened:
        journal.close()


def test_a_commit_is_shared_by_all_that_came_while_the_disk_was_slow(
    journals: list[SqliteJournal], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Group commit: while one fsync takes its time, a thousand rows wait, and go into the next one together."""
    commits: list[int] = []
    begun, released = threading.Event(), threading.Event()
    genuine = Store.append

    def slow(self: Store, rows: list[Row], state: str = "open") -> None:
        commits.append(len(rows))
        begun.set()
        if len(commits) == 1:
            assert released.wait(WAIT_S)
        genuine(self, rows, state)

    journal, _ = open_journal(tmp_path, agent="kevin", replica="a", post=lambda call: call(), on_error=fail)
    journals.append(journal)
    monkeypatch.setattr(Store, "append", slow)
    done: list[int] = []
    journal.append([Row(UPDATE, b"first")], lambda: done.append(0))
    assert begun.wait(WAIT_S)
    for number in range(1, 1001):
        journal.append([Row(UPDATE, b"%d" % number)], lambda number=number: done.append(number))  # type: ignore[misc]
    released.set()
    journal.close()
    assert commits[:2] == [1, 1000]
    assert done == list(range(1001))
