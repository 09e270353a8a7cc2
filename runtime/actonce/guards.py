"""The seam between a winning claim and what is done under it: who must agree, and for how long that lasts.

Ordinary ownership decides who *asks*; a guard decides whether it *may*. `available` says yes at once. `majority` and
`fenced` get their yes from elsewhere. Everything here is called on the engine's thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from actonce.agent import Agent
from actonce.ownership import Member
from actonce.running import Run
from actonce_crdt import Claim, TaskState

Granted = Callable[[str, int, int], None]
"""Called with task, epoch and fence once the claim of that epoch may be acted under. At most once a claim."""


class Guard(Protocol):
    """Decides whether claims may be acted under."""

    def may_ask(self) -> bool:
        """Whether a claim made now could be granted. While it is False no claim of the kind is written."""
        ...

    def ask(self, task: str, epoch: int) -> None:
        """We wrote a claim of this epoch. `Granted` is called when it may be acted under: at once, later, or never."""
        ...

    def asking(self) -> int:
        """Claims that were asked for, may soon be granted, and will need a slot then."""
        ...

    def claimants(self, state: TaskState) -> frozenset[Member]:
        """Whom nobody may replace while they may be alive: the holder, and whoever asked last. Empty: it is free."""
        ...

    def holds(self, task: str, state: TaskState, epoch: int) -> bool:
        """Whether our claim of this epoch is still good, by all that is known. Once False it is never True again."""
        ...

    def begun(self, state: TaskState, claim: Claim) -> bool:
        """Whether a handler may have started under this claim of anybody, as far as is known here."""
        ...

    def until(self, run: Run) -> float:
        """Until when, on our clock, effects of this run may leave; minus infinity for not now."""
        ...

    def kept(self, run: Run, clock: int, others: Mapping[int, int]) -> bool:
        """Whether whoever may take the task over will find our entries below this clock, and those of others below
        these clocks (by client id)."""
        ...

    def unknown_since(self, run: Run) -> float | None:
        """None, if we know all intents of whoever held the task before. Otherwise the unix time of the first holder:
        an effect without an intent may have been made since then, and is a doubt.
        """
        ...

    def leaving(self, run: Run) -> None:
        """An effect has passed the gate."""
        ...

    def ended(self, task: str, epoch: int) -> None:
        """Nothing will be done any more under our claim of this epoch, and the task is not done."""
        ...


class Available:
    """The default: a claim is as good as the contact with everybody in play."""

    def __init__(self, me: Member, granted: Granted) -> None:
        self._me, self._granted = me, granted

    def may_ask(self) -> bool:
        return True

    def ask(self, task: str, epoch: int) -> None:
        self._granted(task, epoch, epoch)

    def asking(self) -> int:
        return 0

    def claimants(self, state: TaskState) -> frozenset[Member]:
        claim = state.standing
        return frozenset() if claim is None else frozenset({Member(*claim.claimant)})

    def holds(self, task: str, state: TaskState, epoch: int) -> bool:
        return self._me in self.claimants(state)

    def begun(self, state: TaskState, claim: Claim) -> bool:
        return True

    def until(self, run: Run) -> float:
        return math.inf

    def kept(self, run: Run, clock: int, others: Mapping[int, int]) -> bool:
        return True

    def unknown_since(self, run: Run) -> float | None:
        return None

    def leaving(self, run: Run) -> None:
        """Whoever comes next knows of it by its intent."""

    def ended(self, task: str, epoch: int) -> None:
        """Nothing was taken, so nothing is given back."""


class Guards:
    """The guards of one replica, by kind of task."""

    def __init__(self, agent: Agent, guards: Mapping[str, Guard]) -> None:
        """
        Args:
            guards: by their names in `@agent.task(..., guard=...)`; "available" is one of them.
        """
        self._agent, self._guards = agent, guards

    def of(self, kind: str) -> Guard:
        """The guard of this kind; of a kind that only other replicas know, the default."""
        spec = self._agent.tasks.get(kind)
        return self._guards[spec.guard if spec is not None else "available"]

    def asking(self) -> int:
        """Slots that are spoken for."""
        return sum(guard.asking() for guard in self._guards.values())
