"""What a person or a program orders for one task: call it off, try it again, drop it from the list of the dead.

An order is answered when it is on disk here and read by one live peer, like a submission. A cancelled handler stops at
its next await; from the moment that its replica has read the order none of its effects passes the gate. What had left
before, has left. A plain function cannot be stopped: it goes on in its thread, and its next `post` is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actonce.errors import NoSuchTask, WrongState
from actonce.inbox import Inbox, Submitted
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce_crdt import Cancel, Done, Record, Reopen, TaskState

Reply = Callable[[str], None]
"""Told what became of the task, in a word: cancelled, retried, dropped, or the state that it was in already."""


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders that come in at this replica."""

    ledger: Ledger
    membership: Membership
    inbox: Inbox

    def cancel(self, task: str, reply: Reply) -> None:
        """No further attempt, no further effect. A task that is over stays as it is.

        Raises:
            NoSuchTask: not known here.
        """
        state = self._state(task)
        if state.done is not None:
            reply("done" if state.done.ok else state.done.how or "failed")
            return
        order = Cancel(task, self.ledger.stamp(), self.membership.me.name, state.epoch + 1)
        self._write(task, order, "cancelled", reply)

    def retry(self, task: str, reply: Reply) -> None:
        """A task that failed, was set aside, cancelled or dropped gets as many attempts as it had at first.

        What it had posted is not posted again; its finished steps count, unless they do not fit its handler any more.

        Raises:
            NoSuchTask: not known here.
            WrongState: it did not fail.
        """
        state, done = self._failed(task)  # the last failure of a handler is its outcome, and no attempt of its own
        epoch = max(state.epoch, done.epoch, state.cancel.epoch if state.cancel else 0)
        attempts, deaths = state.attempt + (not done.how), state.passed.deaths if state.passed else 0
        order = Reopen(task, self.ledger.stamp(), self.membership.me.name, epoch, attempts, deaths)
        self._write(task, order, "retried", reply)

    def drop(self, task: str, reply: Reply) -> None:
        """A task that failed is not listed among the dead any more.

        Raises:
            NoSuchTask: not known here.
            WrongState: it did not fail.
        """
        state, done = self._failed(task)
        me, stamp, epoch = self.membership.me.name, self.ledger.stamp(), max(state.epoch, done.epoch) + 1
        self._write(task, Done(task, stamp, me, epoch, False, done.result, "dropped"), "dropped", reply)

    def _failed(self, task: str) -> tuple[TaskState, Done]:
        state = self._state(task)
        if state.done is None or state.done.ok:
            raise WrongState(f"task {task!r} is {'done' if state.done else 'not over'}: this is for what failed")
        return state, state.done

    def _state(self, task: str) -> TaskState:
        state = self.ledger.state.tasks.get(task)
        if state is None or state.task is None:
            raise NoSuchTask(f"no task {task!r} is known here")
        return state

    def _write(self, task: str, record: Record, word: str, reply: Reply) -> None:
        clock = self.ledger.write(record)
        self.inbox.when_kept(clock, Submitted(task, new=False), lambda kept: reply(word))

