"""The time limit of one attempt, which stands still while the handler waits for other tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Patience:
    """Holds the deadline of an attempt. Over at the hands."""

    def __init__(self) -> None:
        self.scope: anyio.CancelScope | None = None
        self._waiting = 0
        self._left_s = math.inf

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The deadline moves by as long as this lasts; several at once count once."""
        scope = self.scope
        if scope is None:
            yield
            return
        self._waiting += 1
        if self._waiting == 1:
            self._left_s, scope.deadline = scope.deadline - anyio.current_time(), math.inf
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                scope.deadline = anyio.current_time() + self._left_s
