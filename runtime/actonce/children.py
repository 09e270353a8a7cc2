"""Fan-out and gathering, seen from the engine: tasks that a handler asks for, and waiting for their outcomes.

The ids of children come from their parent's id, so a parent that runs again asks for the same children and finds them
begun, or done. A parent that waits holds no slot: with every slot taken by waiting parents, their children still run.
It goes on when a slot is free, before anything new begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from actonce.errors import GateClosed
from actonce.executor import Executor
from actonce.inbox import Inbox
from actonce.running import Run
from actonce.settings import KEY_BYTES_MAX
from actonce_crdt import Done


class Children:
    """Children of the tasks that run here."""

    def __init__(self, inbox: Inbox, executor: Executor) -> None:
        self._inbox, self._executor = inbox, executor

    def gather(self, run: Run, tasks: Sequence[str], reply: Callable[[list[Done]], None]) -> Callable[[], None]:
        """Reply with the outcomes of these tasks, in their order, once all have one and a slot is free.

        Returns how to stop waiting: nobody wants the reply, and the handler, if it goes on, takes a slot when it can.
        """
        outcomes: dict[int, Done] = {}
        stops: list[Callable[[], None]] = []
        parked = False

        def arrive(index: int, done: Done) -> None:
            outcomes[index] = done
            if parked and len(outcomes) == len(tasks):
                unpark(answer)

        def unpark(then: Callable[[], None]) -> None:
            nonlocal parked
            parked = False
            self._executor.unpark(run, then)

        def stop() -> None:
            for one in stops:
                one()
            if parked:
                unpark(_nothing)

        def answer() -> None:
            reply([outcomes[index] for index in range(len(tasks))])

        for index, task in enumerate(tasks):
            stops.append(self._inbox.result(task, lambda done, index=index: arrive(index, done)))  # type: ignore[misc]
        if len(outcomes) == len(tasks):
            answer()
        else:
            parked = True
            self._executor.park(run)
        return stop


def _nothing() -> None:
    pass


def check_run(run: Run) -> None:
    """
    Raises:
        GateClosed: another replica has the task, or it was cancelled.
    """
    if run.revoked:
        raise GateClosed(f"task {run.task!r} was taken over or cancelled, or its handler has ended")


def child_key(parent: str, name: str) -> str:
    """The key of a child called `name`: the parent's id and the name, with a digest for what would be too long."""
    key = f"{parent}>{name}"
    if len(key.encode()) <= KEY_BYTES_MAX:
        return key
    key = f"{blake2b(parent.encode(), digest_size=12).hexdigest()}>{name}"
    return key if len(key.encode()) <= KEY_BYTES_MAX else blake2b(key.encode(), digest_size=24).hexdigest()
