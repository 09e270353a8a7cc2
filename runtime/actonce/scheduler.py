"""Turns the slots of schedules into tasks. The id of a slot's task comes from its UTC time, so a slot is one task.

One replica, the first by rank for the schedule, writes the tasks of its slots; any other knows as well which are due,
and carries on when that one is gone. Up to the schedule's *mark* all slots are settled (their tasks are over, or they
were skipped): a replica that was away never begins them again, also when nobody remembers their tasks any more.

What time it is, the replicas say together (`mesh_wall`): of three clocks, one that is wrong is outvoted; of two, the
slower one counts. A slot begins early only if that time is ahead, and late if it is behind.

A slot that becomes known more than `MISSED_AFTER_S` late was missed: the mesh was down. Fewer than that is a
takeover, and nothing is missed.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from actonce.agent import Agent
from actonce.inbox import Inbox
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import owner
from actonce.readiness import Terms
from actonce.schedule import Schedule, slot_text
from actonce.standing import Standing
from actonce.world import World
from actonce_crdt import Done, Mark, pack_value

MISSED_AFTER_S = 60.0
"""A slot that is later than this when somebody could first begin it was missed."""
BACKFILL_MAX = 100
"""Missed slots that `missed="all"` makes up for at most: the newest."""
MARK_EVERY_S = 10.0
"""Between two marks of a schedule."""
SCAN_MAX = 2_000
"""Slots that are looked at in one turn: after a long absence it takes several."""

NOTHING = pack_value(None)


@dataclass(slots=True)
class _Progress:
    """Of one schedule on this replica."""

    schedule: Schedule
    cursor: int = -1
    """Slots up to here were seen."""
    ahead: Iterator[int] | None = None
    next_slot: int = 0
    missed: deque[int] = field(default_factory=deque)
    open: list[int] = field(default_factory=list)
    """Slots after the mark that are neither over nor skipped, in order."""
    unknown: list[int] = field(default_factory=list)
    """Of these the ones that nobody has begun, as far as we know."""
    marked_at: float = float("-inf")


class Scheduler:
    """The schedules of the agent on one replica."""

    def __init__(
        self,
        world: World,
        agent: Agent,
        ledger: Ledger,
        membership: Membership,
        inbox: Inbox,
        standing: Standing,
        note: Callable[[str], None],
    ) -> None:
        self._standing = standing
        self._world, self._ledger, self._membership, self._inbox, self._note = world, ledger, membership, inbox, note
        keep = {"skip": 0, "once": 1, "all": BACKFILL_MAX}
        self._all = [
            _Progress(schedule, missed=deque(maxlen=keep[schedule.missed]))
            for _, schedule in sorted(agent.schedules.items())
        ]

    def look(self) -> None:
        """Begin what is due. The caller has checked that we may act at this moment."""
        if self._all:
            wall = mesh_wall(self._world, self._membership)
            for progress in self._all:
                kind = progress.schedule.kind
                if self._standing.takes_in(kind) and not self._standing.held(kind):  # else its slots are missed
                    self._look(progress, wall)

    def _look(self, progress: _Progress, wall: float) -> None:
        schedule = progress.schedule
        mark = self._ledger.state.marks.get(schedule.name)
        able = self._membership.able(schedule.kind)
        ours = owner(schedule.kind, self._membership.in_play(), able) == self._membership.me
        if mark is None:
            if ours:  # its first moment: what was before it, is not missed
                self._write_mark(progress, int(wall))
            return
        if progress.cursor < mark.slot:
            progress.cursor, progress.ahead = mark.slot, None
        self._advance(progress, wall)
        tasks = self._ledger.state.tasks
        progress.unknown = [slot for slot in progress.unknown if schedule.task(slot) not in tasks]
        if ours:
            for slot in progress.unknown:
                self._begin(progress, slot)
        self._settle(progress, mark, ours)

    def _advance(self, progress: _Progress, wall: float) -> None:
        """See the slots that have become due."""
        if progress.ahead is None:
            progress.ahead = progress.schedule.rhythm.slots(progress.cursor)
            progress.next_slot = next(progress.ahead)
        tasks = self._ledger.state.tasks
        for _ in range(SCAN_MAX):
            slot = progress.next_slot
            if slot > wall:
                break
            progress.cursor, progress.next_slot = slot, next(progress.ahead)
            if wall - slot > MISSED_AFTER_S and progress.schedule.task(slot) not in tasks:
                progress.missed.append(slot)
            else:
                insort(progress.open, slot)
                insort(progress.unknown, slot)
        if progress.next_slot > wall and progress.missed:
            self._note(f"schedule {progress.schedule.name} makes up for {len(progress.missed)} missed slots")
            while progress.missed:
                insort(progress.open, progress.missed[0])
                insort(progress.unknown, progress.missed.popleft())

    def _begin(self, progress: _Progress, slot: int) -> None:
        schedule = progress.schedule
        busy = [one for one in progress.open if one < slot and not self._is_over(schedule, one)]
        task, payload = schedule.task(slot), pack_value({"slot": slot_text(slot)})
        after = (schedule.task(busy[-1]),) if busy and schedule.overlap == "queue" else ()
        self._inbox.add(task, schedule.kind, payload, Terms(after=after, needs_ok=False))
        if busy and schedule.overlap == "skip":
            me, stamp = self._membership.me.name, self._ledger.stamp()
            self._ledger.write(Done(task, stamp, me, 0, True, NOTHING, "skipped"))

    def _is_over(self, schedule: Schedule, slot: int) -> bool:
        state = self._ledger.state.tasks.get(schedule.task(slot))
        return state is not None and state.done is not None

    def _settle(self, progress: _Progress, mark: Mark, ours: bool) -> None:
        over = 0
        for slot in progress.open:
            if not self._is_over(progress.schedule, slot):
                break
            over += 1
        del progress.open[:over]
        # What is missed, and may yet be made up for, is not settled.
        undecided = [*progress.open[:1], *list(progress.missed)[:1]]
        settled = min(undecided) - 1 if undecided else progress.cursor
        if ours and settled > mark.slot and self._world.now() - progress.marked_at >= MARK_EVERY_S:
            self._write_mark(progress, settled)

    def _write_mark(self, progress: _Progress, slot: int) -> None:
        progress.marked_at = self._world.now()
        name, me = progress.schedule.name, self._membership.me.name
        self._ledger.write(Mark(name, self._ledger.stamp(), me, slot))


def mesh_wall(world: World, membership: Membership) -> float:
    """Unix seconds: the median of our clock and those of the members that we hear from; of an even number the lower."""
    now, clocks = world.now(), [world.wall()]
    for member in membership.view.members:
        peer = membership.peers.get(member.name)
        if peer is not None and peer.member == member and peer.linked and peer.wall_s > 0:
            clocks.append(peer.wall_s + now - peer.wall_at)
    return sorted(clocks)[(len(clocks) - 1) // 2]
