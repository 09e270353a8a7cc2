"""A simulated disk under a journal: what is not synced yet may be lost in a crash."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actonce.journal import TEXT, UPDATE, VIEW, Recovered, Row
from actonce.recovery import SNAPSHOT, Found, judge, salvaged
from actonce.sim.process import Process


@dataclass(slots=True)
class Disk:
    """Outlives the processes of one replica. Times in seconds."""

    rng: random.Random
    rows: list[Row] = field(default_factory=list)
    """A row of kind SNAPSHOT takes the place of all UPDATE and TEXT rows before it."""
    synced: int = 0
    incarnation: int = 0
    journal: int = 1
    """Counts the journals that this disk, and those in whose place it came, have held."""
    sync_s: tuple[float, float] = (0.0002, 0.002)
    mark: int = 0
    """Rows that surely reached the disk, as the mark beside a real journal says."""
    image: tuple[list[Found], int] | None = None
    """What a damage left: rows, sound or not, and the number of the last one by the head. Read at the next opening."""
    damage: str = ""
    replaced: str = ""
    looked: int = 0
    """Rows that `prune` need not look at again: a journal is pruned at each sync, and may hold thousands of rows."""

    def open(self, name: str) -> Recovered:
        """As opening a journal: the incarnation is counted durably."""
        self.incarnation += 1
        if self.image is not None:
            self._recover(name)
        views = [row.data for row in self.rows if row.kind == VIEW]
        return Recovered(
            journal_id=self._journal_id(name),
            incarnation=self.incarnation,
            updates=tuple(row.data for row in self.rows[self._newest() :] if row.kind in (UPDATE, SNAPSHOT)),
            view=views[-1] if views else None,
            new=not self.rows and not self.damage,
            damage="" if views else self.damage,
            replaces=self.replaced,
            texts=tuple(row.data for row in self.rows[self._newest() :] if row.kind == TEXT),
        )

    def _journal_id(self, name: str) -> str:
        return f"journal-{name}" if self.journal == 1 else f"journal-{name}-{self.journal}"

    def _recover(self, name: str) -> None:
        """As the real journal when it finds a damage, and there are others to rejoin."""
        image, head = self.image if self.image is not None else ([], 0)
        verdict = judge(image, max(head, self.mark))
        self.rows, self.image = list(verdict.rows), None
        if verdict.lost:
            self.rows = salvaged(verdict.rows)
            self.damage, self.replaced = f"the journal was damaged: {verdict.lost} lost", self._journal_id(name)
            self.journal += 1
        self.synced, self.mark, self.looked = len(self.rows), len(self.rows), 0

    def wipe(self) -> None:
        """Everything is lost. The next journal counts its incarnations above those of the lost one, as a real one."""
        self.rows.clear()
        self.synced, self.mark, self.looked, self.journal, self.damage = 0, 0, 0, self.journal + 1, ""

    def _newest(self) -> int:
        """Index of the newest snapshot; 0 for none."""
        return max((index for index, row in enumerate(self.rows) if row.kind == SNAPSHOT), default=0)

    def prune(self) -> int:
        """Let go of what a snapshot that is synced has replaced; returns how many rows that were."""
        fresh = range(self.synced - 1, self.looked - 1, -1)
        index = next((at for at in fresh if self.rows[at].kind == SNAPSHOT), 0)
        kept = [row for row in self.rows[:index] if row.kind == VIEW][-1:]
        self.rows[:index] = kept
        gone = index - len(kept)
        self.synced, self.mark = self.synced - gone, max(0, self.mark - gone)
        self.looked = self.synced
        return gone

    @property
    def bytes(self) -> int:
        """What its rows hold."""
        return sum(len(row.data) for row in self.rows)

    def crash(self) -> None:
        """Power loss for what is not synced: some prefix of it survives."""
        keep = self.rng.randint(self.synced, len(self.rows))
        while self.synced < keep < len(self.rows) and self.rows[keep].kind == TEXT:
            keep -= 1  # it came in one append with the row before it: both, or neither
        del self.rows[keep:]
        self.synced = keep
        self.prune()


class SimJournal:
    """`Journal` of one simulated process on a disk: one sync at a time, with all that was appended before it."""

    def __init__(self, world: Process, disk: Disk) -> None:
        self._world, self._disk = world, disk
        self._waiting: list[Callable[[], None]] = []
        self._syncing = False
        self._pruned = 0
        self.full = False
        self.on_error: Callable[[], None] = lambda: None
        self.unsynced: set[bytes] = set()
        """Rows that a loss of power may still take."""

    def append(self, rows: Sequence[Row], durable: Callable[[], None]) -> None:
        if self._world.dead:
            return
        self._world.point()
        if self.full:
            self._world.call_soon(self.on_error)
            return
        self._disk.rows += rows
        self.unsynced |= {row.data for row in rows}
        self._waiting.append(durable)
        self._sync()

    def snapshot(self, update: bytes, durable: Callable[[], None], beside: Sequence[Row] = ()) -> None:
        self.append([Row(SNAPSHOT, update), *beside], durable)

    def close(self) -> None:
        """Nothing to let go of."""

    def _sync(self) -> None:
        if self._waiting and not self._syncing:
            self._syncing = True
            waiting, self._waiting = self._waiting, []
            upto, unsynced = len(self._disk.rows) + self._pruned, set(self.unsynced)
            sync_s = self._disk.rng.uniform(*self._disk.sync_s)
            self._world.call_later(sync_s, lambda: self._synced(upto, unsynced, waiting))

    def _synced(self, upto: int, unsynced: set[bytes], waiting: list[Callable[[], None]]) -> None:
        self._world.point()
        self._disk.synced = max(self._disk.synced, upto - self._pruned)
        self._pruned += self._disk.prune()
        self._disk.mark = self._disk.synced
        self.unsynced -= unsynced
        self._syncing = False
        for durable in waiting:
            durable()
        self._sync()
