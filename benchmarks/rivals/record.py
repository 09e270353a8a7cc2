"""The handler that all have in common: writes down that it began and ended. A record outlives `kill -9` of its writer.

Environment, set by `stage`: RIVAL_FOLDER, where records go; RIVAL_WORKER, the number of the worker; RIVAL_URL, of the
server; RIVAL_FAST, 1 for the settings with the fastest takeover that make sense.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BEGAN, ENDED = 1, 2
PAYLOAD_CHARS = 100
URL = os.environ.get("RIVAL_URL", "")
FAST = os.environ.get("RIVAL_FAST") == "1"
WORKER = int(os.environ.get("RIVAL_WORKER", "0"))

_FORMAT = struct.Struct("<BBIqq")
_files: dict[int, int] = {}


@dataclass(frozen=True, slots=True)
class Record:
    """`at_ns` is of the monotonic clock, which all processes of a host share."""

    what: int
    worker: int
    pid: int
    number: int
    at_ns: int


def payload(number: int, seconds: float = 0.0) -> str:
    """Of the task with this number, which is to take so long. Always as many characters."""
    return f"{number:012d}|{seconds:07.3f}|".ljust(PAYLOAD_CHARS, "x")


def work(text: str) -> None:
    """The handler."""
    number, seconds = _parse(text)
    note(BEGAN, number)
    if seconds:
        time.sleep(seconds)
    note(ENDED, number)


async def work_async(text: str) -> None:
    """The handler, for those that have asynchronous ones."""
    number, seconds = _parse(text)
    note(BEGAN, number)
    if seconds:
        await asyncio.sleep(seconds)
    note(ENDED, number)


def note(what: int, number: int) -> None:
    """Append a record to the file of this process."""
    pid = os.getpid()
    if pid not in _files:  # workers fork
        path = Path(os.environ["RIVAL_FOLDER"]) / f"{pid}.records"
        _files[pid] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(_files[pid], _FORMAT.pack(what, WORKER, pid, number, time.monotonic_ns()))


class Reader:
    """Follows the records in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self.records: list[Record] = []

    def read(self) -> list[Record]:
        """All records so far."""
        for path in sorted(self._folder.glob("*.records")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            whole = len(data) - len(data) % _FORMAT.size
            self._read[path] = self._read.get(path, 0) + whole
            self.records += unpack(data[:whole])
        return self.records

    def count(self) -> int:
        """How many records there are, by the sizes of the files."""
        return sum(path.stat().st_size for path in self._folder.glob("*.records")) // _FORMAT.size


def unpack(data: bytes) -> Iterator[Record]:
    """Records of whole bytes."""
    return (Record(*fields) for fields in _FORMAT.iter_unpack(data))


def _parse(text: str) -> tuple[int, float]:
    number, seconds, _ = text.split("|")
    return int(number), float(seconds)
