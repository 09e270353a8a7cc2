"""A task as its submitter sees it: its outcome, and orders about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from actonce.engine import Engine
from actonce.errors import TaskFailed
from actonce_crdt import Done, unpack_value

Order = Callable[[Engine, Callable[[str], None]], None]
"""Called on the engine's thread with whom to tell what came of it."""


class Handle:
    """A submitted task. The same on every replica: `replica.handle(id)` finds it again."""

    def __init__(
        self,
        order: Callable[[Order], Awaitable[str]],
        outcome: Callable[[str, float | None], Awaitable[Done]],
        task: str,
        new: bool = False,
    ) -> None:
        """Made by a `Replica`, which gives orders and waits for outcomes."""
        self._order, self._outcome = order, outcome
        self.id = task
        self.new = new
        """False when the task was known before this `submit`, from here or from another replica."""

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    async def cancel(self) -> str:
        """Call it off: no further attempt, and no effect leaves once its replica has read this.

        Returns "cancelled", or what it was already: "done", "failed", "cancelled". `result` then raises TaskFailed.
        """
        return await self._order(lambda engine, reply: engine.orders.cancel(self.id, reply))

    async def retry(self) -> str:
        """Try a task again that failed, was set aside, cancelled or dropped. What it posted is not posted again.

        Raises:
            WrongState: it did not fail.
        """
        return await self._order(lambda engine, reply: engine.orders.retry(self.id, reply))

    async def drop(self) -> str:
        """List a task that failed no longer among the dead.

        Raises:
            WrongState: it did not fail.
        """
        return await self._order(lambda engine, reply: engine.orders.drop(self.id, reply))

    async def result(self, timeout_s: float | None = None) -> Any:
        """What the handler returned, on whichever replica it ran. Without `timeout_s` it waits without end, also for a
        task that nobody ever submits.

        Raises:
            TaskFailed: the last attempt failed; the message is its error.
            TimeoutError: no outcome within `timeout_s`.
        """
        done = await self._outcome(self.id, timeout_s)
        value: object = unpack_value(done.result)
        if not done.ok:
            raise TaskFailed(f"task {self.id!r} failed: {value!s}")
        return value
