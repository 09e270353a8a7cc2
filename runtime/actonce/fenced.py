"""The guard `fenced`: a lock service, besides the claim, says who may run a task. Between claim and handler.

Claims are won by the rules of ownership as ever; on two sides of a long partition, one on each. Then the claimant
asks the lock service for the task, and its handler starts with the token that it gets. Until then the task waits, and
takes no slot. What the three rules of this module add to one holder at a time:

- *Done is remembered.* The service keeps for days who has done a task, so that the other side of a partition waits
  for the outcome instead of running it again.
- *Readers.* The record of a task names the incarnations that read each intent before its effect leaves. A new holder
  that is not one of them (it was cut off) treats every effect as a doubt, known intent or not: see `Outbox.prepare`.
- *Nothing is given back while it may still arrive*: a task whose effects passed the gate is held for the longest
  publish timeout after the last one.

Not promised: anything when the service forgets (storage in memory, a bucket that was deleted, a restored backup); or
about a partition that outlasts `RETENTION_S` of the locks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from actonce.agent import Agent
from actonce.guards import Granted
from actonce.ledger import Ledger
from actonce.lock_session import LockSession
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.running import Run
from actonce.settings import Settings
from actonce.task_locks import Hold, TaskLocks
from actonce.world import World
from actonce_crdt import Claim, TaskState

REQUESTS_MAX = 16
"""Tasks that are asked for at once; the others wait for their turn."""

RETRY_S = 0.05
"""After a write that came second, or found the service away."""

POLL_S = 0.4
"""Between two looks at a task that somebody else holds."""


class Fenced:
    """The guard "fenced" of one replica. Implements `actonce.guards.Guard`."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        membership: Membership,
        settings: Settings,
        agent: Agent,
        me: Member,
        journal: str,
        granted: Granted,
        *,
        has: Callable[[str], bool],
        on_lost: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            journal: id of the journal.
            has: whether a task runs here, or waits here for its next attempt.
            on_lost: a task that we held may be held by others now.
            note: remember an event for people.
        """
        self._world, self._ledger, self._membership = world, ledger, membership
        self._me, self._granted, self._has, self._on_lost, self._note = me, granted, has, on_lost, note
        self.session: LockSession | None = None
        self.holds_of: dict[str, Hold] = {}
        """Tasks that we claimed, or have to give back."""
        self._leaving = self._was_trouble = False
        self._kinds = frozenset(kind for kind, spec in agent.tasks.items() if spec.guard == "fenced")
        self._settle_s = max((sink.publish_timeout_s for sink in agent.sinks.values()), default=0.0)
        if world.locks is not None and agent.is_fenced:
            self.session = LockSession(world, world.locks, settings, agent.name, me.name, journal, agent.lease_s)
            self._locks = TaskLocks(world, world.locks, self.session, agent.name, me)

    # The guard

    def may_ask(self) -> bool:
        return self.session is not None and self.session.live

    def ask(self, task: str, epoch: int) -> None:
        hold = self.holds_of.get(task)
        if hold is None:
            hold = self.holds_of[task] = Hold(task, epoch, next_at=math.inf)
        reopen = self._ledger.state.tasks[task].reopen
        hold.epoch, hold.reopened = epoch, reopen.epoch if reopen is not None else 0
        # What the claim was based on is on disk before others can learn from the service that we have the task.
        self._ledger.when_durable(lambda: self._durable(hold))

    def asking(self) -> int:
        """Those that nobody is known to hold."""
        return sum(hold.permit is None and not hold.why for hold in self.holds_of.values()) if self.may_ask() else 0

    def claimants(self, state: TaskState) -> frozenset[Member]:
        claim = state.standing
        return frozenset() if claim is None else frozenset({Member(*claim.claimant)})

    def holds(self, task: str, state: TaskState, epoch: int) -> bool:
        hold = self.holds_of.get(task)
        return hold is not None and hold.ours and hold.epoch == epoch and self._is_claimed(hold)

    def begun(self, state: TaskState, claim: Claim) -> bool:
        """Only the service knows: a claim that never got its lock counts as one that did."""
        return True

    def until(self, run: Run) -> float:
        """Whatever leaves has arrived, or never will, before the lease ends."""
        hold = self.holds_of.get(run.task)
        if hold is None or hold.permit is None or hold.epoch != run.epoch or hold.permit.token != run.fence:
            return -math.inf
        return hold.permit.lease.until - self._settle_s

    def kept(self, run: Run, clock: int, others: Mapping[int, int]) -> bool:
        """Also those readers that are not in play have read it: the record says that they know all."""
        hold = self.holds_of.get(run.task)
        readers = hold.permit.readers if hold is not None and hold.permit is not None else frozenset()
        known = {**others, self._ledger.client_id: clock}
        return all(self._has_read(member, known) for member in readers - {self._me})

    def unknown_since(self, run: Run) -> float | None:
        hold = self.holds_of.get(run.task)
        if hold is None or hold.permit is None:
            return 0.0  # it was lost, and the run is about to hear of it
        return hold.permit.since_s if hold.permit.doubtful else None

    def leaving(self, run: Run) -> None:
        hold = self.holds_of.get(run.task)
        if hold is not None and hold.permit is not None:
            hold.permit.left_at = self._world.now()

    def ended(self, task: str, epoch: int) -> None:
        """`tick` sees it by the claim, and gives the task back when its handler has ended."""

    # For people

    def waiting(self, task: str) -> str:
        """Why a task does not go on here: "" when that is not because of a lock."""
        state, hold = self._ledger.state.tasks.get(task), self.holds_of.get(task)
        if state is None or state.task is None or state.done is not None or state.task.kind not in self._kinds:
            return ""
        if self.session is not None and self.session.trouble and not self.session.live:
            return self.trouble()
        return f"waits for its lock: {hold.why}" if hold is not None and hold.why and self._is_wanted(hold) else ""

    def trouble(self) -> str:
        """What is wrong with the lock service, or ""."""
        session = self.session
        if session is None or not session.trouble or self._world.locks is None:
            return ""
        for_s = self._world.now() - session.trouble_since
        return f"waiting for the lock service {self._world.locks.where}: {session.trouble}, since {for_s:.0f} s"

    def facts(self) -> dict[str, object] | None:
        """For `status`; None where no kind is fenced."""
        if self.session is None or self._world.locks is None:
            return None
        until = self.session.lease.until if self.session.lease is not None else -math.inf
        return {
            "service": self._world.locks.where,
            "lease_s": round(until - self._world.now(), 3) if self.session.live else None,
            "held": sum(hold.ours for hold in self.holds_of.values()),
            "waiting": sum(not hold.ours for hold in self.holds_of.values()),
            "trouble": self.trouble() or None,
        }

    # Progress

    def tick(self) -> None:
        """Time passed, or something changed: look after the lease, and after each task."""
        if self.session is None:
            return
        self.session.pump()
        self._tell()
        if not self.session.live:
            return
        in_play = self._membership.in_play()
        requests = sum(hold.busy for hold in self.holds_of.values())
        for hold in [hold for hold in self.holds_of.values() if not hold.busy]:
            asked = False
            if requests < REQUESTS_MAX and self._world.now() >= hold.next_at:
                asked = self._request(hold, in_play)
                requests += asked
            if not asked and hold.ours and self._is_wanted(hold) and not self._has(hold.task):
                self._pass_on(hold)

    @property
    def idle(self) -> bool:
        """Nothing is to be told to the service, or it cannot be told now."""
        return self.session is None or not self.session.live or not self.holds_of

    def leave(self) -> None:
        """What does not run is given back."""
        self._leaving = True
        self.tick()

    def end(self) -> None:
        """After the last handler: give up the lease, unless something that passed the gate may still arrive."""
        if self.session is not None and not self.holds_of:
            self.session.end()

    # One task

    def _durable(self, hold: Hold) -> None:
        hold.next_at = -math.inf
        self.tick()

    def _pass_on(self, hold: Hold) -> None:
        assert hold.permit is not None
        if hold.permit.told != hold.epoch:
            hold.permit.told = hold.epoch
            self._granted(hold.task, hold.epoch, hold.permit.token)

    def _request(self, hold: Hold, in_play: frozenset[Member]) -> bool:
        """Ask the service for whatever the task needs next. Whether something was asked."""
        if not self._is_wanted(hold):
            return self._give_back(hold)
        if hold.permit is None or hold.permit.lease.lost:
            if self._has(hold.task):  # under a permit that is gone
                self._on_lost(hold.task)
                return False
            hold.permit = None
            hold.next_at = self._world.now() + POLL_S
            self._locks.acquire(hold, in_play, lambda: self._asked(hold))
            return True
        readers = self._readers(hold.permit.readers, in_play)
        if hold.revision is None or (readers != hold.permit.readers and not hold.permit.doubtful):
            hold.next_at = self._world.now() + RETRY_S
            hold.permit.readers |= readers  # a new one is waited for before it is recorded
            self._locks.amend(hold, readers, self.tick)
            return True
        return False

    def _asked(self, hold: Hold) -> None:
        if hold.permit is None and not hold.why:
            hold.next_at = self._world.now() + RETRY_S * (1 + self._world.rng.random())
        self.tick()

    def _is_claimed(self, hold: Hold) -> bool:
        """The winning claim is ours, and there is no outcome."""
        state = self._ledger.task(hold.task)
        # Of one that others forgot a claim of ours may be left, which asks for nothing.
        return state.task is not None and state.done is None and self._me in self.claimants(state)

    def _is_wanted(self, hold: Hold) -> bool:
        """We run it, or are going to."""
        return self._is_claimed(hold) and (not self._leaving or self._has(hold.task))

    def _give_back(self, hold: Hold) -> bool:
        if self._has(hold.task):
            return False
        state, now = self._ledger.task(hold.task), self._world.now()
        done = state.done is not None or state.task is None
        if hold.unsure is None and (hold.permit is None or hold.permit.lease.lost):
            del self.holds_of[hold.task]
            return False
        if not done and hold.permit is not None and now < hold.permit.left_at + self._settle_s:
            return False
        hold.next_at = now + RETRY_S
        if done:
            hold.busy = True  # the outcome is on disk before the service calls the task done
            self._ledger.when_durable(lambda: self._tell_done(hold))
        else:
            self._locks.give_back(hold, "free", lambda: self._gave_back(hold))
        return True

    def _tell_done(self, hold: Hold) -> None:
        hold.busy = False
        self._locks.give_back(hold, "done", lambda: self._gave_back(hold))

    def _gave_back(self, hold: Hold) -> None:
        if hold.permit is None and hold.unsure is None and not self._is_wanted(hold):
            del self.holds_of[hold.task]
        self.tick()

    def _readers(self, readers: frozenset[Member], in_play: frozenset[Member]) -> frozenset[Member]:
        """Of those in play: who was a reader already, and who has read all that we have."""
        return frozenset(member for member in in_play if member in readers or self._has_read_all(member)) | {self._me}

    def _has_read_all(self, member: Member) -> bool:
        return self._has_read(member, self._ledger.state_vector())

    def _has_read(self, member: Member, clocks: Mapping[int, int]) -> bool:
        peer = self._membership.peers.get(member.name)
        return peer is not None and peer.member == member and peer.covers(clocks)

    def _tell(self) -> None:
        """Notes for people, at the beginning and at the end of trouble."""
        assert self.session is not None
        trouble = bool(self.session.trouble)
        if trouble != self._was_trouble:
            self._was_trouble = trouble
            self._note(self.trouble() if trouble else "the lock service answers again")
