"""Steps, seen from the engine: which results a run may use, and when a result counts as remembered.

A step is *finished* when `ctx.step` returns. By then its result is on disk here and read by every member in play, like
the intent of an effect; so whoever takes the task over has read it, whichever of the others die too. What a run
inherits is waited for in the same way, once, before it is used: perhaps only we have read it so far.

A step begins only while the claim wins and contact is fresh (it may be a paid call), and a superseded run records
nothing. Steps of a side that lost a long partition are not used: see `actonce_crdt.step`.

Not promised: that a step's function runs once. It runs again if its replica dies before the step is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from actonce.errors import GateClosed
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.outbox import Outbox
from actonce.running import Run
from actonce_crdt import NO_BASE, ClaimId, Step, lineage, step_key

NOTHING_BEFORE = ""


@dataclass(frozen=True, slots=True)
class Known:
    """It ran before: this is its result."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Begin:
    """It is to be run now."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What was remembered does not fit the handler as it is now; `why` is a sentence for people."""

    why: str


Plan = Known | Begin | Changed


@dataclass(slots=True)
class _Memory:
    """What one run has of its task's steps."""

    run: Run
    steps: dict[str, Step]
    base: ClaimId
    base_number: int
    number: int
    """Of the last step recorded under this claim."""
    is_read: bool
    """All that it inherits is known to every member in play."""
    asked: set[str] = field(default_factory=set)


class Steps:
    """Steps of the runs of this replica."""

    def __init__(self, ledger: Ledger, membership: Membership, outbox: Outbox) -> None:
        self._ledger, self._membership, self._outbox = ledger, membership, outbox
        self._memories: dict[str, _Memory] = {}

    def begin(self, run: Run, name: str, before: str, reply: Callable[[Plan], None]) -> None:
        """What to do about the step `name`, which follows steps with the fingerprint `before`.

        Raises:
            GateClosed: the run is over, or another replica has the task.
        """
        if run.revoked:  # what outlived its handler (a thread, a task of its own) must not take the next run's place
            raise GateClosed(f"task {run.task!r} was taken over: step {name!r} does not begin")
        memory = self._memories.get(run.task)
        if memory is None or memory.run is not run:
            memory = self._memories[run.task] = self._recall(run)
        if memory.is_read:
            self._decide(run, memory, name, before, reply)
        else:
            known = memory

            def read() -> None:
                known.is_read = True
                self._decide(run, known, name, before, reply)

            self._outbox.when_all_read(run, read)

    def _decide(self, run: Run, memory: _Memory, name: str, before: str, reply: Callable[[Plan], None]) -> None:
        step = memory.steps.get(name)
        why = None if run.spec.on_changed == "keep" else changed(memory.steps, memory.asked, name, before)
        memory.asked.add(name)
        if why is not None:
            reply(Changed(why))
        elif step is not None:
            reply(Known(step.result))
        else:
            self._outbox.when_open(run, lambda: reply(Begin()))

    def finish(self, run: Run, name: str, before: str, result: bytes, reply: Callable[[], None]) -> None:
        """Remember that the step returned `result`; `reply` comes when it is finished, or the run was revoked.

        Raises:
            GateClosed: the run is over, or another replica has the task.
        """
        memory = self._memories.get(run.task)
        if run.revoked or memory is None or memory.run is not run:
            raise GateClosed(f"task {run.task!r} was taken over: step {name!r} is not remembered")
        memory.steps[name] = self._record(memory, name, before, result)
        self._outbox.when_safe(run, reply)

    def start_over(self, run: Run) -> None:
        """Void all that is remembered: the next attempt runs every step."""
        memory = self._memories.get(run.task)
        if memory is not None and memory.run is run:
            del self._memories[run.task]
            if not run.revoked:
                self._record(memory, "", NOTHING_BEFORE, b"")

    def forget(self, run: Run) -> None:
        """The run has ended."""
        memory = self._memories.get(run.task)
        if memory is not None and memory.run is run:
            del self._memories[run.task]

    def _recall(self, run: Run) -> _Memory:
        mine = (run.epoch, self._membership.me.name)
        every = self._ledger.state.steps_of(run.task)
        own = [step for step in every if (step.epoch, step.author) == mine]
        steps = lineage(every, mine)
        base, base_number = NO_BASE, 0
        if own:
            first = min(own, key=lambda step: step.number)
            base, base_number = (first.base_epoch, first.base_author), first.base_number
        elif steps:
            base, base_number = (steps[-1].epoch, steps[-1].author), steps[-1].number
        number = max((step.number for step in own), default=0)
        return _Memory(run, {step.name: step for step in steps}, base, base_number, number, is_read=not steps)

    def _record(self, memory: _Memory, name: str, before: str, result: bytes) -> Step:
        run, me = memory.run, self._membership.me.name
        memory.number += 1
        step = Step(
            step_key(run.task, (run.epoch, me), memory.number),
            self._ledger.stamp(),
            me,
            run.task,
            run.epoch,
            memory.number,
            *memory.base,
            memory.base_number,
            name,
            before,
            result,
        )
        self._ledger.write(step)
        return step


def fingerprint(before: str, name: str) -> str:
    """Of a sequence of names, from that of all but the last."""
    return blake2b(f"{before}\0{name}".encode(), digest_size=8).hexdigest()


def changed(steps: Mapping[str, Step], asked: set[str], name: str, before: str) -> str | None:
    """Why the step `name` does not fit what is remembered; None when it does.

    It fits if it is remembered with the same steps before it; or if it is not remembered, and no other step is that
    stood in its place and has not come yet.
    """
    step = steps.get(name)
    if step is not None:
        if step.before == before:
            return None
        return f"step {name!r} was remembered after other steps than those that come before it now"
    for other in steps.values():
        if other.before == before and other.name not in asked:
            return f"step {name!r} comes now where step {other.name!r} was remembered"
    return None
