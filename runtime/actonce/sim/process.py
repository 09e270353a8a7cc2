"""One simulated process as its disk and its links see it: it may be paused or dead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Crash(BaseException):
    """Raised inside a process at the moment its plan kills it."""


class Timer:
    """A timer of a process, which may be paused or dead when it is due."""

    def __init__(self, process: Process, delay_s: float, call: Callable[[], None]) -> None:
        self._cancelled = False
        self._call = call
        self._process = process
        process.loop.call_later(delay_s / process.rate, self._due)

    def _due(self) -> None:
        if not self._cancelled and not self._process.sleeps_through(self._due):
            self._process.guard(self._fire)

    def _fire(self) -> None:
        if not self._cancelled:
            self._call()

    def cancel(self) -> None:
        self._cancelled = True


class Process:
    """Runs calls unless it is dead, later when it is paused, and counts the points where it can be killed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.loop, self.name = loop, name
        self.dead = False
        self.paused = False
        self.rate = 1.0
        """Seconds of this process's clocks in one second of the simulation."""
        self.crash_at: int | None = None
        """Kill it at its n-th point."""
        self.points = 0
        self.on_kill: list[Callable[[], None]] = []
        self._deferred: deque[Callable[[], None]] = deque()
        self._resumed = asyncio.Event()
        self._asleep_since: float | None = None
        self._overslept: list[tuple[float, Callable[[], None]]] = []

    def guard(self, call: Callable[[], None]) -> None:
        """Run `call` as this process would: not at all when dead, later when paused."""
        if self.dead:
            return
        if self.paused:
            self._deferred.append(call)
            return
        try:
            call()
        except Crash:
            self.kill()

    def call_soon(self, call: Callable[[], None]) -> None:
        self.loop.call_soon(self.guard, call)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        return Timer(self, delay_s, call)

    def point(self) -> None:
        """Something visible from outside is about to happen: a place where a plan may kill the process."""
        self.points += 1
        if self.crash_at is not None and self.points >= self.crash_at:
            raise Crash

    async def alive(self) -> None:
        """For a handler: a dead process gets no further, a paused one gets no further yet."""
        while self.dead or self.paused:
            await self._resumed.wait()

    def pause(self) -> None:
        """As SIGSTOP: sockets fill, timers come due, nothing runs."""
        self.paused = True
        self._resumed = asyncio.Event()

    def suspend(self) -> None:
        """As a laptop that sleeps: timers stand still, while the clock that counts suspend goes on."""
        self._asleep_since = self.loop.time()
        self.pause()

    def sleeps_through(self, due: Callable[[], None]) -> bool:
        """A timer came due: if its process is suspended, it will come due as much later as it sleeps."""
        if self._asleep_since is None or self.dead:
            return False
        self._overslept.append((self.loop.time() - self._asleep_since, due))
        return True

    def resume(self) -> None:
        """As SIGCONT: all that came due runs, in order."""
        self._asleep_since = None
        overslept, self._overslept = self._overslept, []
        for remaining_s, due in overslept:
            self.loop.call_later(remaining_s, due)
        self.paused = False
        self._resumed.set()
        deferred, self._deferred = self._deferred, deque()
        for call in deferred:
            self.loop.call_soon(self.guard, call)

    def kill(self) -> None:
        """As kill -9. No cleanup runs; what a handler still does in this loop finds everything dead."""
        if not self.dead:
            self.dead = True
            self._resumed = asyncio.Event()  # never set: nothing that waits for it goes on
            for call in self.on_kill:
                call()
