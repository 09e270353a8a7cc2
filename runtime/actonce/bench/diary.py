"""What handlers really did, and when, told by themselves to a file: independent of what any replica believes.

One line for each event: `monotonic seconds, what, subject, fence, process id`, separated by tabs. Lines of this size,
appended with one write(2) to a local file, come whole and in order, and survive SIGKILL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BEGAN, PASSED, REFUSED, ENDED = "began", "passed", "refused", "ended"
"""A handler began (of this task); an effect (with this key) passed the gate, or did not; a handler ended, somehow."""


@dataclass(frozen=True, slots=True)
class Line:
    """One event."""

    at: float
    """Seconds on the monotonic clock, which all processes of a host share."""
    what: str
    subject: str
    fence: int
    pid: int


class Writer:
    """Appends to a diary, from any thread."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, subject: str, fence: int) -> None:
        """Note that something happens now."""
        os.write(self._file, f"{time.monotonic():.6f}\t{what}\t{subject}\t{fence}\t{os.getpid()}\n".encode())


class Reader:
    """Follows a diary: `lines` grows with each `read`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        self.lines: list[Line] = []

    def read(self) -> list[Line]:
        """All events so far, oldest first."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._at)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._at += len(whole)
            self.lines += _parsed(whole.decode())
        return self.lines


def _parsed(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        at, what, subject, fence, pid = line.split("\t")
        yield Line(float(at), what, subject, int(fence), int(pid))


def under_way(lines: list[Line], pid: int) -> list[str]:
    """Tasks whose handler began in this process and has not got to its end, in the order in which they began. Not those
    that began elsewhere since: they are the other's now, though a handler that lost its task may take a while to
    end."""
    tasks: dict[str, None] = {}
    for line in lines:
        if line.pid == pid and line.what == BEGAN:
            tasks[line.subject] = None
        elif line.what == BEGAN or (line.pid == pid and line.what == ENDED):
            tasks.pop(line.subject, None)
    return list(tasks)


def elsewhere(lines: list[Line], what: str, pid: int) -> dict[str, float]:
    """When this first happened in another process, for each subject."""
    found: dict[str, float] = {}
    for line in lines:
        if line.what == what and line.pid != pid:
            found.setdefault(line.subject, line.at)
    return found
