"""Which open tasks are ours, and claiming them when we may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from actonce.agent import TaskSpec
from actonce.delegation import DELEGATE_PATIENCE_S, is_delegated_to, may_start, pick
from actonce.executor import Executor
from actonce.guards import Guards
from actonce.ledger import Ledger
from actonce.looked import Looked
from actonce.membership import Membership
from actonce.ownership import Member, is_first, next_epoch, owner
from actonce.placement import SPREAD
from actonce.poison import Poison
from actonce.readiness import Readiness, waits
from actonce.standing import Standing
from actonce.standing_in import Contenders, stand_in_s
from actonce.suspicion import is_out
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
        poison: Poison,
        standing: Standing,
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
        self._guards, self._poison, self._kinds, self._on_takeover = guards, poison, kinds, on_takeover
        self._standing, self._contenders = standing, Contenders(membership)
        self.open: dict[str, None] = {}
        """Tasks without an outcome, in the order in which they came."""
        self._ready = Readiness(world, self.changed)
        self._looked = Looked(membership)
        self._apart: dict[str, None] = {}
        """Ready, but for other tasks of its sort that run here: see `poison`. Looked at again once that has changed."""
        self._apart_from: object = None
        self._barred: dict[str, dict[str, None]] = {}
        """Kind -> ready tasks for which its guard cannot be asked now, or that may not begin, by order."""
        self._granted: dict[str, tuple[int, int]] = {}
        """Claims of ours that may be acted under, and wait for a slot: task -> epoch, fence."""
        self._waited: dict[str, float] = {}
        """Until when, on our clock, we leave alone what a dead replica was to try again later."""
        self._given_up: dict[str, None] = {}
        self._delegated: dict[str, float] = {}
        """What others gave us, and waits for a slot -> when we hand it back."""
        self._still_here: dict[str, None] = {}
        """What others gave us, and runs here: perhaps under an earlier claim, and then it is to begin anew."""
        self._seen_version = -1
        self.enabled = True
        """False while the replica leaves: what it has it finishes, new work it does not take."""

    def changed(self, keys: Iterable[str]) -> None:
        """Entries of these keys came or were written."""
        tasks = self._ledger.state.tasks
        for key in keys:
            state = tasks.get(key)
            if key in self.open and (state is None or (state.task is None and state.done is None)):
                self._vanished(key)
            elif state is not None:
                self._look(key, state)
            elif self._apart:
                self._brought_on(key)

    def _brought_on(self, key: str) -> None:
        """A step or an effect of a task came: it may show that the death of its last claimant was no fault of it."""
        state = self._ledger.state
        effect = state.effects.get(key)
        about = effect.intent if effect is not None else state.steps.get(key)
        if about is not None and about.task in self._apart:
            self._apart_from = None

    def _vanished(self, task: str) -> None:
        """Somebody has forgotten it, though we never heard that it is over: it will be, or it was."""
        for known in (self.open, self._apart, self._given_up, self._granted, self._delegated):
            known.pop(task, None)
        self._looked.drop(task)
        self._waited.pop(task, None)
        self._poison.over(task)
        self._ready.over(task)
        self._executor.revoke(task)

    def _look(self, task: str, state: TaskState) -> None:
        if self._executor.has(task):
            if not self._executor.holds(task, state):
                self._executor.revoke(task)
            elif state.cancel is not None:
                self._executor.cancel(task)
                return
        if task in self._granted and (state.done is not None or not self._holds(task, state)):
            epoch, _ = self._granted.pop(task)
            if state.done is None:
                self._guards.of(self._kind(task)).ended(task, epoch)
        if self._delegated and (state.done is not None or not is_delegated_to(self._membership.me, state.standing)):
            self._delegated.pop(task, None)
        if state.done is not None:
            self.open.pop(task, None)
            self._looked.drop(task)
            self._given_up.pop(task, None)
            self._waited.pop(task, None)
            self._poison.over(task)
            self._ready.over(task)
            self._ready.ended(task)
        elif state.task is not None:
            self.open[task] = None
            self._sort(task, state, state.task.kind, state.task.priority)

    def _sort(self, task: str, state: TaskState, kind: str, priority: int) -> None:
        """An open task is ready, or waits, or was delegated to us, or is not ours."""
        has = self._executor.has(task)
        given = is_delegated_to(self._membership.me, state.standing)
        if given and has:
            self._still_here[task] = None
        delegated = given and not has
        wait = waits(state, self._ledger.state.tasks, self._world.wall() * 1000)
        ours = (wait is None or delegated) and self._is_ours(task, kind, state)
        if ours and wait is None:
            self._ready.put(task, priority)
        else:
            self._ready.discard(task)
        if wait is not None:
            self._ready.hold(task, wait)
        if ours:
            self._delegated.pop(task, None)
        elif delegated:
            self._delegated.setdefault(task, self._world.now() + DELEGATE_PATIENCE_S)
        if has or delegated or task in self._given_up or task in self._granted:
            self._looked.loosen(task)
        else:
            self._remember(task, state, waits=wait is not None)

    def _remember(self, task: str, state: TaskState, *, waits: bool) -> None:
        """What a look at a task has found, if only time, the replicas and what is known of it can change that."""
        asked = state.task
        spec = self._kinds.get(asked.kind) if asked is not None else None
        if asked is None or asked.after or state.cancel is not None or (spec is not None and spec.guard != "available"):
            self._looked.loosen(task)
        elif waits:
            self._looked.waits(task, asked.not_before_ms)
        else:
            self._looked.sorted(task, asked.not_before_ms)

    @property
    def free(self) -> int:
        """How many tasks more could start at once."""
        if not self.enabled or self._standing.stands_by or self._standing.all_held:
            return 0
        return max(0, self._executor.free - len(self._ready) - len(self._delegated))

    def _is_ours(self, task: str, kind: str, state: TaskState) -> bool:
        """We own it, and nobody who may be alive has claimed it."""
        held = self._guards.of(kind).claimants(state) & self._membership.in_play()
        if held:
            mine = self._membership.me in held
            back = is_delegated_to(self._membership.me, state.standing) and not self._executor.has(task)
            return mine and (task in self._given_up or (back and self._owns(task, kind)))
        return self._owns(task, kind)

    def _owns(self, task: str, kind: str) -> bool:
        """Whether we come first among those that may be given it, by each placement that somebody declares.

        Whoever stands by, by order, keeps owning tasks of ordinary kinds, and has others do them: who owns what must
        not depend on who has read the order. Where a guard says who acts, it may.
        """
        me = self._membership.me
        placements, able = self._contenders.of(kind)
        if kind in self._kinds and self._kinds[kind].guard != "available":
            able = [member for member in able if not self._standing.is_out(member.name)]
        return me in able and all(is_first(me, task, able, placement) for placement in placements)

    def reordered(self) -> None:
        """Orders have changed: look at everything anew, and begin again what may go on."""
        self._seen_version = -1
        self._looked.all_stale(self.open)

    def hand_on(self, task: str) -> None:
        """By order: what runs here, or waits here for another attempt, is for others to do."""
        self._executor.revoke(task)
        self._given_up[task] = None
        self.changed([task])

    def _stand_by(self) -> None:
        for task in self._executor.put_off():
            self.hand_on(task)
        for task in list(self._granted):
            epoch, _ = self._granted.pop(task)
            self._guards.of(self._kind(task)).ended(task, epoch)
            self.hand_on(task)

    def _may_take(self, kind: str) -> bool:
        return self._guards.of(kind).may_ask() and not self._standing.held(kind)

    def give_up(self) -> bool:
        """If others are about to take over what runs here, as we are too slow: stop it. Whether there was anything."""
        if not is_out(self._membership.me, self._membership.required(), self._membership.peers):
            return False
        tasks = self._executor.revoke_all()
        for task in tasks:
            if task in self.open:  # else its handler outlived the task, which may be forgotten by now
                self._given_up[task] = None  # still ours: if nobody takes it over, nobody ever will
                self._looked.loosen(task)
        return bool(tasks)

    def pump(self) -> None:
        """Claim what is ours, as far as slots go. The caller has checked that we may act at this moment."""
        if self._seen_version != self._membership.version:
            self._seen_version = self._membership.version
            self._poison.look(self._membership.in_play(), self.open)
            self._executor.serve_due()
            tasks = self._ledger.state.tasks
            for task in self._looked.stale(self.open, self._world.wall() * 1000):
                self._look(task, tasks[task])
        if ended := [task for task in self._still_here if not self._executor.has(task)]:
            for task in ended:
                del self._still_here[task]
            self.changed(ended)
        self._take_delegated()
        if not self.enabled:
            return
        if self._standing.stands_by:
            self._stand_by()
        apart, self._apart = self._apart, {}
        due = self._apart_is_due(apart)
        if due:
            self.changed(apart)
        for kind in [kind for kind in self._barred if self._may_take(kind)]:
            self.changed(self._barred.pop(kind))
        for task in list(self._granted):
            if self._may_start(task):
                self._executor.start(task, *self._granted.pop(task))
        self._take_ready()
        if not due:
            self._apart |= {task: None for task in apart if task not in self._apart}

    def _apart_is_due(self, apart: Mapping[str, None]) -> bool:
        """Whether anything that `Executor.must_wait` looks at has changed since the last look, but for these tasks
        themselves: when entries about one of them come, it is looked at anyway."""
        before, self._apart_from = self._apart_from, None
        if apart:
            room = not self._standing.stands_by and self._executor.free - self._guards.asking() > 0
            members, deaths = self._membership.version, len(self._membership.proved)
            self._apart_from = (self._executor.company(), room, members, deaths)
        return self._apart_from is None or before != self._apart_from

    def _take_ready(self) -> None:
        """By priority and age; what cannot be taken now keeps its place."""
        kept = []
        for _ in range(READY_LOOK_MAX):
            if not len(self._ready):
                break
            place = self._ready.pop_place()
            task = place[2]
            self._looked.loosen(task)
            kind, state = self._kind(task), self._ledger.state.tasks[task]
            out = self._standing.stands_by
            if self._standing.held(kind) and state.cancel is None:  # one that was called off only gets its outcome
                self._barred.setdefault(kind, {})[task] = None
            elif not out and self._executor.has_room(kind, self._guards.asking()):
                if self._guards.of(kind).may_ask():
                    self._claim(task, kind)
                else:
                    self._barred.setdefault(kind, {})[task] = None
            elif self._kinds[kind].guard != "available" or (self._poison.deaths(state) and not out):
                kept.append(place)  # whoever holds it was granted it; and what may kill its process is not handed round
            elif not self._delegate(task, kind):
                kept.append(place)
                break
        for place in kept:
            self._ready.restore(place)

    def granted(self, task: str, epoch: int, fence: int) -> None:
        """The guard lets our claim of this epoch be acted under."""
        if self.enabled and self._may_start(task):
            self._executor.start(task, epoch, fence)
        else:
            self._granted[task] = (epoch, fence)

    def _may_start(self, task: str) -> bool:
        kind = self._kind(task)
        may = self._standing.begins(kind) and self._executor.has_room(kind)
        return may and not self._executor.must_wait(self._ledger.state.tasks[task])

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
        """Let another do a task of ours, if one has room. False when nobody has; it is as ready as before then."""
        state = self._ledger.state.tasks[task]
        if self._waits(task, state):
            return True
        delegate = pick(self._membership, kind)
        if delegate is not None:
            self._write(task, state, delegate)
        return delegate is not None

    def _take_delegated(self) -> None:
        for task, until in list(self._delegated.items()):
            state, kind = self._ledger.state.tasks[task], self._kind(task)
            assert state.standing is not None
            trusted = kind in self._kinds and may_start(self._membership.view, state.standing)
            # When it may begin, the owner said by its clock. What it comes after, its handler may have to look at.
            ready = trusted and waits(state, self._ledger.state.tasks, math.inf) is None
            if ready and self.enabled and self._may_start(task):
                del self._delegated[task]
                self._executor.start(task, state.standing.epoch, state.standing.epoch)
            elif not trusted or not self.enabled or self._world.now() >= until:
                able = self._membership.able(kind)
                placement = self._kinds[kind].placement if kind in self._kinds else SPREAD
                to = owner(task, self._membership.in_play() - {self._membership.me}, able, placement)
                if to is not None:
                    del self._delegated[task]
                    self._write(task, state, to)

    def _waits(self, task: str, state: TaskState) -> bool:
        """Not yet: its next attempt is due later, or who comes before us may return. It is looked at again then."""
        now = self._world.now()
        if state.tries is not None and task not in self._waited:  # once, and capped: its wall clock may be wrong
            wait_s = state.tries.retry_at_ms / 1000 - self._world.wall()
            self._waited[task] = now + min(max(0.0, wait_s), RETRY_WAIT_S_MAX)
        wait_s = self._waited.get(task, now) - now
        if wait_s <= 0 or state.cancel is not None:  # one that was called off only gets its outcome
            wait_s = stand_in_s(self._membership, self._kinds[self._kind(task)], task, now)
        if wait_s > 0:
            self._world.call_later(wait_s, lambda: self.changed([task]))
        return wait_s > 0

    def _claim(self, task: str, kind: str) -> None:
        state = self._ledger.state.tasks[task]
        if self._executor.must_wait(state):
            self._apart[task] = None
        elif not self._waits(task, state):
            epoch = self._write(task, state, None)
            if epoch is not None:
                self._guards.of(kind).ask(task, epoch)

    def _write(self, task: str, state: TaskState, holder: Member | None) -> int | None:
        """Write a claim of ours, in the name of `holder` if there is one. Returns its epoch."""
        self._waited.pop(task, None)
        self._given_up.pop(task, None)
        me = self._membership.me
        epoch = next_epoch(self._membership.view, state.epoch)
        if epoch > EPOCH_MAX:
            return None  # a faulty replica burnt the epochs of this task: it stays open, and nobody fails over it
        if state.standing is not None and Member(*state.standing.claimant) != me:
            self._on_takeover(task, state.standing)
        to = (holder.name, holder.incarnation) if holder is not None else ("", 0)
        self._ledger.write(Claim(task, self._ledger.stamp(), me.name, epoch, me.incarnation, *to))
        return epoch
