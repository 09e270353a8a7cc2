"""The steps of a task: which remembered results a handler that runs again may use.

A step is keyed by who recorded it: (task, claim, number), where a claim is (epoch, author) and numbers count from 1. So
no two replicas write one key, and the join of two records under one key (the later one) is only there for completeness.

A claim *continues* another one up to a number: what its first step names as its base. Sides of a long partition record
steps of their own; after it, `lineage` follows the bases back from one claim, so that results of two sides are never
mixed. Steps of losing sides stay in the document and are ignored. (Receipts never are: what the world saw, it saw.)
"""

from collections.abc import Iterable
from typing import TypeAlias

from .entries import Step
from .lattice import greatest
from .rank import order

ClaimId: TypeAlias = tuple[int, str]
"""(epoch, author)"""

NO_BASE: ClaimId = (0, "")


def join(a: Step, b: Step) -> Step:
    """Least upper bound of two records under one key: commutative, associative, idempotent."""
    joined = greatest(a, b, lambda step: (step.epoch, step.number, step.stamp, step.author))
    assert joined is not None
    return joined


def step_key(task: str, claim: ClaimId, number: int) -> str:
    """The entry key of a step."""
    return f"{task}/{claim[0]}.{claim[1]}.{number}"


def lineage(steps: Iterable[Step], mine: ClaimId) -> list[Step]:
    """The steps that a run under the claim `mine` may use, oldest first.

    Its own, and those that they continue. With none of its own: those of the claim that wins among all others, by
    the tie-break of claims. A record without a name voids all before it: the task started over.
    """
    claims: dict[ClaimId, dict[int, Step]] = {}
    for step in steps:
        claims.setdefault((step.epoch, step.author), {})[step.number] = step
    tip = mine if mine in claims else max(claims, key=lambda claim: _tip_order(claims[claim], claim), default=NO_BASE)
    last = max(claims.get(tip, {0: None}))
    found: list[Step] = []
    while tip in claims:
        part = claims.pop(tip)  # popped: bases that point in a circle, which only a faulty replica writes, end
        found = [part[number] for number in sorted(part) if number <= last] + found
        first = part[min(part)]
        tip, last = (first.base_epoch, first.base_author), first.base_number
    voided = max((index for index, step in enumerate(found) if not step.name), default=-1)
    return found[voided + 1 :]


def _tip_order(part: dict[int, Step], claim: ClaimId) -> tuple[int | str, ...]:
    task = next(iter(part.values())).task
    return claim[0], *order(task, claim[1])
