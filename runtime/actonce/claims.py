"""Which open tasks are ours, and claiming them when we may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from actonce.agent import TaskSpec
from actonce.delegation import DELEGATE_PATIENCE_S, is_delegated_to, may_start, pick
from actonce.executor import Executor
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member, next_epoch, owner
from actonce.placement import SPREAD, Placement, preference, stands_in
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
        self._kinds, self._on_takeover = kinds, on_takeover
        self.open: dict[str, None] = {}
        """Tasks without an outcome, in the order in which they came."""
        self._ready: dict[str, None] = {}
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
        claim, me = state.claim, self._membership.me
        if claim is not None and Member(*claim.claimant) in members:
            back = is_delegated_to(me, claim) and not self._executor.has(task)
            return self._gave_up(task, claim) or (back and self._owns(task, kind, members))
        return self._owns(task, kind, members)

    def _owns(self, task: str, kind: str, members: frozenset[Member]) -> bool:
        able = self._membership.able(kind)
        placements = [Placement.parse(text) for text in self._membership.placements(kind)]
        return all(owner(task, members, able, placement) == self._membership.me for placement in placements)

    def _stand_in_s(self, task: str, kind: str) -> float:
        """How long to leave a task to a replica that comes before us, and is gone: see `Agent.task`."""
        spec, me, now = self._kinds[kind], self._membership.me, self._world.now()
        if spec.stand_in_after_s <= 0:
            return 0.0
        ours = preference(spec.placement, task, me.name, me.traits)
        gone = [
            peer.gone_at
            for peer in self._membership.peers.values()
            if peer.member not in self._membership.in_play()
            and stands_in(spec.placement, ours, preference(spec.placement, task, peer.member.name, peer.member.traits))
        ]
        return max(gone, default=-math.inf) + spec.stand_in_after_s - now

    def give_up(self) -> bool:
        """Others are about to take over what runs here: stop it. Whether there was anything."""
        tasks = self._executor.revoke_all()
        self._given_up |= dict.fromkeys(tasks)
        return bool(tasks)

    def _gave_up(self, task: str, claim: Claim) -> bool:
        """Still ours, but we gave it up: if nobody took it over by now, nobody will."""
        return task in self._given_up and Member(*claim.claimant) == self._membership.me

    def pump(self) -> None:
        """Claim what is ours, as far as slots go. The caller has checked that we may act at this moment."""
        if self._seen_version != self._membership.version:
            self._seen_version = self._membership.version
            for task in list(self.open):
                self._look(task, self._ledger.state.tasks[task])
        self._take_delegated()
        if not self.enabled:
            return
        while self._ready and self._executor.free > 0:
            task = next(iter(self._ready))
            del self._ready[task]
            self._claim(task)
        while self._ready and self._executor.free <= 0 and self._delegate(next(iter(self._ready))):
            pass

    def _delegate(self, task: str) -> bool:
        """Let another do a task of ours, if one has room."""
        state = self._ledger.state.tasks[task]
        assert state.task is not None
        if self._waits(task, state):
            del self._ready[task]
            return True
        delegate = pick(self._membership, state.task.kind)
        if delegate is not None:
            del self._ready[task]
            self._write(task, state, delegate)
        return delegate is not None

    def _take_delegated(self) -> None:
        for task, until in list(self._delegated.items()):
            state = self._ledger.state.tasks[task]
            assert state.task is not None
            assert state.claim is not None
            kind = state.task.kind
            trusted = kind in self._kinds and may_start(self._membership.view, state.claim)
            if trusted and self.enabled and self._executor.free > 0:
                del self._delegated[task]
                self._executor.start(task, state.claim.epoch)
            elif not trusted or not self.enabled or self._world.now() >= until:
                able = self._membership.able(kind)
                placement = self._kinds[kind].placement if kind in self._kinds else SPREAD
                to = owner(task, self._membership.in_play() - {self._membership.me}, able, placement)
                if to is not None:
                    del self._delegated[task]
                    self._write(task, state, to)

    def _waits(self, task: str, state: TaskState) -> bool:
        """Not yet: its next attempt is due later, or who comes before us may return. It is looked at again then."""
        assert state.task is not None
        wait_s = state.tries.retry_at_ms / 1000 - self._world.wall() if state.tries else 0.0
        if wait_s > 0 and task not in self._waited:
            self._waited.add(task)  # once, and capped: the other replica's wall clock may be wrong
            wait_s = min(wait_s, RETRY_WAIT_S_MAX)
        else:
            wait_s = self._stand_in_s(task, state.task.kind)
        if wait_s > 0:
            self._world.call_later(wait_s, lambda: self.changed([task]))
        return wait_s > 0

    def _claim(self, task: str) -> None:
        state = self._ledger.state.tasks[task]
        if not self._waits(task, state):
            epoch = self._write(task, state, None)
            if epoch is not None:
                self._executor.start(task, epoch)

    def _write(self, task: str, state: TaskState, holder: Member | None) -> int | None:
        """Write a claim of ours, in the name of `holder` if there is one. Returns its epoch."""
        self._waited.discard(task)
        self._given_up.pop(task, None)
        me = self._membership.me
        epoch = next_epoch(self._membership.view, state.claim.epoch if state.claim is not None else 0)
        if epoch > EPOCH_MAX:
            return None  # a faulty replica burnt the epochs of this task: it stays open, and nobody fails over it
        if state.claim is not None and Member(*state.claim.claimant) != me:
            self._on_takeover(task, state.claim)
        to = (holder.name, holder.incarnation) if holder is not None else ("", 0)
        self._ledger.write(Claim(task, self._ledger.stamp(), me.name, epoch, me.incarnation, *to))
        return epoch
