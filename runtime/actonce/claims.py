"""Which open tasks are ours, and claiming them when we may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from actonce.agent import TaskSpec
from actonce.executor import Executor
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member, next_epoch, owner
from actonce.placement import Placement, preference, stands_in
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
        if state.done is not None:
            self.open.pop(task, None)
            self._given_up.pop(task, None)
        elif state.task is not None:
            self.open[task] = None
            if self._is_ours(task, state.task.kind, state):
                self._ready[task] = None

    def _is_ours(self, task: str, kind: str, state: TaskState) -> bool:
        """We own it, and nobody who may be alive has claimed it."""
        members = self._membership.in_play()
        if state.claim is not None and Member(state.claim.author, state.claim.incarnation) in members:
            return self._gave_up(task, state.claim)
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
        return task in self._given_up and Member(claim.author, claim.incarnation) == self._membership.me

    def pump(self) -> None:
        """Claim what is ours, as far as slots go. The caller has checked that we may act at this moment."""
        if self._seen_version != self._membership.version:
            self._seen_version = self._membership.version
            for task in list(self.open):
                self._look(task, self._ledger.state.tasks[task])
        if not self.enabled:
            return
        while self._ready and self._executor.free > 0:
            task = next(iter(self._ready))
            del self._ready[task]
            self._claim(task)

    def _claim(self, task: str) -> None:
        state = self._ledger.state.tasks[task]
        wait_s = state.tries.retry_at_ms / 1000 - self._world.wall() if state.tries else 0.0
        if wait_s > 0 and task not in self._waited:
            self._waited.add(task)  # once, and capped: the other replica's wall clock may be wrong
            self._world.call_later(min(wait_s, RETRY_WAIT_S_MAX), lambda: self.changed([task]))
            return
        assert state.task is not None
        wait_s = self._stand_in_s(task, state.task.kind)
        if wait_s > 0:
            self._world.call_later(wait_s, lambda: self.changed([task]))
            return
        self._waited.discard(task)
        self._given_up.pop(task, None)
        me = self._membership.me
        epoch = next_epoch(self._membership.view, state.claim.epoch if state.claim is not None else 0)
        if epoch > EPOCH_MAX:
            return  # a faulty replica burnt the epochs of this task: it stays open, and nobody fails over it
        if state.claim is not None:
            self._on_takeover(task, state.claim)
        self._ledger.write(Claim(task, self._ledger.stamp(), me.name, epoch, me.incarnation))
        self._executor.start(task, epoch)
