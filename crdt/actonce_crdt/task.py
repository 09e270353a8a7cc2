"""The state of a task: a product of four lattices, one for each kind of entry.

field   keeps                                                      why
task    the smallest (stamp, author)                               the first submission counts
claim   the largest (epoch, rank, author, incarnation, stamp, ..)  the tie-break of ownership
tries   the largest (attempt, epoch, stamp, author)                the latest failure
done    the largest (ok, epoch, rank, author, stamp)               a success outlives a failure
"""

from dataclasses import dataclass

from .entries import Claim, Done, Task, TaskRecord, Try
from .lattice import greatest, least
from .rank import order


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of one task. Any field may be missing: entries arrive in any order."""

    task: Task | None = None
    claim: Claim | None = None
    tries: Try | None = None
    done: Done | None = None


def join(a: TaskState, b: TaskState) -> TaskState:
    """Least upper bound: commutative, associative, idempotent. Both must be states of the same task."""
    return TaskState(
        least(a.task, b.task, _task_order),
        greatest(a.claim, b.claim, claim_order),
        greatest(a.tries, b.tries, _try_order),
        greatest(a.done, b.done, _done_order),
    )


def lift(record: TaskRecord) -> TaskState:
    """The state that one entry alone stands for."""
    match record:
        case Task():
            return TaskState(task=record)
        case Claim():
            return TaskState(claim=record)
        case Try():
            return TaskState(tries=record)
        case Done():
            return TaskState(done=record)


def claim_order(claim: Claim) -> tuple[int | str, ...]:
    """The tie-break of claims: the higher epoch wins; in one epoch, the higher rank; then the later incarnation.

    It needs no membership, so it is the same everywhere, at any time.
    """
    tie = (claim.incarnation, claim.stamp, claim.holder, claim.holder_incarnation)
    return claim.epoch, *order(claim.key, claim.author), *tie


def _task_order(task: Task) -> tuple[int | str, ...]:
    return task.stamp, task.author


def _try_order(tries: Try) -> tuple[int | str, ...]:
    return tries.attempt, tries.epoch, tries.stamp, tries.author


def _done_order(done: Done) -> tuple[int | str, ...]:
    return done.ok, done.epoch, *order(done.key, done.author), done.stamp
