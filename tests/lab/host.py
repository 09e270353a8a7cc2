"""How this host was meanwhile: whoever measures a pause must know of those that every process had."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

LOOK_S = 0.01
SLOW_S = 0.25
"""A look that takes longer was held up: by other work, by a disk or a machine that stood still. (By a replica too, if
one ever kept the processor or the disk for so long: then its pause is taken for the host's.)"""


class Host:
    """`with Host(folder) as host`: a thread writes a byte, syncs and sleeps, again and again, and notes when that took
    long. What delays it delays any replica that wants a processor or its journal's disk."""

    def __init__(self, folder: Path) -> None:
        self.stalls: list[tuple[float, float]] = []
        """From when to when, in unix seconds; they do not overlap."""
        self._file, self._over = folder / "host", threading.Event()
        self._thread = threading.Thread(target=self._look, name="host", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while not self._over.is_set():
                began = time.time()
                os.pwrite(file, b"x", 0)
                os.fsync(file)
                self._over.wait(LOOK_S)
                if time.time() - began > SLOW_S:
                    self.stalls.append((began, time.time()))
        finally:
            os.close(file)

    def lost_s(self, since: float, until: float) -> float:
        """Seconds of this span in which the host stood still."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.stalls)
