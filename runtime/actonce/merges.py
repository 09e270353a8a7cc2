"""Conflicts in memory that the agent has a function for, seen from the engine: one task for each of them.

The task's id says which writes are in conflict, so that all replicas that know the same conflict mean the same task:
ownership and claims decide who merges, and the outcome, with the merged value in the same update, ends it. Only the
owner writes the task down, half a second after the last write to the place: after a cut has healed, what both sides
wrote comes in parts, and each part would be a conflict of its own. While a merge of a place is under way no other one
is begun there; a write that comes meanwhile is in conflict with what that one writes, and so the next conflict.

Not guaranteed: that a conflict is one task where replicas know different parts of it. Then two merged values are in
conflict, and merged in turn; no value is lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from actonce.agent import Agent
from actonce.errors import MemoryInvalid
from actonce.inbox import Inbox
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.merging import Merge
from actonce.ownership import owner
from actonce.readiness import Terms
from actonce.standing import Standing
from actonce.world import World
from actonce_crdt import Cell, CellState, ValueInvalid, pack_value, parse_place, unpack_value

SETTLE_S = 0.5
"""From the last write to a place to its merge."""
LOOK_S = 0.1
"""Between two looks at what waits."""

Write = tuple[str, int]
"""(author, stamp): names one write to a place."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """Which place, and which writes to it are in conflict, by author and stamp."""

    place: str
    writes: tuple[Write, ...]

    def task(self, merge: Merge) -> str:
        """The task that merges it: equal conflicts are one task, on whichever replica they are found."""
        parsed = parse_place(self.place)
        assert parsed is not None
        return f"{merge.kind}/{parsed[1]}/{hashlib.blake2b(self.pack(), digest_size=8).hexdigest()}"

    def pack(self) -> bytes:
        """As the payload of that task."""
        return pack_value({"place": self.place, "writes": [list(one) for one in self.writes]})


def unpack_dispute(payload: bytes) -> Dispute:
    """What `pack` made.

    Raises:
        MemoryInvalid: somebody else made it.
    """
    try:
        match unpack_value(payload):
            case {"place": str(place), "writes": [_, *_] as writes} if parse_place(place) is not None:
                return Dispute(place, tuple(_read_write(one) for one in writes))
    except ValueInvalid:
        pass
    raise MemoryInvalid("a merge is begun by a conflict in memory, it cannot be submitted")


def _read_write(row: Any) -> Write:
    match row:
        case [str(author), int(stamp)]:
            return author, stamp
    raise MemoryInvalid("a merge is begun by a conflict in memory, it cannot be submitted")


def find_dispute(place: str, state: CellState, now_ms: int) -> Dispute | None:
    """What is in conflict there, removals included; None where there is at most one value to be read."""
    if len({cell.value for cell in state.values(now_ms)}) < 2:
        return None
    return Dispute(place, tuple(sorted((cell.author, cell.stamp) for cell in state.live)))


def still_there(dispute: Dispute, state: CellState) -> tuple[list[Cell], bool]:
    """The writes in dispute that nobody has replaced, the newest first; and whether all of them are known here."""
    named, seen = set(dispute.writes), dict(state.seen)
    live = [cell for cell in state.live if (cell.author, cell.stamp) in named]
    there = {(cell.author, cell.stamp) for cell in live}
    return live, all(one in there or one[1] <= seen.get(one[0], -1) for one in dispute.writes)


class Merges:
    """The conflicts that wait for their tasks, on one replica."""

    def __init__(
        self, world: World, agent: Agent, ledger: Ledger, membership: Membership, inbox: Inbox, standing: Standing
    ) -> None:
        self._world, self._agent, self._ledger = world, agent, ledger
        self._membership, self._inbox, self._standing = membership, inbox, standing
        self._waiting: dict[str, float] = {}
        """Places that may be in conflict -> when to look."""
        self._open: dict[str, set[str]] = {}
        """Place -> merges of it that have no outcome yet."""
        self._look_at = -1.0
        self._begun = False

    def changed(self, keys: Iterable[str]) -> None:
        """Entries of these keys came."""
        if self._agent.merges:
            cells, tasks, at = self._ledger.state.cells, self._ledger.state.tasks, self._world.now() + SETTLE_S
            for key in keys:
                if key in cells:
                    self._waiting[key] = at
                elif key.startswith("merge:") and key in tasks:
                    self._follow(key, at)

    def _follow(self, task: str, at: float) -> None:
        """A merge was begun or ended; what it left is looked at again."""
        state = self._ledger.state.tasks[task]
        if state.task is None:
            return
        try:
            place = unpack_dispute(state.task.payload).place
        except MemoryInvalid:
            return
        if state.done is None:
            self._open.setdefault(place, set()).add(task)
        elif place in self._open:
            self._open[place].discard(task)
            self._waiting.setdefault(place, at)
            if not self._open[place]:
                del self._open[place]

    def look(self) -> None:
        """Begin the merges that are ours to begin. The caller has checked that we may act at this moment."""
        now, state = self._world.now(), self._ledger.state
        if not self._agent.merges or now < self._look_at:
            return
        self._look_at = now + LOOK_S
        if not self._begun:  # what the journal held
            self._begun = True
            self.changed([*state.tasks, *(key for key, cell in state.cells.items() if len(cell.live) > 1)])
        for place in sorted(place for place, at in self._waiting.items() if at <= now):
            if self._is_over(place):
                del self._waiting[place]

    def _is_over(self, place: str) -> bool:
        """Whether this place needs no further look: nothing to merge, or its merge is known or was just begun."""
        state, merge = self._ledger.state, self._merge_of(place)
        dispute = find_dispute(place, state.cells.get(place, CellState()), int(self._world.wall() * 1000))
        if merge is None or dispute is None or self._open.get(place):
            return True
        task = dispute.task(merge)
        if task in state.tasks:
            return True
        able = self._membership.able(merge.kind)
        if owner(task, self._membership.in_play(), able) != self._membership.me:
            return False  # if its owner dies, it may be ours
        if not self._standing.takes_in(merge.kind):
            return False
        self._inbox.add(task, merge.kind, dispute.pack(), Terms())
        return True

    def _merge_of(self, place: str) -> Merge | None:
        parsed = parse_place(place)
        if parsed is None or parsed[0] not in "rm":
            return None
        return next((merge for merge in self._agent.merges.values() if merge.takes(parsed[1])), None)


def seen_by(dispute: Dispute) -> Sequence[Write]:
    """The `seen` of a write that replaces the writes in dispute, and no other."""
    seen: dict[str, int] = {}
    for author, stamp in dispute.writes:
        seen[author] = max(stamp, seen.get(author, 0))
    return tuple(sorted(seen.items()))
