"""The state of a task: a product of six lattices, one for each kind of entry.

field     keeps                                                    why
task      the smallest (stamp, author)                             the first submission counts
claim     the largest (epoch, rank, author, incarnation, ...)      the tie-break of ownership
tries     the largest (attempt, epoch, stamp, author)              the latest failure
done      the largest (ok, epoch, rank, author, stamp)             a success outlives a failure
grants    for each voter the largest (epoch, roster, stamp)        a voter's later promise stands for its earlier ones
releases  for each author the largest (incarnation, epoch, stamp)  what is given up stays so

A voter is a name and a journal: a replica that lost its journal knows nothing of what it granted before.
"""

from dataclasses import dataclass

from .entries import Claim, Done, Grant, Release, Task, TaskRecord, Try
from .lattice import each_greatest, greatest, least
from .rank import order


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of one task. Any field may be missing: entries arrive in any order."""

    task: Task | None = None
    claim: Claim | None = None
    tries: Try | None = None
    done: Done | None = None
    grants: tuple[Grant, ...] = ()
    """One for each voter, sorted by voter."""
    releases: tuple[Release, ...] = ()
    """One for each author, sorted by author."""


def join(a: TaskState, b: TaskState) -> TaskState:
    """Least upper bound: commutative, associative, idempotent. Both must be states of the same task."""
    return TaskState(
        least(a.task, b.task, _task_order),
        greatest(a.claim, b.claim, claim_order),
        greatest(a.tries, b.tries, _try_order),
        greatest(a.done, b.done, _done_order),
        each_greatest(a.grants, b.grants, _voter, _grant_order),
        each_greatest(a.releases, b.releases, _author, _release_order),
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


def _voter(grant: Grant) -> tuple[str, str]:
    return grant.author, grant.journal


def _grant_order(grant: Grant) -> tuple[int | str, ...]:
    return grant.epoch, grant.roster, grant.stamp


def _author(release: Release) -> tuple[str]:
    return (release.author,)


def _release_order(release: Release) -> tuple[int | str, ...]:
    return release.incarnation, release.epoch, release.stamp
