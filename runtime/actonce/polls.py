"""Polled sources, seen from the engine: who polls, what counts as taken in, and the cursor.

Polling a source is one task that never ends: `poll:NAME`. So ownership, claims and the gate decide who polls, as for
any other task; the others are hot standbys, and whoever takes the task over goes on from the cursor. It holds no slot.

The order of things is what keeps items: tasks first. Only when they are on disk here, and read by every member in play,
the cursor is written; and only when that has been read in the same way, the next call begins from it. So a source may
forget what lies before the cursor that it is shown. Whoever dies in between, the next poller gets the same items
again, and finds their tasks known by their keys.

Cursors are opaque. They are ordered by the epoch of the claim that they were written under, and by their number: a
poller that slept, and writes one late, changes nothing (`actonce_crdt.cursor`).

Not promised: that the function is called once at a time. Each side of a partition longer than the grace polls; after
it the cursor of one of them counts (the one that claimed later, not the one that read further: cursors are opaque), and
what the other had read is perhaps read again, and found known. That holds for as long as outcomes are remembered:
after a partition longer than the retention of a kind and `forget_after_s` together, such items run again. A call that
was under way when its replica fell asleep may reach the outside late, with a cursor that others have passed since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from actonce.agent import Agent
from actonce.executor import Executor
from actonce.inbox import Inbox
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.outbox import Outbox
from actonce.ownership import owner
from actonce.pauses import AGAIN_S_MAX, pause_s
from actonce.readiness import Terms
from actonce.running import Run
from actonce.sources import Poll
from actonce.standing import Standing
from actonce.world import World
from actonce_crdt import Cursor, pack_value

NOTHING = pack_value(None)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call found, checked and packed."""

    since: Cursor | None
    """Where it began."""
    items: tuple[tuple[str, str, bytes], ...]
    """Task, kind, payload."""
    cursor: bytes
    more: bool


class Polls:
    """The polled sources of the agent on one replica."""

    def __init__(
        self,
        world: World,
        agent: Agent,
        ledger: Ledger,
        membership: Membership,
        inbox: Inbox,
        outbox: Outbox,
        executor: Executor,
        standing: Standing,
    ) -> None:
        self._world, self._agent, self._ledger, self._membership = world, agent, ledger, membership
        self._inbox, self._outbox, self._executor, self._standing = inbox, outbox, executor, standing
        self._resting: list[tuple[Run, Poll, Callable[[Cursor | None], None]]] = []
        """Runs that wait for an order to be lifted."""
        self._failures: Counter[str] = Counter()
        """Source -> calls in a row that failed here."""
        self._errors: dict[str, str] = {}

    @property
    def me(self) -> str:
        """Name of this replica."""
        return self._membership.me.name

    def look(self) -> None:
        """Begin what nobody has begun yet, or may go on. The caller has checked that we may act at this moment."""
        if not self._agent.polls:
            return
        rested = [waiting for waiting in self._resting if waiting[0].revoked or not self._rests(waiting[1])]
        self._resting = [waiting for waiting in self._resting if waiting not in rested]
        for waiting in rested:
            self.begin(*waiting)
        tasks = self._ledger.state.tasks
        for _, poll in sorted(self._agent.polls.items()):
            if poll.task not in tasks:
                able = self._membership.able(poll.task)
                if owner(poll.task, self._membership.in_play(), able) == self._membership.me:
                    self._inbox.add(poll.task, poll.task, NOTHING, Terms())

    def begin(self, run: Run, poll: Poll, reply: Callable[[Cursor | None], None]) -> None:
        """Reply with the cursor from which to poll, once that is allowed; or at once if the run is revoked."""
        self._executor.park(run)
        if not run.revoked and self._rests(poll):
            self._resting.append((run, poll, reply))
            return

        def read() -> None:
            self._outbox.when_open(run, answer)

        def answer() -> None:
            reply(self._ledger.state.cursors.get(poll.name))

        self._outbox.when_all_read(run, read)

    def _rests(self, poll: Poll) -> bool:
        """By order: what is drained takes in nothing new, and a call is to begin as any task is."""
        taken = self._standing.takes_in(poll.task) and self._standing.takes_in(poll.kind)
        return not taken or not self._standing.begins(poll.task)

    def take(self, run: Run, poll: Poll, batch: Batch, reply: Callable[[bool], None]) -> None:
        """Take the items in, then move the cursor; reply whether it moved."""
        self._outbox.when_open(run, lambda: self._take(run, poll, batch, reply))

    def _take(self, run: Run, poll: Poll, batch: Batch, reply: Callable[[bool], None]) -> None:
        self._failures.pop(poll.name, None)
        if run.revoked:
            reply(False)
            return
        for task, kind, payload in batch.items:
            self._inbox.add(task, kind, payload, Terms())
        # Also what others wrote: of an item that we found known, perhaps nobody else has read yet.
        self._outbox.when_all_read(run, lambda: self._move(run, poll, batch, reply))

    def _move(self, run: Run, poll: Poll, batch: Batch, reply: Callable[[bool], None]) -> None:
        known = self._ledger.state.cursors.get(poll.name)
        stale = known != batch.since or (known is not None and known.epoch > run.epoch)
        if run.revoked or stale or batch.cursor == (known.value if known is not None else NOTHING):
            reply(False)  # where the other side of a partition had read further, that is where we go on
            return
        number = known.number + 1 if known is not None else 1
        me, stamp = self._membership.me.name, self._ledger.stamp()
        self._ledger.write(Cursor(poll.name, stamp, me, run.epoch, number, batch.cursor))
        reply(True)

    def failed(self, poll: Poll, error: str) -> float:
        """A call failed; returns how long to wait before the next."""
        self._failures[poll.name] += 1
        self._errors[poll.name] = error
        return pause_s(self._failures[poll.name], self._world.rng.random(), max(AGAIN_S_MAX, poll.period_s))

    def troubles(self) -> Iterator[str]:
        """Sources whose last call failed on this replica, each as a sentence."""
        for name, times in sorted(self._failures.items()):
            if self._executor.has(self._agent.polls[name].task):
                yield f"source {name!r}: {times} calls in a row failed, the last with {self._errors[name]}"

    def facts(self) -> dict[str, Any]:
        """For `status`: by name, who polls, how far, and how many calls in a row failed here."""
        rows: dict[str, Any] = {}
        for name, poll in sorted(self._agent.polls.items()):
            state, known = self._ledger.state.tasks.get(poll.task), self._ledger.state.cursors.get(name)
            claim = state.standing if state is not None and state.done is None else None
            rows[name] = {
                "poller": claim.claimant[0] if claim is not None else None,
                "cursor": [known.epoch, known.number] if known is not None else None,
                "failures": self._failures[name],
            }
        return rows
