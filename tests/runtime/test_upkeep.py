"""A journal that is bounded, and what a replica does to stay small, on the real file and one by one."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from actonce.edge.journal import open_journal
from actonce.edge.journal_store import FILE_NAME, Store, read
from actonce.errors import ActonceError, JournalDamaged
from actonce.journal import Recovered, Row


def ignore(error: ActonceError) -> None:
    raise error


def write(folder: Path, use: Callable[[object], None]) -> Recovered:
    """Open, use, close; what was there at the opening."""
    journal, recovered = open_journal(folder, agent="kevin", replica="a", post=lambda call: call(), on_error=ignore)
    use(journal)
    journal.close()
    return recovered


def test_a_snapshot_takes_the_place_of_all_updates(tmp_path: Path) -> None:
    durable: list[str] = []

    def use(journal: object) -> None:
        assert hasattr(journal, "append")
        assert hasattr(journal, "snapshot")
        journal.append([Row("update", b"one"), Row("view", b"v1")], lambda: durable.append("one"))
        journal.append([Row("update", b"two"), Row("view", b"v2")], lambda: durable.append("two"))
        journal.snapshot(b"one and two", lambda: durable.append("snapshot"))
        journal.append([Row("update", b"three")], lambda: durable.append("three"))

    first = write(tmp_path, use)
    again = write(tmp_path, lambda journal: None)
    assert durable == ["one", "two", "snapshot", "three"]
    assert again.updates == (b"one and two", b"three")
    assert again.view == b"v2"
    assert (again.incarnation, again.journal_id) == (first.incarnation + 1, first.journal_id)
    assert write(tmp_path, lambda journal: None).incarnation == first.incarnation + 2


def test_a_crash_within_a_snapshot_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, lambda journal: journal.append([Row("update", b"one")], lambda: None))  # type: ignore[attr-defined]
    path = tmp_path / FILE_NAME
    before, seq = read(path, agent="kevin", replica="a")
    store = make_store(path, seq, before.journal_id)

    def broken(rows: object, state: str) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store, "_insert", broken)
    with pytest.raises(sqlite3.OperationalError):
        store.snapshot(b"two")
    store.close()
    recovered, _ = read(path, agent="kevin", replica="a")
    assert recovered.updates == (b"one",)


def make_store(path: Path, seq: int, journal_id: str) -> Store:
    store = Store(path, seq, journal_id)
    store.append([Row("meta", b"it was opened")])
    return store


@pytest.mark.parametrize("kind", ["snapshot", "update"])
def test_a_row_of_a_snapshot_that_is_gone_is_missed(tmp_path: Path, kind: str) -> None:
    write(tmp_path, lambda journal: journal.snapshot(b"all", lambda: None))  # type: ignore[attr-defined]
    db = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    db.execute("DELETE FROM rows WHERE kind = ?", (kind,))
    db.close()
    (tmp_path / (FILE_NAME + "-wal")).touch()
    with pytest.raises(JournalDamaged, match="missing"):
        read(tmp_path / FILE_NAME, agent="kevin", replica="a")


def test_the_file_of_a_journal_is_bounded(tmp_path: Path) -> None:
    def use(journal: object) -> None:
        assert hasattr(journal, "append")
        assert hasattr(journal, "snapshot")
        for _ in range(30):
            for _ in range(4):
                journal.append([Row("update", b"x" * 50_000)], lambda: None)
            journal.snapshot(b"y" * 10_000, lambda: None)

    write(tmp_path, use)
    assert (tmp_path / FILE_NAME).stat().st_size < 1_000_000
