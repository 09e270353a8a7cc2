"""The state of a task: a product of lattices, one for each kind of entry.

field     keeps                                                    why
task      the smallest (stamp, author)                             the first submission counts
claim     the largest (epoch, rank, author, incarnation, ...)      the tie-break of ownership
tries     the largest (attempt, epoch, stamp, author)              the latest failure
done      the largest (ok, epoch, rank, author, stamp)             a success outlives a failure
passed    the largest (deaths, epoch, stamp, author)               deaths are never forgotten
cancel    the largest (epoch, stamp, author)                       the latest word
reopen    the largest (epoch, attempts, deaths, stamp, author)     the latest word
grants    for each voter the largest (epoch, roster, stamp)        a voter's later promise stands for its earlier ones
releases  for each author the largest (incarnation, epoch, stamp)  what is given up stays so

A voter is a name and a journal: a replica that lost its journal knows nothing of what it granted before.

A reopened task has neither the failure nor the cancellation that the reopening knew of (epoch not above its own): those
are a lower part of their order, so leaving them out keeps the laws. A success stays; so do grants, since whoever was
granted something may still act under it.
"""

from msgspec import Struct
from msgspec.structs import replace

from .entries import Cancel, Claim, Done, Grant, Passed, Release, Reopen, Task, TaskRecord, Try
from .lattice import each_greatest, greatest, least
from .rank import order


class TaskState(Struct, frozen=True, gc=False):
    """What is known of one task. Any field may be missing: entries arrive in any order."""

    task: Task | None = None
    claim: Claim | None = None
    tries: Try | None = None
    done: Done | None = None
    passed: Passed | None = None
    cancel: Cancel | None = None
    reopen: Reopen | None = None
    grants: tuple[Grant, ...] = ()
    """One for each voter, sorted by voter."""
    releases: tuple[Release, ...] = ()
    """One for each author, sorted by author."""

    @property
    def standing(self) -> Claim | None:
        """The claim, unless the task was reopened since."""
        void = self.claim is None or (self.reopen is not None and self.claim.epoch <= self.reopen.epoch)
        return None if void else self.claim

    @property
    def epoch(self) -> int:
        """The highest epoch of any claim, grant or reopening that is known; 0 for none."""
        found = [one.epoch for one in (self.claim, self.reopen) if one is not None]
        return max([*found, *(grant.epoch for grant in self.grants)], default=0)

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
        each_greatest(a.grants, b.grants, _voter, _grant_order),
        each_greatest(a.releases, b.releases, _author, _release_order),
    )


def absorb(state: TaskState, record: TaskRecord) -> TaskState:
    """`join(state, lift(record))`, and `state` itself where that is equal to it: an entry changes one field."""
    match record:
        case Task():
            task = least(state.task, record, _task_order)
            return state if task is state.task else replace(state, task=task)
        case Claim():
            claim = greatest(state.claim, record, claim_order)
            return state if claim is state.claim else replace(state, claim=claim)
        case Done() if state.reopen is None:
            done = greatest(state.done, record, _done_order)
            return state if done is state.done else replace(state, done=done)
        case Grant():
            grants = each_greatest(state.grants, (record,), _voter, _grant_order)
            return state if grants == state.grants else replace(state, grants=grants)
        case _:
            return join(state, lift(record))


def records(state: TaskState) -> list[TaskRecord]:
    """Entries whose join is this state: enough to write it down again."""
    parts = (state.task, state.claim, state.tries, state.done, state.passed, state.cancel, state.reopen)
    return [*(one for one in parts if one is not None), *state.grants, *state.releases]


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
        case Grant():
            return TaskState(grants=(record,))
        case Release():
            return TaskState(releases=(record,))


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


def _passed_order(passed: Passed) -> tuple[int | str, ...]:
    return passed.deaths, passed.epoch, passed.stamp, passed.author


def _cancel_order(cancel: Cancel) -> tuple[int | str, ...]:
    return cancel.epoch, cancel.stamp, cancel.author


def _reopen_order(reopen: Reopen) -> tuple[int | str, ...]:
    return reopen.epoch, reopen.attempts, reopen.deaths, reopen.stamp, reopen.author


def _voter(grant: Grant) -> tuple[str, str]:
    return grant.author, grant.journal


def _grant_order(grant: Grant) -> tuple[int | str, ...]:
    return grant.epoch, grant.roster, grant.stamp


def _author(release: Release) -> tuple[str]:
    return (release.author,)


def _release_order(release: Release) -> tuple[int | str, ...]:
    return release.incarnation, release.epoch, release.stamp
