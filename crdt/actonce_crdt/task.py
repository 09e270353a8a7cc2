"""The state of a task: a product of lattices, one for each kind of entry.

field   keeps                                                      why
task    the smallest (stamp, author)                               the first submission counts
claim   the largest (epoch, rank, author, incarnation, stamp)      the tie-break of ownership
tries   the largest (attempt, epoch, stamp, author)                the latest failure
done    the largest (ok, epoch, rank, author, stamp)               a success outlives a failure
passed  the largest (deaths, epoch, stamp, author)                 deaths are never forgotten
cancel  the largest (epoch, stamp, author)                         the latest word
reopen  the largest (epoch, attempts, deaths, stamp, author)       the latest word

A reopened task has neither the failure nor the cancellation that the reopening knew of (epoch not above its own): those
are a lower part of their order, so leaving them out keeps the laws. A success stays.
"""

from dataclasses import dataclass

from .entries import Cancel, Claim, Done, Passed, Reopen, Task, TaskRecord, Try
from .lattice import greatest, least
from .rank import order


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of one task. Any field may be missing: entries arrive in any order."""

    task: Task | None = None
    claim: Claim | None = None
    tries: Try | None = None
    done: Done | None = None
    passed: Passed | None = None
    cancel: Cancel | None = None
    reopen: Reopen | None = None

    @property
    def standing(self) -> Claim | None:
        """The claim, unless the task was reopened since."""
        void = self.claim is None or (self.reopen is not None and self.claim.epoch <= self.reopen.epoch)
        return None if void else self.claim

    @property
    def epoch(self) -> int:
        """The highest epoch of any claim, or reopening, that is known; 0 for none."""
        return max(self.claim.epoch if self.claim else 0, self.reopen.epoch if self.reopen else 0)

    @property
    def deaths(self) -> int:
        """Processes that died with this task, since it was last reopened."""
        return (self.passed.deaths if self.passed else 0) - (self.reopen.deaths if self.reopen else 0)

    @property
    def attempt(self) -> int:
        """Number of the latest attempt that failed; 0 for none."""
        return max(self.tries.attempt if self.tries else 0, self.reopen.attempts if self.reopen else 0)

    @property
    def attempts(self) -> int:
        """Attempts that failed since it was last reopened."""
        return self.attempt - (self.reopen.attempts if self.reopen else 0)


def join(a: TaskState, b: TaskState) -> TaskState:
    """Least upper bound: commutative, associative, idempotent. Both must be states of the same task."""
    done, cancel = greatest(a.done, b.done, _done_order), greatest(a.cancel, b.cancel, _cancel_order)
    reopen = greatest(a.reopen, b.reopen, _reopen_order)
    if reopen is not None:
        done = None if done is not None and not done.ok and done.epoch <= reopen.epoch else done
        cancel = None if cancel is not None and cancel.epoch <= reopen.epoch else cancel
    return TaskState(
        least(a.task, b.task, _task_order),
        greatest(a.claim, b.claim, claim_order),
        greatest(a.tries, b.tries, _try_order),
        done,
        greatest(a.passed, b.passed, _passed_order),
        cancel,
        reopen,
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
        case Passed():
            return TaskState(passed=record)
        case Cancel():
            return TaskState(cancel=record)
        case Reopen():
            return TaskState(reopen=record)


def claim_order(claim: Claim) -> tuple[int | str, ...]:
    """The tie-break of claims: the higher epoch wins; in one epoch, the higher rank; then the later incarnation.

    It needs no membership, so it is the same everywhere, at any time.
    """
    return claim.epoch, *order(claim.key, claim.author), claim.incarnation, claim.stamp


def _task_order(task: Task) -> tuple[int | str, ...]:
    return task.stamp, task.author


def _try_order(tries: Try) -> tuple[int | str, ...]:
    return tries.attempt, tries.epoch, tries.stamp, tries.author


def _done_order(done: Done) -> tuple[int | str, ...]:
    return done.ok, done.epoch, *order(done.key, done.author), done.stamp


def _passed_order(passed: Passed) -> tuple[int | str, ...]:
    return passed.deaths, passed.epoch, passed.stamp, passed.author


def _cancel_order(cancel: Cancel) -> tuple[int | str, ...]:
    return cancel.epoch, cancel.stamp, cancel.author


def _reopen_order(reopen: Reopen) -> tuple[int | str, ...]:
    return reopen.epoch, reopen.attempts, reopen.deaths, reopen.stamp, reopen.author
