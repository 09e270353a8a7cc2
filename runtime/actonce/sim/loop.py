"""An asyncio loop in virtual time: when nothing is ready, the clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, NoReturn


class _Selector(selectors.DefaultSelector):
    """Reports no event, and moves its loop's clock by however long it was asked to wait."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again in this simulation: it waits for a lost wake-up")
        self.loop.virtual_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Deterministic as long as no callback uses real time, threads, or the order of a set."""

    def __init__(self) -> None:
        self.virtual_s = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.virtual_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("threads are not deterministic: none in a simulation")
