"""Faults in polling: what the order of tasks and cursor is for, and the order of cursors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import actonce_crdt.state
from actonce.polls import Batch, Polls
from actonce.readiness import Terms
from actonce.running import Run
from actonce.sources import Poll
from actonce_crdt import Cursor


def cursor_before_tasks(patch: pytest.MonkeyPatch) -> None:
    """The cursor first; the tasks as soon as it is known to all."""

    def take(self: Polls, run: Run, poll: Poll, batch: Batch, reply: Callable[[bool], None]) -> None:
        def then() -> None:
            for task, kind, payload in batch.items if not run.revoked else ():
                self._inbox.add(task, kind, payload, Terms())

        self._move(run, poll, batch, reply)
        self._outbox.when_safe(run, then)

    patch.setattr(Polls, "_take", take)


def cursor_by_arrival(patch: pytest.MonkeyPatch) -> None:
    """Of two cursors the one that came last counts."""
    patch.setattr(actonce_crdt.state, "join_cursors", lambda a, b: b)


def cursor_by_number_only(patch: pytest.MonkeyPatch) -> None:
    """A poller that slept counts on from what it knew, and is believed."""

    def move(self: Polls, run: Run, poll: Poll, batch: Batch, reply: Callable[[bool], None]) -> None:
        known = self._ledger.state.cursors.get(poll.name)
        number = (known.number if known is not None else 0) + 1
        epoch, me = 1, self._membership.me.name
        self._ledger.write(Cursor(poll.name, self._ledger.stamp(), me, epoch, number, batch.cursor))
        reply(True)

    def take(self: Polls, run: Run, poll: Poll, batch: Batch, reply: Callable[[bool], None]) -> None:
        for task, kind, payload in batch.items:
            self._inbox.add(task, kind, payload, Terms())
        self._move(run, poll, batch, reply)

    patch.setattr(Polls, "_move", move)
    patch.setattr(Polls, "take", take)


def key_by_poller(patch: pytest.MonkeyPatch) -> None:
    """Keys that differ from one poller to the next: what dedupes them is gone."""
    add = Polls._take

    def take(self: Polls, run: Run, poll: Poll, batch: Batch, reply: Callable[[bool], None]) -> None:
        items = tuple((f"{task}@{run.epoch}", kind, payload) for task, kind, payload in batch.items)
        add(self, run, poll, Batch(batch.since, items, batch.cursor, batch.more), reply)

    patch.setattr(Polls, "_take", take)
