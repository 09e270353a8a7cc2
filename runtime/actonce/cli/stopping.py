"""Ctrl-C and SIGTERM: the first asks to leave, the second leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType

INTERRUPTED = 130
"""Exit status of a process that was interrupted, as shells have it."""


class Stop:
    """`with Stop(...) as stop:` takes both signals; `stop.came()` says whether one came.

    Plain signal handlers, which also run while a handler of the user blocks the event loop.
    """

    def __init__(self, at_once: Callable[[], None]) -> None:
        """`at_once` is called before the process ends on the second signal."""
        self._came = False
        self._at_once = at_once

    def came(self) -> bool:
        """Whether we are asked to leave."""
        return self._came

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL if number is signal.SIGTERM else signal.default_int_handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            self._at_once()
            os._exit(INTERRUPTED)
        self._came = True
