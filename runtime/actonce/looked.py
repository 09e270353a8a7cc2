"""Which open tasks need no look, although something about the replicas has changed.

Whose a task is depends on who is in play, on who of these can do its kind, and on who leaves. Announcements come much
more often than these change; with a hundred thousand open tasks a look at each takes a second, in which the replica
hears nobody. So a task is left alone where the next look would find what the last one found, and do nothing: one that
is not under way here, and either waits for its time, or the replicas are the same. (When something new is known of a
task, it is looked at for that.) `tests/simulation/test_looked.py` looks at these, too: nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from actonce.membership import Membership


class Looked:
    """What the last looks of one replica found."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._loose: dict[str, None] = {}
        """A look at these may do something."""
        self._waiting: dict[str, int] = {}
        """Until when these wait, in unix milliseconds."""
        self._first_ms = math.inf
        """None of them begins before."""
        self._last_ms = 0
        """Since then all others may begin: they are with whom they belong, as long as the replicas are the same."""
        self._replicas: object = None
        self._version = -1
        """Of the membership, when the replicas were last compared."""

    def waits(self, task: str, until_ms: int) -> None:
        """A look at this task found that it may not begin before that time, and has a timer for it."""
        self.drop(task)
        self._waiting[task] = until_ms
        self._first_ms = min(self._first_ms, until_ms)

    def sorted(self, task: str, since_ms: int) -> None:
        """A look at this task found that it may begin, since that time; if it is ours, it is among the ready ones."""
        self.drop(task)
        if self._version == self._membership.version:
            self._last_ms = max(self._last_ms, since_ms)
        else:  # the replicas may be others, and these ones again later
            self._loose[task] = None

    def loosen(self, task: str) -> None:
        """The next look at it may do something."""
        self.drop(task)
        self._loose[task] = None

    def drop(self, task: str) -> None:
        """It is over."""
        self._loose.pop(task, None)
        self._waiting.pop(task, None)

    def stale(self, tasks: Collection[str], wall_ms: float) -> list[str]:
        """Those of these open tasks that have to be looked at. Takes work proportional to them, but for when the
        replicas are others, or the time of some task has come: then to all."""
        replicas, self._version = self._who(), self._membership.version
        if replicas != self._replicas or wall_ms < self._last_ms:
            self._replicas, self._last_ms = replicas, 0
            self._loose = {task: None for task in tasks if task not in self._waiting}
        if wall_ms >= self._first_ms:
            due = [task for task, until_ms in self._waiting.items() if until_ms <= wall_ms]
            for task in due:
                self.loosen(task)
            self._first_ms = min(self._waiting.values(), default=math.inf)
        return list(self._loose)

    def all_stale(self, tasks: Collection[str]) -> None:
        """Look at all of these anew."""
        self._waiting.clear()
        self._loose = dict.fromkeys(tasks)

    def _who(self) -> object:
        """Everything about the replicas that says who owns a task."""
        membership = self._membership
        in_play = membership.in_play()
        known = [
            (peer.member, peer.leaving, peer.about.kinds if peer.about is not None else None)
            for peer in membership.peers.values()
            if peer.member in in_play
        ]
        return in_play, membership.leaving, known
