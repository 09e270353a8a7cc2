"""Which open tasks are ours, and claiming them when we may."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actonce.executor import Executor
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member, next_epoch, owner
from actonce.poison import Poison
from actonce.readiness import Readiness, waits
from actonce.world import World
from actonce_crdt import Claim, TaskState

RETRY_WAIT_S_MAX = 60.0
"""How long a survivor waits at most for the retry time that a dead replica wrote down."""

EPOCH_MAX = 2**50
"""Far above any view number, and within what a claim entry can hold."""


class Claims:
    """The open tasks of the mesh as this replica sees them."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        membership: Membership,
        executor: Executor,
        poison: Poison,
        *,
        on_takeover: Callable[[str, Claim], None],
    ) -> None:
        """
        Args:
            on_takeover: called before we claim a task that another claimant left unfinished.
        """
        self._world, self._ledger, self._membership, self._executor = world, ledger, membership, executor
        self._poison, self._on_takeover = poison, on_takeover
        self.open: dict[str, None] = {}
        """Tasks without an outcome, in the order in which they came."""
        self._ready = Readiness(world, self.changed)
        self._held: list[str] = []
        """Ready, but for other tasks of its sort that must end first."""
        self._waited: set[str] = set()
        self._seen_version = -1
        self.enabled = True
        """False while the replica leaves: what it has it finishes, new work it does not take."""

    def changed(self, keys: Iterable[str]) -> None:
        """Entries of these keys came or were written."""
        tasks = self._ledger.state.tasks
        for key in keys:
            state = tasks.get(key)
            if state is not None:
                self._look(key, state)

    def _look(self, task: str, state: TaskState) -> None:
        if self._executor.has(task) and not self._executor.holds(task, state):
            self._executor.revoke(task)
        elif self._executor.has(task) and state.cancel is not None:
            self._executor.cancel(task)
            return
        if state.done is not None:
            self.open.pop(task, None)
            self._poison.over(task)
            self._ready.discard(task)
            self._ready.ended(task)
        elif state.task is not None:
            self.open[task] = None
            wait = waits(state, self._ledger.state.tasks, self._world.wall() * 1000)
            if wait is None and self._is_ours(task, state.task.kind, state):
                self._ready.put(task, state.task.priority)
                return
            self._ready.discard(task)
            if wait is not None:
                self._ready.hold(task, wait)

    def _is_ours(self, task: str, kind: str, state: TaskState) -> bool:
        """We own it, and nobody who may be alive has claimed it."""
        members = self._membership.in_play()
        claim = state.standing
        if claim is not None and Member(claim.author, claim.incarnation) in members:
            return False
        return owner(task, members, self._membership.able(kind)) == self._membership.me

    def pump(self) -> None:
        """Claim what is ours, as far as slots go. The caller has checked that we may act at this moment."""
        if self._seen_version != self._membership.version:
            self._seen_version = self._membership.version
            self._poison.look(self._membership.in_play(), self.open)
            for task in list(self.open):
                self._look(task, self._ledger.state.tasks[task])
        if not self.enabled:
            return
        held, self._held = self._held, []
        self.changed(held)
        while len(self._ready) and self._executor.free > 0:
            self._claim(self._ready.pop())

    def _claim(self, task: str) -> None:
        state = self._ledger.state.tasks[task]
        if self._executor.must_wait(state):
            self._held.append(task)
            return
        wait_s = state.tries.retry_at_ms / 1000 - self._world.wall() if state.tries else 0.0
        if wait_s > 0 and task not in self._waited:
            self._waited.add(task)  # once, and capped: the other replica's wall clock may be wrong
            self._world.call_later(min(wait_s, RETRY_WAIT_S_MAX), lambda: self.changed([task]))
            return
        self._waited.discard(task)
        me = self._membership.me
        epoch = next_epoch(self._membership.view, state.epoch)
        if epoch > EPOCH_MAX:
            return  # a faulty replica burnt the epochs of this task: it stays open, and nobody fails over it
        if state.standing is not None:
            self._on_takeover(task, state.standing)
        self._ledger.write(Claim(task, self._ledger.stamp(), me.name, epoch, me.incarnation))
        self._executor.start(task, epoch)
