"""Which open tasks need no look, although something about the replicas has changed.

Whose a task is depends on who is in play, on who of these can do its kind, and on who leaves. Announcements come much
more often than these change; with a hundred thousand open tasks a look at each takes a second, in which the replica
hears nobody. So what a look found is kept where the next one would find the same and do nothing: of a task that is not
under way here, as long as nothing new is known of it, and either it waits for its time or the replicas are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actonce.membership import Membership
from actonce.readiness import Readiness
from actonce_crdt import TaskState


class Looked:
    """What the last looks of one replica found."""

    def __init__(self, membership: Membership, ready: Readiness) -> None:
        self._membership, self._ready = membership, ready
        self._waiting: dict[str, tuple[TaskState, int]] = {}
        """Until when, in unix milliseconds."""
        self._sorted: dict[str, tuple[TaskState, int, bool]] = {}
        """Since when it may begin; whether it is ours. As long as the replicas are the same."""
        self._replicas: object = None
        self._version = -1
        """Of the membership, when the replicas were last compared."""

    def waits(self, task: str, state: TaskState, until_ms: int) -> None:
        """A look at this task found that it may not begin before that time, and has a timer for it."""
        self._waiting[task] = (state, until_ms)
        self._sorted.pop(task, None)

    def sorted(self, task: str, state: TaskState, since_ms: int, *, ours: bool) -> None:
        """A look at this task found that it may begin, and whether it is ours; then it is among the ready ones."""
        self.drop(task)
        if self._version == self._membership.version:  # else the replicas may be others, and these ones again later
            self._sorted[task] = (state, since_ms, ours)

    def drop(self, task: str) -> None:
        """It is over, or a look at it may do something."""
        self._waiting.pop(task, None)
        self._sorted.pop(task, None)

    def forget(self) -> None:
        """Look at everything anew."""
        self._waiting.clear()
        self._sorted.clear()

    def stale(self, tasks: Iterable[str], states: Mapping[str, TaskState], wall_ms: float) -> list[str]:
        """Those of these open tasks that have to be looked at, in their order."""
        replicas, self._version = self._who(), self._membership.version
        if replicas != self._replicas:
            self._replicas = replicas
            self._sorted.clear()
        waiting, found = self._waiting, []
        for task in tasks:
            state = states[task]
            if task in waiting:
                known, until_ms = waiting[task]
                if known is state and until_ms > wall_ms:
                    continue
            elif task in self._sorted:
                known, since_ms, ours = self._sorted[task]
                if known is state and since_ms <= wall_ms and (not ours or self._ready.has(task)):
                    continue
            found.append(task)
        return found

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
