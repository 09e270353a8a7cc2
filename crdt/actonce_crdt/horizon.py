"""Floors: up to which stamp forgotten work stays forgotten. A join-semilattice, and the question that is asked of it.

A replica that was away may come back with a task that everybody else has done and forgotten. It must not begin again,
and nobody can remember all keys for ever. So before anything is forgotten there is a *floor*: a stamp, and the (few)
older tasks that were still unfinished. What was asked for at or below the floor and is not among those is *late*: it
is shown as a failure, and begins only if somebody says so (a `Reopen`, which asks for it anew).

A floor is an entry like any other. Two sides of a long partition make floors of their own; a task has to pass all of
them. A floor *covers* those that its keeper had read when it made it: its keeper kept only what had passed them, so
that whoever passes it passes them too, and they need not be remembered. What is kept are the floors that no other
covers: the maximal elements of a partial order, whose join is commutative, associative and idempotent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from .cuts import Floor
from .entries import Done, Task, encode
from .fields import MARK_BYTES
from .values import pack_value

KEPT_MAX: Final = 8_192
"""Unfinished tasks that one floor can keep: 128 KiB of marks."""

FLOOR_KEY: Final = "floor"
_HASH_BYTES: Final = MARK_BYTES - 8


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A task that may yet begin or go on: the stamp of its `Task` entry, and when it was last asked for."""

    task: str
    stamp: int
    asked: int


def covers(one: Floor, other: Floor) -> bool:
    """Whether `one` was made by somebody who had read `other`, and it is not the same floor."""
    if one.keeper == other.keeper:
        return one.number > other.number
    return any(keeper == other.keeper and number >= other.number for keeper, number in one.over)


def tips(floors: Iterable[Floor]) -> tuple[Floor, ...]:
    """Those that no other covers, sorted by keeper. Of two that should be one (a faulty keeper) the larger bytes."""
    found: dict[tuple[str, int], Floor] = {}
    for floor in floors:
        name = (floor.keeper, floor.number)
        known = found.get(name)
        found[name] = floor if known is None or encode(floor) > encode(known) else known
    left = [one for one in found.values() if not any(covers(other, one) for other in found.values())]
    return tuple(sorted(left, key=lambda floor: (floor.keeper, floor.number)))


def passes(task: str, stamp: int, reopened: int, floors: tuple[Floor, ...]) -> bool:
    """Whether a `Task` entry of this stamp is above, or kept by, every one of these floors.

    `reopened` is the stamp of the word that it be tried again, 0 for none: that is asking for it anew.
    """
    asked = max(stamp, reopened)
    return all(asked > floor.until or stamp in _marks(floor.kept).get(_hash(task), ()) for floor in floors)


def is_kept(task: str, floors: tuple[Floor, ...]) -> bool:
    """Whether any of these floors keeps the task, or one that shares its hash: then it is not forgotten either."""
    return any(_hash(task) in _marks(floor.kept) for floor in floors)


def outcome_of_late(task: Task) -> Done:
    """What the view shows for a late task: a failure, which a retry voids like any other."""
    why = pack_value("late: it was asked for so long ago that it may have been done, and forgotten, meanwhile")
    return Done(task.key, task.stamp, task.author, 0, False, why, "late")


def next_floor(
    stamp: int, author: str, keeper: str, until: int, unfinished: Iterable[Unfinished], floors: tuple[Floor, ...]
) -> Floor | None:
    """The floor that `keeper` makes after having read `floors`; None if it would not be above them.

    Args:
        until: where it should be; it is lower if more than `KEPT_MAX` older tasks are unfinished.
        unfinished: all of them, late ones apart.
    """
    older = sorted((one for one in unfinished if one.asked <= until), key=lambda one: one.asked)
    if len(older) > KEPT_MAX:
        until = older[KEPT_MAX].asked - 1
    if until <= max((floor.until for floor in floors), default=0):
        return None
    over: dict[str, int] = {}
    for floor in floors:
        for name, number in (*floor.over, (floor.keeper, floor.number)):
            over[name] = max(number, over.get(name, 0))
    mine = over.pop(keeper, 0)
    kept = {_hash(one.task) + one.stamp.to_bytes(8, "big") for one in older if one.asked <= until}
    return Floor(FLOOR_KEY, stamp, author, keeper, mine + 1, until, tuple(sorted(over.items())), b"".join(sorted(kept)))


def _hash(task: str) -> bytes:
    return blake2b(task.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()


@lru_cache(maxsize=64)
def _marks(kept: bytes) -> dict[bytes, tuple[int, ...]]:
    found: dict[bytes, tuple[int, ...]] = {}
    for start in range(0, len(kept), MARK_BYTES):
        name = kept[start : start + _HASH_BYTES]
        stamp = int.from_bytes(kept[start + _HASH_BYTES : start + MARK_BYTES], "big")
        found[name] = (*found.get(name, ()), stamp)
    return found
