"""The layout that everybody writes first: one key for each task in a shared map, deleted when the task is over.

    python -m actonce.bench.naive TASKS EVERY

It runs in a process of its own, so that its memory can be told from anybody else's: a line of JSON each EVERY tasks.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pycrdt import Doc, Map, TransactionEvent

from actonce.errors import ActonceError

REPLICAS = 3


class NaiveFailed(ActonceError):
    """Its process ended early."""


@dataclass(frozen=True, slots=True)
class Size:
    """After so many tasks."""

    tasks: int
    document_bytes: int
    rss_bytes: int
    """Of the process that holds all three documents."""


class Naive:
    """Three documents that hear of each other's changes at once; each task is set, claimed and deleted by one."""

    def __init__(self) -> None:
        self._docs = [Doc[Map[str]](client_id=number + 1) for number in range(REPLICAS)]
        self._maps = [doc.get("tasks", type=Map) for doc in self._docs]
        self._updates: list[bytes] = []
        for doc in self._docs:
            doc.observe(self._changed)

    def _changed(self, event: TransactionEvent) -> None:
        self._updates.append(event.update)

    def task(self, number: int) -> None:
        """Do one."""
        writer = number % REPLICAS
        tasks, key = self._maps[writer], f"reply/m{number}"
        tasks[key] = "open"
        tasks[key] = "claimed"
        del tasks[key]
        updates, self._updates = self._updates, []
        for doc in self._docs:
            if doc is not self._docs[writer]:
                for update in updates:
                    doc.apply_update(update)
        self._updates.clear()

    @property
    def bytes(self) -> int:
        """Of the whole document."""
        return len(self._docs[0].get_update())


def sizes(tasks: int, every: int) -> Iterator[Size]:
    """Do so many tasks, and measure on the way, in this process."""
    naive = Naive()
    for number in range(1, tasks + 1):
        naive.task(number)
        if number % every == 0:
            gc.collect()
            yield Size(number, naive.bytes, rss_bytes())


def measure_naive(tasks: int, every: int) -> list[Size]:
    """The same in a process of its own.

    Raises:
        NaiveFailed: it ended early.
    """
    command = [sys.executable, "-m", "actonce.bench.naive", str(tasks), str(every)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise NaiveFailed(f"the naive layout could not be measured: its process ended with status {done.returncode}")
    return [Size(**json.loads(line)) for line in done.stdout.splitlines()]


def rss_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    for size in sizes(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(asdict(size)), flush=True)
