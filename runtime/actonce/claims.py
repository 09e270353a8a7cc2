"""Which open tasks are ours, and claiming them when we may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from actonce.agent import TaskSpec
from actonce.delegation import DELEGATE_PATIENCE_S, is_delegated_to, may_start, pick
from actonce.executor import Executor
from actonce.guards import Guards
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member, next_epoch, owner
from actonce.placement import SPREAD
from actonce.standing_in import declared, stand_in_s
from actonce.world import World
from actonce_crdt import Claim, TaskState

RETRY_WAIT_S_MAX = 60.0
"""How long a survivor waits at most for the retry time that a dead replica wrote down."""

READY_LOOK_MAX = 256
"""Tasks that one look at the clock may claim or delegate; the rest follow in the next."""

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
        kinds: Mapping[str, TaskSpec],
        *,
        on_takeover: Callable[[str, Claim], None],
    ) -> None:
        """
        Args:
            kinds: what has a handler here.
            on_takeover: called before we claim a task that another claimant left unfinished.
        """
        self._world, self._ledger, self._membership, self._executor = world, ledger, membership, executor
        self._guards, self._kinds, self._on_takeover = guards, kinds, on_takeover
        self.open: dict[str, None] = {}
        """Tasks without an outcome, in the order in which they came."""
        self._ready: dict[str, None] = {}
        self._granted: dict[str, tuple[int, int]] = {}
        """Claims of ours that may be acted under, and wait for a slot: task -> epoch, fence."""
        self._waited: set[str] = set()
        self._given_up: dict[str, None] = {}
        self._delegated: dict[str, float] = {}
        """What others gave us, and waits for a slot -> when we hand it back."""
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
        if not is_delegated_to(self._membership.me, state.claim) or state.done is not None:
            self._delegated.pop(task, None)
        if state.done is not None:
            self.open.pop(task, None)
            self._given_up.pop(task, None)
        elif state.task is not None:
            self.open[task] = None
            if self._is_ours(task, state.task.kind, state):
                self._ready[task] = None
                self._delegated.pop(task, None)
            elif is_delegated_to(self._membership.me, state.claim) and not self._executor.has(task):
                self._delegated.setdefault(task, self._world.now() + DELEGATE_PATIENCE_S)

    @property
    def free(self) -> int:
        """How many tasks more could start at once."""
        if not self.enabled:
            return 0
        return max(0, self._executor.free - len(self._ready) - len(self._delegated))

    def _is_ours(self, task: str, kind: str, state: TaskState) -> bool:
        """We own it, and nobody who may be alive has claimed it."""
        members = self._membership.in_play()
        held = self._guards.of(kind).claimants(state) & members
        if held:
            mine = self._membership.me in held
            back = is_delegated_to(self._membership.me, state.claim) and not self._executor.has(task)
            return mine and (task in self._given_up or (back and self._owns(task, kind, members)))
        return self._owns(task, kind, members)

    def _owns(self, task: str, kind: str, members: frozenset[Member]) -> bool:
        able = self._membership.able(kind)
        me = self._membership.me
        return all(owner(task, members, able, placement) == me for placement in declared(self._membership, kind))

    def give_up(self) -> bool:
        """Others are about to take over what runs here: stop it. Whether there was anything."""
        tasks = self._executor.revoke_all()
        self._given_up |= dict.fromkeys(tasks)  # still ours: if nobody takes them over, nobody ever will
        return bool(tasks)

    def pump(self) -> None:
        """Claim what is ours, as far as slots go. The caller has checked that we may act at this moment."""
        if self._seen_version != self._membership.version:
            self._seen_version = self._membership.version
            for task in list(self.open):
                self._look(task, self._ledger.state.tasks[task])
        self._take_delegated()
        if not self.enabled:
            return
        for task in list(self._granted)[: max(0, self._executor.free)]:
            self._executor.start(task, *self._granted.pop(task))
        for task in list(islice(self._ready, READY_LOOK_MAX)):
            kind = self._kind(task)
            if self._executor.free - self._guards.asking() > 0:
                if self._guards.of(kind).may_ask():
                    self._claim(task, kind)
                else:  # to the end: others must not wait for it
                    del self._ready[task]
                    self._ready[task] = None
            elif not self._delegate(task, kind):
                break

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

    def _delegate(self, task: str, kind: str) -> bool:
        """Let another do a task of ours, if one has room. Whether it is worth looking at the next one."""
        state = self._ledger.state.tasks[task]
        if self._kinds[kind].guard != "available":
            return True  # whoever holds it was granted it
        if self._waits(task, state):
            del self._ready[task]
            return True
        delegate = pick(self._membership, kind)
        if delegate is not None:
            del self._ready[task]
            self._write(task, state, delegate)
        return delegate is not None

    def _take_delegated(self) -> None:
        for task, until in list(self._delegated.items()):
            state, kind = self._ledger.state.tasks[task], self._kind(task)
            assert state.claim is not None
            trusted = kind in self._kinds and may_start(self._membership.view, state.claim)
            if trusted and self.enabled and self._executor.free > 0:
                del self._delegated[task]
                self._executor.start(task, state.claim.epoch, state.claim.epoch)
            elif not trusted or not self.enabled or self._world.now() >= until:
                able = self._membership.able(kind)
                placement = self._kinds[kind].placement if kind in self._kinds else SPREAD
                to = owner(task, self._membership.in_play() - {self._membership.me}, able, placement)
                if to is not None:
                    del self._delegated[task]
                    self._write(task, state, to)

    def _waits(self, task: str, state: TaskState) -> bool:
        """Not yet: its next attempt is due later, or who comes before us may return. It is looked at again then."""
        wait_s = state.tries.retry_at_ms / 1000 - self._world.wall() if state.tries else 0.0
        if wait_s > 0 and task not in self._waited:
            self._waited.add(task)  # once, and capped: the other replica's wall clock may be wrong
            wait_s = min(wait_s, RETRY_WAIT_S_MAX)
        else:
            wait_s = stand_in_s(self._membership, self._kinds[self._kind(task)], task, self._world.now())
        if wait_s > 0:
            self._world.call_later(wait_s, lambda: self.changed([task]))
        return wait_s > 0

    def _claim(self, task: str, kind: str) -> None:
        del self._ready[task]
        state = self._ledger.state.tasks[task]
        if not self._waits(task, state):
            epoch = self._write(task, state, None)
            if epoch is not None:
                self._guards.of(kind).ask(task, epoch)

    def _write(self, task: str, state: TaskState, holder: Member | None) -> int | None:
        """Write a claim of ours, in the name of `holder` if there is one. Returns its epoch."""
        self._waited.discard(task)
        self._given_up.pop(task, None)
        me = self._membership.me
        known = [state.claim.epoch if state.claim is not None else 0, *(grant.epoch for grant in state.grants)]
        epoch = next_epoch(self._membership.view, max(known))
        if epoch > EPOCH_MAX:
            return None  # a faulty replica burnt the epochs of this task: it stays open, and nobody fails over it
        if state.claim is not None and Member(*state.claim.claimant) != me:
            self._on_takeover(task, state.claim)
        to = (holder.name, holder.incarnation) if holder is not None else ("", 0)
        self._ledger.write(Claim(task, self._ledger.stamp(), me.name, epoch, me.incarnation, *to))
        return epoch
