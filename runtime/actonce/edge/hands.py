"""The real hands: handlers run in the user's own event loop, the engine in another thread.

A handler that blocks its loop for a minute thereby stops other handlers, and nothing else: heartbeats, gossip and
journal go on. (Code that holds the interpreter lock for that long stops everything; nothing in Python can help it.)
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from actonce.world import RunAsync


class Mailbox:
    """Calls for one loop from other threads, in order; one wake-up for all that gather before it runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False

    def put(self, call: Callable[[], None]) -> None:
        """Run `call` on the loop soon. Any thread. After the loop was closed: nothing."""
        self._calls.append(call)
        if not self._woken:
            self._woken = True  # a race here costs a second wake-up, never a lost one
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        self._woken = False  # first: what is put from here on asks for another turn
        for _ in range(len(self._calls)):
            self._calls.popleft()()


def _run_async(function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return anyio.from_thread.run(function)


class _Job:
    """A job over at the hands, cancellable from the engine. Its task lives, and is touched, over there only."""

    def __init__(self, hands: ThreadHands) -> None:
        self._hands = hands
        self._task: asyncio.Task[None] | None = None
        self._began = False

    def begin(self, job: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Over there."""

        async def run() -> None:
            self._began = True
            await job()

        self._task = asyncio.get_running_loop().create_task(run())
        return self._task

    def cancel(self) -> None:
        """From the engine. The task exists by then: `start` was posted before."""
        self._hands.post(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and self._began:
            self._task.cancel()
        else:  # a task that is cancelled before its first step never runs at all, not even to report that it ended
            asyncio.get_running_loop().call_soon(self._cancel)


class ThreadHands:
    """`Hands` between two threads. Made in the user's running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Slots bound what runs. A bound on threads besides would be a deadlock: waiting parents would hold them all.
        self._limiter = anyio.CapacityLimiter(math.inf)
        self._here = Mailbox(self._loop)
        self._engine: Mailbox | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, engine: asyncio.AbstractEventLoop) -> None:
        """The engine's loop runs now."""
        self._engine = Mailbox(engine)

    def start(self, job: Callable[[], Coroutine[Any, Any, None]]) -> _Job:
        """As in `Hands`."""
        handle = _Job(self)

        def begin() -> None:
            task = handle.begin(job)
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)

        self.post(begin)
        return handle

    async def plain(self, work: Callable[[RunAsync], Any]) -> Any:
        """As in `Hands`."""
        return await anyio.to_thread.run_sync(work, _run_async, abandon_on_cancel=True, limiter=self._limiter)

    def post(self, call: Callable[[], None]) -> None:
        """As in `Hands`."""
        self._here.put(call)

    def engine(self, call: Callable[[], None]) -> None:
        """As in `Hands`."""
        assert self._engine is not None, "the engine has not started"
        self._engine.put(call)

    async def close(self) -> None:
        """Cancel what still runs, and wait for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
