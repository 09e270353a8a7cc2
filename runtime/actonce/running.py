"""A task that runs here, and the gate that its effects must pass.

These two records are shared between the engine, which writes them, and the hands, which only read single
attributes of them (atomic in CPython, and a stale read is as old as the instruction before it).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from actonce.agent import TaskSpec
from actonce.errors import GateClosed
from actonce.memory import Write
from actonce.world import Cancel


@dataclass(slots=True, eq=False)
class Run:
    """One attempt of a task by its claimant."""

    task: str
    spec: TaskSpec
    payload: bytes
    epoch: int
    """Epoch of the claim: the fencing token of its effects."""
    attempt: int
    """Counted from 1 over all replicas."""
    claimed_at: float
    """When, on our clock, the claim was made. Whoever had the task before had stopped acting by then."""
    fence: int = 0
    """What its effects show to sinks; the epoch, unless the guard has numbers of its own."""
    until: float = math.inf
    """On our clock: until when the guard of its kind lets effects leave."""
    last_attempt: int = 1
    """The attempt after which a failure is the outcome."""
    reopened: bool = False
    """Somebody ordered that it be tried again."""
    revoked: bool = False
    """Somebody else has the task: no further effect may leave."""
    job: Cancel | None = None
    writes: list[Write] = field(default_factory=list)
    """What its handler wrote to memory: it counts if the attempt succeeds. Until then only the hands touch it."""


class Gate:
    """Whether an effect may leave this moment. Engine writes, any thread asks."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.until = -math.inf
        """On our clock: when the oldest promise of a member in play ends."""
        self.shut = False
        """The replica has stopped acting for good."""
        self.halted = False
        """Ordered to stop at once: see `control`."""
        self.halted_kinds: frozenset[str] = frozenset()
        """The same for these kinds of task."""
        self._passing: dict[object, Run] = {}

    def is_open(self, run: Run) -> bool:
        """Whether the claim still wins, contact is fresh, and nobody ordered to stop at once."""
        ordered = self.halted or run.spec.kind in self.halted_kinds
        return not run.revoked and not self.shut and not ordered and self._now() < min(self.until, run.until)

    def enter(self, effect: object, run: Run) -> None:
        """An effect is about to leave; it is under way until `arrived`.

        It is counted before it is checked. So whoever shuts the gate and counts then has counted all that passed.

        Raises:
            GateClosed: the effect must not leave.
        """
        self._passing[effect] = run
        self.check(run)

    def arrived(self, effect: object) -> None:
        """Nothing of it leaves any more: the sink has answered, or was given up."""
        self._passing.pop(effect, None)

    def passing(self) -> list[Run]:
        """The runs with effects under way."""
        return list(self._passing.copy().values())

    def check(self, run: Run) -> None:
        """
        Raises:
            GateClosed: the effect must not leave.
        """
        if not self.is_open(run):
            ended = f"task {run.task!r} was taken over, or its handler has ended"
            raise GateClosed(ended if run.revoked else "contact with the other replicas is stale")
