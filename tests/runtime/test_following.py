"""Following a file of JSON lines: growth, torn lines, rotation, truncation, and what is no line."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce.following import CHUNK_BYTES, LINES_MAX, read_on
from actonce.settings import KEY_BYTES_MAX, PAYLOAD_BYTES_MAX


class Reader:
    """Follows a file from call to call, as a source does."""

    def __init__(self, path: Path, id_field: str | None = None) -> None:
        self.path, self.id_field, self.cursor = path, id_field, None
        self.keys: list[str] = []

    def read(self) -> list[Any]:
        """All that there is now."""
        payloads, more = [], True
        while more:
            items, cursor, more = read_on(self.path, self.id_field, self.cursor)
            self.cursor = json.loads(json.dumps(cursor))
            payloads += [item[1] for item in items]
            self.keys += [item[0] for item in items]
        return payloads


def write(path: Path, *values: Any, end: str = "\n", at_s: float | None = None) -> None:
    with path.open("a") as file:
        file.write("\n".join(json.dumps(value) for value in values) + end)
    if at_s is not None:
        os.utime(path, (at_s, at_s))


def test_what_is_appended_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    reader = Reader(path)
    assert reader.read() == []
    write(path, {"n": 1}, {"n": 2})
    assert reader.read() == [{"n": 1}, {"n": 2}]
    assert reader.read() == []
    write(path, {"n": 3}, end="")
    assert reader.read() == [], "a line without an end is still being written"
    write(path, end="\n")
    assert reader.read() == [{"n": 3}]
    assert len(set(reader.keys)) == 3


def test_a_reader_that_begins_again_gives_the_same_ids(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    write(path, "same", "same", "other")
    one, other = Reader(path), Reader(path)
    one.read()
    write(path, "more")
    one.read()
    other.read()
    assert one.keys == other.keys
    assert len(set(one.keys)) == 4, "equal lines in two places are two"


def test_ids_of_a_field(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "orders.jsonl"
    bad: list[Any] = [{"id": None}, {"id": ""}, {"id": True}, {"no": 1}, 5]
    write(path, {"id": "a"}, {"id": 7}, *bad, {"id": "b"}, {"id": "x" * 1000}, {"id": "two\nlines"})
    reader = Reader(path, "id")
    reader.read()
    assert reader.keys[:3] == ["a", "7", "b"]
    assert all(key.isprintable() and len(key) <= KEY_BYTES_MAX for key in reader.keys)
    assert len(caplog.records) == len(bad)
    assert "has no 'id' that is text or a whole number, and is left out" in caplog.text


@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied and truncated"])
def test_a_rotated_file_is_read_to_its_end(tmp_path: Path, copied: bool) -> None:
    path, old = tmp_path / "orders.jsonl", tmp_path / "orders.jsonl.1"
    reader = Reader(path)
    write(path, 1, 2)
    assert reader.read() == [1, 2]
    write(path, 3)
    if copied:
        old.write_bytes(path.read_bytes())
        path.write_bytes(b"")
    else:
        path.rename(old)
    assert reader.read() == [3]
    write(path, 4)
    assert reader.read() == [4]
    assert reader.read() == []


def test_several_rotations_between_two_reads(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    reader = Reader(path)
    write(tmp_path / "orders.jsonl.3", "never read: it was there before")
    write(path, 1)
    assert reader.read() == [1]
    write(path, 2)
    path.rename(tmp_path / "orders.jsonl.2")
    write(path, 3)
    path.rename(tmp_path / "orders.jsonl.1")
    write(path, 4)
    for age, name in enumerate(("orders.jsonl", "orders.jsonl.1", "orders.jsonl.2", "orders.jsonl.3")):
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    assert reader.read() == [2, 3, 4]


def test_a_truncated_file_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "orders.jsonl"
    reader = Reader(path)
    write(path, 1, 2, 3)
    reader.read()
    path.write_bytes(b"")
    assert reader.read() == []
    write(path, 4)
    assert reader.read() == [4]
    assert "what was not read of the old one is lost" in caplog.text
    path.write_text("55555\n")  # longer than before, and another
    assert reader.read() == [55555]


def test_what_is_no_line_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "orders.jsonl"
    deep = b"[" * 100_000
    path.write_bytes(
        b'1\n{"torn\n\n' + deep + b"\n\xff\xfe\n" + b'"' + b"x" * PAYLOAD_BYTES_MAX + b'"\nNaN\n"\\ud800"\nnull\n2\n'
    )
    caplog.set_level(logging.WARNING)
    assert Reader(path).read() == [1, None, 2]
    assert len(caplog.records) == 6
    assert "the line at byte 2 is no JSON, and is left out" in caplog.text
    assert f"has {PAYLOAD_BYTES_MAX + 5:,} bytes, and is left out" in caplog.text


def test_a_line_without_end_takes_no_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"1\n" + b"x" * (2 * CHUNK_BYTES + 5))
    reader = Reader(path)
    assert reader.read() == [1]
    assert not caplog.records
    with path.open("ab") as file:
        file.write(b"\n2\n")
    assert reader.read() == [2]
    assert "has more than 1048576 bytes" in caplog.text


def test_many_lines_come_in_several_calls(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    write(path, *range(2 * LINES_MAX + 1))
    items, _, more = read_on(path, None, None)
    assert (len(items), more) == (LINES_MAX, True)
    assert Reader(path).read() == list(range(2 * LINES_MAX + 1))


@given(st.lists(st.sampled_from(["write", "rotate", "read", "tear"]), max_size=25))
def test_any_order_of_writing_rotating_and_reading_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("follow")
    path, reader, written, rotations, torn = folder / "f", Reader(folder / "f"), 0, 0, False
    read: list[Any] = []
    for step in ["write", "read", *steps]:
        if step == "write" or step == "tear":
            with path.open("a") as file:
                file.write("" if torn else f"{written}")
                file.write("\n" if step == "write" else "")
            torn = step == "tear"
            written += not torn
        elif step == "rotate" and path.exists() and not torn:
            rotations += 1
            path.rename(folder / f"f.{rotations}")
            os.utime(folder / f"f.{rotations}", (rotations, rotations))
        elif step == "read":
            read += reader.read()
    if torn:
        write(path, end="\n")
        written += 1
    read += reader.read()
    assert read == list(range(written))
