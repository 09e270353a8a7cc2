"""Journals that hold a document, written here or by a process that is killed, perhaps with faults of its disk."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from actonce.edge.journal import open_journal
from actonce.errors import JournalError
from actonce.journal import Row
from actonce_crdt import Document

WRITER = Path(__file__).with_name("document_writer.py")
WAIT_S = 120
STRACE = shutil.which("strace")


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer said before it ended."""

    status: int
    durable: list[bytes]
    """Updates that it was told are on disk."""
    tried: list[bytes]
    """All that it handed to the journal."""
    error: str


def run_writer(folder: Path, commits: int, *, kill: bool, inject: str = "") -> Written:
    """A process that writes so many commits, and is then killed or closes the journal.

    `inject` is a fault as strace has it, such as "fdatasync:error=EIO:when=7".
    """
    command = [sys.executable, str(WRITER), str(folder), str(commits), "kill" if kill else "close"]
    if inject:
        assert STRACE is not None
        call = inject.partition(":")[0]
        trace = folder.with_name(folder.name + ".trace")
        command = [STRACE, "-f", "-qq", "-o", str(trace), "-e", f"trace={call}", "-e", f"inject={inject}", *command]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=WAIT_S, check=False)
    lines = [line.split() for line in done.stdout.decode().splitlines() if len(line.split()) == 2]
    said = {what: [bytes.fromhex(line[1]) for line in lines if line[0] == what] for what in ("durable", "written")}
    error = (done.stderr.decode().strip().splitlines() or [""])[-1]
    return Written(done.returncode, said["durable"], said["written"], error)


def fail(error: JournalError) -> None:
    pytest.fail(str(error))


def killed(folder: Path, commits: int) -> list[bytes]:
    """A journal whose writer was killed after so many commits; what it was told is durable."""
    done = run_writer(folder, commits, kill=True)
    assert (done.status, len(done.durable)) == (-9, commits), done.error
    return done.durable


def written(folder: Path, commits: int) -> list[bytes]:
    """A journal of so many commits, closed in good order; its updates."""
    journal, _ = open_journal(folder, agent="kevin", replica="a", post=lambda call: None, on_error=fail)
    document = Document("a", 7)
    updates = [document.append([b"entry %d: " % number + bytes(number * 31 % 900)]).update for number in range(commits)]
    for update in updates:
        journal.append([Row("update", update)], lambda: None)
    journal.close()
    return updates
