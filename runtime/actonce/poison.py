"""Tasks that kill the process that runs them: counted by claims that their process did not outlive, then set aside.

Whoever takes a task over from a process that *died* with it (a proved death, or a later incarnation of the replica)
writes the count down with its claim. A process that left in good order has written that it passed the task on; one that
only fell silent is not counted, so a task that hangs its process is passed on, not set aside. (A replica that started
since cannot tell silence from death, and counts it.) Nor is one counted under whose claim a step was finished, an
effect intended, or children waited for: a long task may see any number of crashes as long as it gets on. Of a delegated
task it is the delegate's process that counts; of a guarded one a claim that nobody granted does not. (Under `fenced`
only the lock service knows, so a claim counts whether or not it ever got its lock.)

A handler usually starts before its claim is on disk. Of a process that dies that fast nobody would ever hear: so
what was open when a process died or this one restarted, and what comes in shortly after, is a *suspect*, whose
handler starts only once its claim is on disk and read by every replica in play. So one death at most goes uncounted,
of a task that kills its process within a millisecond.

Others die with it, innocent. So tasks that saw a process die begin one after the other on a replica, and those that saw
two run alone among them (`must_be_apart`): the guilty one then dies without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from actonce.guards import Guards
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.reclaim import RECLAIM
from actonce_crdt import Claim, Passed, TaskState

DEATHS_MAX = 3
"""A task that was running when so many processes died is set aside."""
ALERT_S = 10.0
"""After a process died, or this one restarted, so long every task is a suspect: it may be what killed it."""
APART_S = 0.02
"""How long a task that saw one process die runs before another one that did may begin beside it: what kills at once has
done so by then. What kills later is alone from its second death on, so a takeover need not wait for longer."""


def must_be_apart(deaths: int, running: int, running_s: float) -> bool:
    """Whether a task with so many deaths may not begin beside one with `running` deaths that has run for so long.

    A task whose first death went uncounted kills fast, and those that died with it have more deaths than it has. One
    that kills slowly is always counted. So for a while each is kept apart from all others that saw a death, and whoever
    saw two is so for good.
    """
    if not deaths or not running or deaths >= DEATHS_MAX:
        return False
    return running_s < APART_S or max(deaths, running) > 1


class Poison:
    """What one replica knows of deaths."""

    def __init__(
        self, now: Callable[[], float], ledger: Ledger, membership: Membership, guards: Guards, *, restarted: bool
    ) -> None:
        self._now, self._ledger, self._membership, self._guards = now, ledger, membership, guards
        self._restarted = restarted
        self._alert_until = -math.inf
        self._members: frozenset[Member] = frozenset()
        self._left: set[Member] = set()
        self._suspects: set[str] = set()

    def look(self, members: frozenset[Member], tasks: Iterable[str]) -> None:
        """These members are in play, these tasks open. Called at least whenever the former change."""
        peers = self._membership.peers.values()
        self._left |= {peer.member for peer in peers if peer.leaving}
        lost = self._members - members - self._left
        if any(not self._membership.only_silent(member) for member in lost) or self._restarted:
            self._suspects.update(tasks)
            self._alert_until = self._now() + ALERT_S
        self._members, self._restarted = members, False

    def is_suspect(self, task: str) -> bool:
        """Whether its claim must be known to all before its handler starts."""
        return task in self._suspects or self._now() < self._alert_until

    def over(self, task: str) -> None:
        """It has an outcome."""
        self._suspects.discard(task)

    def taken_over(self, task: str, claim: Claim) -> None:
        """We are about to claim it after this claim: count a death, if it was one."""
        self._suspects.add(task)
        state = self._ledger.state.tasks[task]
        if self._is_news(state, claim):
            self._pass(task, state, claim.epoch, deaths=1)

    def deaths(self, state: TaskState) -> int:
        """How many deaths the task will have if we claim it now."""
        claim = state.standing
        return state.deaths + (claim is not None and self._is_news(state, claim))

    def _is_news(self, state: TaskState, claim: Claim) -> bool:
        """Whether the process of this claim died, had not brought the task on, and nobody has counted that yet."""
        told = state.passed is not None and state.passed.epoch >= claim.epoch
        if told or state.task is None or not self._died(Member(*claim.claimant)):
            return False
        if state.task.kind == RECLAIM:
            return False  # it runs no code of a user; and set aside, or waiting beside others, it would lock rights up
        return self._guards.of(state.task.kind).begun(state, claim) and not self._brought_on(claim)

    def _brought_on(self, claim: Claim) -> bool:
        """Whether a step was finished, or an effect intended, under this claim."""
        view, mine = self._ledger.state, (claim.epoch, claim.claimant[0])
        if any((step.epoch, step.author) == mine for step in view.steps_of(claim.key)):
            return True
        intents = (view.effects[key].intent for key in view.effects_of(claim.key))
        return any(intent is not None and (intent.epoch, intent.author) == mine for intent in intents)

    def waiting(self, task: str) -> None:
        """Its handler here waits for other tasks: if we die meanwhile, that is no fault of it."""
        state = self._ledger.task(task)
        claim = state.standing
        if claim is not None and (state.passed is None or state.passed.epoch < claim.epoch):
            self._pass(task, state, claim.epoch, deaths=0)

    def leaving(self, tasks: Iterable[str]) -> None:
        """We end in good order, with some of these tasks claimed by us."""
        me = self._membership.me
        for task in tasks:
            state = self._ledger.state.tasks[task]
            claim = state.standing
            if claim is not None and Member(*claim.claimant) == me:
                self._pass(task, state, claim.epoch, deaths=0)

    def _pass(self, task: str, state: TaskState, epoch: int, deaths: int) -> None:
        known = state.passed.deaths if state.passed is not None else 0
        self._ledger.write(Passed(task, self._ledger.stamp(), self._membership.me.name, epoch, known + deaths))

    def _died(self, member: Member) -> bool:
        if member.name == self._membership.me.name:
            return member != self._membership.me
        return not self._membership.only_silent(member)
