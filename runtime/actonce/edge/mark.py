"""How far a journal surely reached the disk, written beside it: so that a lost end is missed.

SQLite replays its write-ahead log up to the first frame that is not whole and forgets the rest without a word, which is
right for a torn end (nobody was told of it) and wrong for an end that somebody cut off. So after each commit, when its
rows *are* on disk, the last seq is written into this file, without waiting for the disk. What it says was durable, so a
journal that ends before it has lost rows. After a loss of power it may say too little, never too much.

One line: seq, id of the journal, checksum of both.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "mark"
BYTES_MAX = 200


@dataclass(frozen=True, slots=True)
class Marked:
    """What a mark says. An unreadable one says nothing: seq 0, and no id."""

    seq: int
    journal: str


class Mark:
    """The open mark of an open journal. OSError passes through."""

    def __init__(self, folder: Path, journal: str) -> None:
        self._journal = journal
        self._file = os.open(folder / FILE_NAME, os.O_WRONLY)

    def write(self, seq: int) -> None:
        """Rows up to `seq` are on disk. The line keeps its length, so that it is replaced whole."""
        os.pwrite(self._file, _line(seq, self._journal), 0)

    def sync(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def make_mark(folder: Path, journal: str, seq: int) -> None:
    """Make a mark, or replace one, at once and durably."""
    draft = folder / (FILE_NAME + ".new")
    with draft.open("wb") as file:
        file.write(_line(seq, journal))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / FILE_NAME)
    sync_folder(folder)


def read_mark(folder: Path) -> Marked | None:
    """What the mark of this folder says; None when there is none. OSError passes through."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            line = file.read(BYTES_MAX)
    except FileNotFoundError:
        return None
    seq, journal, *_ = [*line.split(b" "), b"", b""]
    if seq.isdigit() and len(seq) == len(str(2**63)) and journal.isascii():
        marked = Marked(int(seq), journal.decode())
        if line == _line(marked.seq, marked.journal):
            return marked
    return Marked(0, "")


def sync_folder(folder: Path) -> None:
    """Renames and removals in it are on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(seq: int, journal: str) -> bytes:
    text = f"{seq:0{len(str(2**63))}d} {journal}".encode()
    return text + b" " + hashlib.blake2b(text, digest_size=8).hexdigest().encode() + b"\n"
