"""Texts on the disk: what was acknowledged is there after a crash, in repairs, exports and backups."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from actonce.edge import care, journal_store, transfer
from actonce.edge.journal import open_journal
from actonce.journal import TEXT, UPDATE, Row
from actonce.recovery import salvaged
from actonce_crdt import Document, TextDocument

from .lab import Lab, run
from .test_memory import agent_of
from .test_texts import edit, text_of


def test_an_edit_and_the_outcome_are_one_append_and_one_message() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(lambda memory: memory.text("notes").append("x")), "ab")
        await lab.form()
        appends: dict[str, list[list[str]]] = {"a": [], "b": []}
        for name in "ab":
            journal = lab.world(name).journal
            original = journal.append

            def spy(rows: Sequence[Row], durable: Any, name: str = name, original: Any = original) -> None:
                appends[name].append([row.kind for row in rows])
                original(rows, durable)

            journal.append = spy  # type: ignore[method-assign]
        assert (await lab.outcome("0"))[0]
        await lab.sure(lambda: text_of(lab, "a") == text_of(lab, "b") == "x")
        for name in "ab":
            assert [rows for rows in appends[name] if TEXT in rows] == [[UPDATE, TEXT]]

    run(scenario)


def test_what_was_acknowledged_is_there_after_a_crash_of_all() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(lambda memory: memory.text("notes").append("kept")), "a")
        await lab.form()
        assert (await lab.outcome("0"))[0]
        digest = lab.engine("a").memory.texts.document.digest
        lab.kill("a")
        lab.start("a")
        assert text_of(lab, "a") == "kept"
        assert lab.engine("a").memory.texts.document.digest == digest
        await lab.sure(lambda: lab.engine("a").membership.settled is not None)
        await edit(lab, "a", lambda text: text.append("!"))  # under another client id
        assert len(lab.engine("a").memory.texts.document.state_vector()) == 2

    run(scenario)


def rows_of_texts() -> list[Row]:
    document, author = Document("a", 7), TextDocument(7)
    rows = []
    for number in range(4):
        version = author.read("notes")
        piece = f"{number} "
        delta = author.edit("notes", version.text, version.number, ((0, len(version.text)), piece))
        rows += [Row(UPDATE, document.append([b"entry %d" % number]).update), Row(TEXT, delta.update)]
    return rows


def test_of_a_damaged_journal_what_stands_on_its_own_is_kept() -> None:
    rows = rows_of_texts()
    kept = salvaged(rows[:4] + rows[6:])  # an entry and its edit are lost, and so is what builds on them
    assert [row.kind for row in kept] == [UPDATE, UPDATE, TEXT, TEXT]
    assert set(kept) == set(rows[:4])
    document = TextDocument(9)
    for row in kept:
        if row.kind == TEXT:
            document.take(document.parse(row.data))
    assert document.read("notes").text == "0 1 "


def write_journal(folder: Path, rows: Sequence[Row]) -> None:
    journal, _ = open_journal(
        folder, agent="kevin", replica="a", post=lambda call: None, on_error=lambda error: pytest.fail(str(error))
    )
    for row in rows:
        journal.append([row], lambda: None)
    journal.close()


def test_export_and_import_carry_the_texts(tmp_path: Path) -> None:
    rows, file = rows_of_texts(), tmp_path / "all.export"
    write_journal(tmp_path / "one", rows)
    assert care.export(tmp_path / "one", file)["texts"] == 4
    care.import_(tmp_path / "two", file, agent="kevin", replica="b")
    recovered, _ = journal_store.read(tmp_path / "two" / journal_store.FILE_NAME, agent="kevin", replica="b")
    assert transfer.make_texts(recovered.texts).read("notes").text == "0 1 2 3 "
    assert recovered.texts == tuple(row.data for row in rows if row.kind == TEXT)


def test_a_live_backup_carries_the_texts(tmp_path: Path) -> None:
    written = threading.Event()
    journal, _ = open_journal(
        tmp_path, agent="kevin", replica="a", post=lambda call: call(), on_error=lambda error: pytest.fail(str(error))
    )
    journal.append(rows_of_texts(), written.set)
    try:
        assert written.wait(60)
        assert care.backup(tmp_path, tmp_path / "backup")["texts"] == 4
    finally:
        journal.close()




def test_a_snapshot_of_the_journal_carries_the_texts(tmp_path: Path) -> None:
    rows = rows_of_texts()
    journal, _ = open_journal(
        tmp_path, agent="kevin", replica="a", post=lambda call: None, on_error=lambda error: pytest.fail(str(error))
    )
    journal.append(rows[:4], lambda: None)
    texts = transfer.make_texts([row.data for row in rows[:4] if row.kind == TEXT])
    whole = transfer.make_document([row.data for row in rows[:4] if row.kind == UPDATE]).diff({})
    journal.snapshot(whole, lambda: None, [Row(TEXT, texts.diff({}))])
    journal.append(rows[4:], lambda: None)
    journal.close()
    recovered, _ = journal_store.read(tmp_path / journal_store.FILE_NAME, agent="kevin", replica="a")
    assert len(recovered.texts) == 3
    assert transfer.make_texts(recovered.texts).read("notes").text == "0 1 2 3 "


def test_a_replica_that_made_a_snapshot_starts_with_its_texts() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(), "a")
        await lab.form()
        await edit(lab, "a", lambda text: text.append("one"))
        engine = lab.engine("a")
        await edit(lab, "a", lambda text: text.append(" two"))
        engine.ledger.snapshot()
        await edit(lab, "a", lambda text: text.append(" three"))
        await lab.sure(lambda: engine.ledger.durable_clock == engine.ledger.next_clock)
        await lab.until(lambda: False, 1.0)
        lab.kill("a")
        assert sum(row.kind == TEXT for row in lab.nodes["a"].disk.rows) == 2
        lab.start("a")
        assert text_of(lab, "a") == "one two three"

    run(scenario)
