"""The journal on real files, in real processes, with real damage."""

import contextlib
import queue
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from actonce.edge.journal import SqliteJournal, failed, open_journal
from actonce.edge.journal_store import Store
from actonce.edge.wal import wal_is_damaged
from actonce.errors import (
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalForeign,
    JournalInUse,
    JournalTooNew,
    JournalUnreadable,
)
from actonce.journal import META, UPDATE, VIEW, Recovered, Row, checksum

WRITER = Path(__file__).with_name("journal_writer.py")
WAIT_S = 30


class Engine:
    """Stands for the engine's thread: runs what is posted only when the test asks."""

    def __init__(self) -> None:
        self.calls = queue.SimpleQueue[Callable[[], None]]()
        self.errors: list[JournalError] = []
        self.journals: list[SqliteJournal] = []

    def open(self, folder: Path, agent: str = "kevin", replica: str = "a") -> tuple[SqliteJournal, Recovered]:
        journal, recovered = open_journal(
            folder, agent=agent, replica=replica, post=self.calls.put, on_error=self.errors.append
        )
        self.journals.append(journal)
        return journal, recovered

    def step(self) -> None:
        self.calls.get(timeout=WAIT_S)()

    def write(self, journal: SqliteJournal, *rows: Row) -> None:
        """One commit."""
        done: list[bool] = []
        journal.append(rows, lambda: done.append(True))
        self.step()
        assert done


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    for journal in engine.journals:
        journal.close()


def writer(mode: str, folder: Path, rows: int = 0) -> "subprocess.Popen[bytes]":
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    command = [sys.executable, str(WRITER), mode, str(folder), str(rows)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def crashed(folder: Path, rows: int) -> None:
    """A journal whose writer was killed after `rows` commits: all of them are in the write-ahead log alone."""
    with writer("crash", folder, rows) as process:
        output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == -9
    assert len(output.splitlines()) == rows
    assert (folder / "journal.db-wal").stat().st_size > rows * 4096


def closed(engine: Engine, folder: Path, rows: int = 60) -> Recovered:
    """A journal of a few pages, closed in good order; what it holds."""
    journal, _ = engine.open(folder)
    for number in range(rows):
        engine.write(journal, Row(UPDATE, b"%d" % number * 100), Row(VIEW, b"view %d" % number), Row(META, b"note"))
    engine.write(journal, Row(UPDATE, bytes(20_000)))  # with overflow pages
    journal.close()
    journal, recovered = engine.open(folder)
    journal.close()
    assert (len(recovered.updates), recovered.view) == (rows + 1, b"view %d" % (rows - 1))
    return recovered


def content(recovered: Recovered) -> tuple[object, ...]:
    return recovered.journal_id, recovered.updates, recovered.view


def test_rows_come_back_in_order_and_each_opening_counts(engine: Engine, tmp_path: Path) -> None:
    journal, first = engine.open(tmp_path / "new" / "folder")
    assert (first.updates, first.view, first.new) == ((), None, True)
    journal.append([Row(UPDATE, b"one"), Row(VIEW, b"old"), Row(UPDATE, b"two")], lambda: None)
    journal.append([Row(META, b"for people"), Row(VIEW, b"new"), Row(UPDATE, b"")], lambda: None)
    journal.close()
    _, second = engine.open(tmp_path / "new" / "folder")
    assert second == Recovered(first.journal_id, first.incarnation + 1, (b"one", b"two", b""), b"new", False)


def test_two_journals_have_two_ids(engine: Engine, tmp_path: Path) -> None:
    assert engine.open(tmp_path / "a")[1].journal_id != engine.open(tmp_path / "b")[1].journal_id


def test_durable_is_posted_in_order_and_close_posts_the_rest(engine: Engine, tmp_path: Path) -> None:
    journal, _ = engine.open(tmp_path)
    done: list[int] = []
    for number in range(500):
        rows = [Row(UPDATE, b"%d" % number)] if number % 3 else []  # no rows: a barrier
        journal.append(rows, partial(done.append, number))
    journal.close()
    assert done == []
    while not engine.calls.empty():
        engine.step()
    assert done == list(range(500))


def test_after_close_nothing_is_written_and_a_second_close_does_nothing(engine: Engine, tmp_path: Path) -> None:
    journal, _ = engine.open(tmp_path)
    journal.close()
    journal.append([Row(UPDATE, b"late")], lambda: pytest.fail("acknowledged after close"))
    journal.close()
    assert engine.calls.empty()
    assert engine.open(tmp_path)[1].updates == ()


@pytest.mark.parametrize("acknowledged", [1, 40, 333, 1500])
def test_a_killed_writer_loses_nothing_that_was_durable(engine: Engine, tmp_path: Path, acknowledged: int) -> None:
    for round_number in (1, 2):
        with writer("load", tmp_path) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(acknowledged)]
            process.kill()
            lines += process.stdout.readlines()
        numbers = [int(line) for line in lines if line.endswith(b"\n")]
        assert numbers == list(range(len(numbers)))
        shutil.copytree(tmp_path, tmp_path.with_name("copy"))
        journal, recovered = engine.open(tmp_path.with_name("copy"))
        starts = [index for index, data in enumerate(recovered.updates) if data.startswith(b"0:")]
        assert len(starts) == round_number
        last = [int(data.partition(b":")[0]) for data in recovered.updates[starts[-1] :]]
        assert last == list(range(len(last)))
        assert len(last) >= len(numbers)
        journal.close()
        shutil.rmtree(tmp_path.with_name("copy"))


def test_a_process_that_ends_without_closing_leaves_no_damage(engine: Engine, tmp_path: Path) -> None:
    with writer("leave", tmp_path, 5) as process:
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert len(engine.open(tmp_path)[1].updates) == 5


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def reopened(engine: Engine, folder: Path) -> Recovered | None:
    """What is read, or None when it is refused as damaged. If it is accepted, it must take rows and open once more."""
    try:
        journal, recovered = engine.open(folder)
    except JournalDamaged:
        return None
    engine.write(journal, *[Row(UPDATE, bytes(3000))] * 4)
    journal.close()
    journal, again = engine.open(folder)
    journal.close()
    assert again.updates == recovered.updates + (bytes(3000),) * 4
    return recovered


def test_a_head_in_another_place_is_damage_before_another_one_stands_beside_it(engine: Engine, tmp_path: Path) -> None:
    closed(engine, tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as db:
        db.execute("UPDATE head SET one = 3")
    assert reopened(engine, tmp_path) is None


def test_a_flipped_bit_is_damage_or_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    whole = closed(engine, tmp_path / "whole")
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    bits = (tmp_path / "whole" / "journal.db").stat().st_size * 8
    sample = rng.sample(range(100 * 8), 100) + [rng.randrange(bits) for _ in range(250)]
    refused = 0
    for bit in sample:
        shutil.copytree(tmp_path / "whole", tmp_path / "copy")
        flip(tmp_path / "copy" / "journal.db", bit)
        recovered = reopened(engine, tmp_path / "copy")
        refused += recovered is None
        assert recovered is None or content(recovered) == content(whole), f"bit {bit}, seed {seed}"
        shutil.rmtree(tmp_path / "copy")
    assert refused > 100, f"seed {seed}"


def test_a_flipped_bit_in_the_log_costs_at_most_its_last_commit(engine: Engine, tmp_path: Path) -> None:
    crashed(tmp_path / "whole", rows=30)
    shutil.copytree(tmp_path / "whole", tmp_path / "copy")
    whole = reopened(engine, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy")
    assert whole is not None
    assert len(whole.updates) == 30
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    bits = (tmp_path / "whole" / "journal.db-wal").stat().st_size * 8
    refused = 0
    for bit in rng.sample(range(32 * 8), 20) + [rng.randrange(bits) for _ in range(100)]:
        shutil.copytree(tmp_path / "whole", tmp_path / "copy")
        flip(tmp_path / "copy" / "journal.db-wal", bit)
        recovered = reopened(engine, tmp_path / "copy")
        refused += recovered is None
        if recovered is not None:
            assert whole.updates[:29] == recovered.updates[:29], f"bit {bit}, seed {seed}"
            assert recovered.journal_id == whole.journal_id
        shutil.rmtree(tmp_path / "copy")
    assert refused > 80, f"seed {seed}"


def test_a_shortened_log_is_a_torn_tail(tmp_path: Path) -> None:
    crashed(tmp_path, rows=10)
    log = (tmp_path / "journal.db-wal").read_bytes()
    for length in range(0, len(log), 501):
        assert not wal_is_damaged(log[:length])
    garbage = random.Random(1).randbytes(5 * 4120)
    assert not wal_is_damaged(log + garbage)
    assert not wal_is_damaged(log[:32] + log[32:].replace(log[16:24], bytes(8)))  # frames of an earlier round
    assert wal_is_damaged(garbage)


def test_a_log_that_is_gone_is_damage_and_no_refusal_changes_a_file(engine: Engine, tmp_path: Path) -> None:
    crashed(tmp_path, rows=3)
    log = (tmp_path / "journal.db-wal").read_bytes()
    (tmp_path / "journal.db-wal").unlink()
    for _ in range(2):
        with pytest.raises(JournalDamaged, match=r"gone with journal\.db-wal"):
            engine.open(tmp_path)
    (tmp_path / "journal.db-wal").write_bytes(log)  # put back, as the message asks
    before = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(JournalForeign):
        engine.open(tmp_path, replica="b")
    assert (tmp_path / "journal.db").read_bytes() == before
    assert (tmp_path / "journal.db-wal").read_bytes() == log
    assert len(engine.open(tmp_path)[1].updates) == 3


def test_a_database_that_is_gone_while_its_log_is_there_is_damage(engine: Engine, tmp_path: Path) -> None:
    crashed(tmp_path, rows=3)
    (tmp_path / "journal.db").unlink()
    with pytest.raises(JournalDamaged, match="put it back"):
        engine.open(tmp_path)


def test_a_shortened_database_is_damage(engine: Engine, tmp_path: Path) -> None:
    closed(engine, tmp_path, rows=5)
    path = tmp_path / "journal.db"
    whole = path.read_bytes()
    for length in (0, 1, 99, 100, 4096, 5000, len(whole) - 4096, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(JournalDamaged, match="start with --join and the address of another replica"):
            engine.open(tmp_path)


def test_a_row_that_was_taken_out_is_missed(engine: Engine, tmp_path: Path) -> None:
    for row, missing in ((5, "row 5 is missing"), (7, "row 7 is missing")):
        closed(engine, tmp_path / str(row), rows=1)
        database = sqlite3.connect(tmp_path / str(row) / "journal.db")
        database.execute("DELETE FROM rows WHERE seq >= ?" if row == 7 else "DELETE FROM rows WHERE seq = ?", [row])
        database.commit()
        database.close()
        with pytest.raises(JournalDamaged, match=missing):
            engine.open(tmp_path / str(row))


def test_a_journal_of_another_replica_or_agent_is_refused(engine: Engine, tmp_path: Path) -> None:
    journal, first = engine.open(tmp_path)
    journal.close()
    with pytest.raises(JournalForeign, match="belongs to replica 'a' of agent 'kevin', not to replica 'b'"):
        engine.open(tmp_path, replica="b")
    with pytest.raises(JournalForeign, match="of agent 'other'"):
        engine.open(tmp_path, agent="other")
    assert engine.open(tmp_path)[1].incarnation == first.incarnation + 1


def test_a_journal_of_a_later_format_is_refused(engine: Engine, tmp_path: Path) -> None:
    engine.open(tmp_path)[0].close()
    data = b'{"agent": "kevin", "format": 2, "id": "x", "replica": "a", "more": []}'
    database = sqlite3.connect(tmp_path / "journal.db")
    database.execute("UPDATE rows SET data = ?, sum = ? WHERE seq = 1", (data, checksum(1, "journal", data)))
    database.execute("DROP TABLE head")  # a later format need not have it
    database.commit()
    database.close()
    with pytest.raises(JournalTooNew, match="format 2"):
        engine.open(tmp_path)


def test_one_process_at_a_time(engine: Engine, tmp_path: Path) -> None:
    with writer("hold", tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(JournalInUse, match="in use by another process"):
            engine.open(tmp_path)
        process.kill()
    journal, recovered = engine.open(tmp_path)
    with pytest.raises(JournalInUse):
        engine.open(tmp_path)
    journal.close()
    assert engine.open(tmp_path)[1].incarnation == recovered.incarnation + 1


def test_what_is_no_journal_is_refused(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "lock_is_a_folder" / "lock").mkdir(parents=True)
    (tmp_path / "journal_is_a_folder" / "journal.db").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "journal.db").write_text("shopping: milk, eggs, and a long list of other things " * 9)
    for name in ("file", "file/below", "lock_is_a_folder", "journal_is_a_folder", "other"):
        with pytest.raises(JournalUnreadable) as caught:
            engine.open(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_a_full_disk_is_told_once_and_what_was_durable_stays(engine: Engine, tmp_path: Path) -> None:
    with writer("full", tmp_path) as process:
        output, _ = process.communicate(timeout=WAIT_S)
    *numbers, last = output.decode().splitlines()
    assert last.startswith("JournalFailed: writing the journal in ")
    assert numbers == [str(number) for number in range(len(numbers))]
    assert len(numbers) > 100
    _, recovered = engine.open(tmp_path)  # the limit ended with the process
    assert len(recovered.updates) >= len(numbers)
    assert b"late" not in recovered.updates


def test_a_failing_write_is_told_once_and_close_returns(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = engine.open(tmp_path)
    genuine = Store.append

    def fail(self: Store, rows: list[Row], state: str = "open") -> None:
        monkeypatch.setattr(Store, "append", genuine)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "append", fail)
    journal.append([Row(UPDATE, b"lost")], lambda: pytest.fail("acknowledged"))
    journal.append([Row(UPDATE, b"lost too")], lambda: pytest.fail("acknowledged"))
    journal.close()
    while not engine.calls.empty():
        engine.step()
    assert [type(error) for error in engine.errors] == [JournalFailed]
    assert engine.open(tmp_path)[1].updates == ()


def test_a_read_only_database_is_unreadable(tmp_path: Path, engine: Engine) -> None:
    closed(engine, tmp_path, rows=1)
    database = sqlite3.connect(f"{(tmp_path / 'journal.db').as_uri()}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("DELETE FROM rows")
    database.close()
    assert isinstance(failed(tmp_path, caught.value), JournalUnreadable)
