"""Which open tasks are ours, and claiming them when we may."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actonce.executor import Executor
from actonce.guards import Guards
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member, next_epoch, owner
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
        guards: Guards,
        *,
        on_takeover: Callable[[str, Claim], None],
    ) -> None:
        """
        Args:
            on_takeover: called before we claim a task that another claimant left unfinished.
        """
        self._world, self._ledger, self._membership, self._executor = world, ledger, membership, executor
        self._guards, self._on_takeover = guards, on_takeover
        self.open: dict[str, None] = {}
        """Tasks without an outcome, in the order in which they came."""
        self._ready: dict[str, None] = {}
        self._granted: dict[str, tuple[int, int]] = {}
        """Claims of ours that may be acted under, and wait for a slot: task -> epoch, fence."""
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
        if task in self._granted and (state.done is not None or not self._holds(task, state)):
            epoch, _ = self._granted.pop(task)
            if state.done is None:
                self._guards.of(self._kind(task)).ended(task, epoch)
        self._ready.pop(task, None)
        if state.done is not None:
            self.open.pop(task, None)
        elif state.task is not None:
            self.open[task] = None
            if self._is_ours(task, state.task.kind, state):
                self._ready[task] = None

    def _is_ours(self, task: str, kind: str, state: TaskState) -> bool:
        """We own it, and nobody who may be alive has claimed it."""
        members = self._membership.in_play()
        if self._guards.of(kind).claimants(state) & members:
            return False
        return owner(task, members, self._membership.able(kind)) == self._membership.me

    def pump(self) -> None:
        """Claim what is ours, as far as slots go. The caller has checked that we may act at this moment."""
        if self._seen_version != self._membership.version:
            self._seen_version = self._membership.version
            for task in list(self.open):
                self._look(task, self._ledger.state.tasks[task])
        if not self.enabled:
            return
        for task in list(self._granted)[: max(0, self._executor.free)]:
            self._executor.start(task, *self._granted.pop(task))
        free = self._executor.free - self._guards.asking()
        for task in list(self._ready):
            if free <= 0:
                break
            kind = self._kind(task)
            if self._guards.of(kind).may_ask():
                del self._ready[task]
                self._claim(task, kind)
                free = self._executor.free - self._guards.asking()

    def granted(self, task: str, epoch: int, fence: int) -> None:
        """The guard lets our claim of this epoch be acted under."""
        if self._executor.free > 0 and self.enabled:
            self._executor.start(task, epoch, fence)
        else:
            self._granted[task] = (epoch, fence)

    def _holds(self, task: str, state: TaskState) -> bool:
        return self._guards.of(self._kind(task)).holds(task, state, self._granted[task][0])

    def holders(self, state: TaskState) -> frozenset[Member]:
        """Who has this task, or asked for it: empty when nobody has, and by `available` one at most."""
        return self._guards.of(state.task.kind).claimants(state) if state.task is not None else frozenset()

    def _kind(self, task: str) -> str:
        state = self._ledger.state.tasks[task]
        assert state.task is not None
        return state.task.kind

    def _claim(self, task: str, kind: str) -> None:
        state = self._ledger.state.tasks[task]
        wait_s = state.tries.retry_at_ms / 1000 - self._world.wall() if state.tries else 0.0
        if wait_s > 0 and task not in self._waited:
            self._waited.add(task)  # once, and capped: the other replica's wall clock may be wrong
            self._world.call_later(min(wait_s, RETRY_WAIT_S_MAX), lambda: self.changed([task]))
            return
        self._waited.discard(task)
        me = self._membership.me
        known = [state.claim.epoch if state.claim is not None else 0, *(grant.epoch for grant in state.grants)]
        epoch = next_epoch(self._membership.view, max(known))
        if epoch > EPOCH_MAX:
            return  # a faulty replica burnt the epochs of this task: it stays open, and nobody fails over it
        if state.claim is not None:
            self._on_takeover(task, state.claim)
        self._ledger.write(Claim(task, self._ledger.stamp(), me.name, epoch, me.incarnation))
        self._guards.of(kind).ask(task, epoch)
