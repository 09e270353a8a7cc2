"""Processes that never outlive the demo."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from actonce.errors import ActonceError

STOP_LIMIT_S = 5.0
"""For a process that was asked to end; after it, it is killed."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildFailed(ActonceError):
    """A process of the demo ended on its own."""


class Child:
    """One `python -m actonce ...`, in a session of its own, so that a Ctrl-C of the user is the demo's to handle."""

    def __init__(
        self, what: str, log: Path, environment: dict[str, str], enter: Callable[[], None] | None = None
    ) -> None:
        """
        Args:
            what: names it in messages.
            log: what it prints is appended there.
            environment: added to our own.
            enter: run in the new process before anything else, between fork and exec.
        """
        self.what, self.log = what, log
        self._enter = enter
        self._environment = {**os.environ, **environment}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str) -> None:
        """Begin; ends with us at the latest, also if we are killed (on Linux; elsewhere only if we are not)."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "actonce",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), self._enter),
            )

    def check(self) -> None:
        """
        Raises:
            ChildFailed: it has ended, and nobody here did it.
        """
        if self._process is not None and self._process.returncode is not None:
            last = self.log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise ChildFailed(f"{self.what} ended with status {self._process.returncode}: {last}")

    @property
    def pid(self) -> int:
        """Of the process that was started last; 0 when it was ended here."""
        return self._process.pid if self._process is not None else 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(self._process.pid, number)

    async def ended(self) -> int:
        """Wait until it has ended, as it was asked to; its exit status."""
        process, self._process = self._process, None
        return await process.wait() if process is not None else 0

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        process, self._process = self._process, None
        if process is not None:
            await process.wait()

    async def stop(self) -> None:
        """SIGTERM; SIGKILL if that takes too long."""
        self.signal(signal.SIGTERM)
        if self._process is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_LIMIT_S)
            await self.kill()


def _die_with(parent: int, enter: Callable[[], None] | None) -> Callable[[], None] | None:
    """For the child, between fork and exec: `enter`, and prctl(2), PR_SET_PDEATHSIG."""
    if _LIBC is None:
        return enter
    prctl = _LIBC.prctl

    def prepare() -> None:
        if enter is not None:
            enter()
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return prepare
