"""A simulated disk under a journal: what is not synced yet may be lost in a crash."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actonce.journal import UPDATE, VIEW, Recovered, Row
from actonce.sim.process import Process


@dataclass(slots=True)
class Disk:
    """Outlives the processes of one replica. Times in seconds."""

    rng: random.Random
    rows: list[Row] = field(default_factory=list)
    synced: int = 0
    incarnation: int = 0
    sync_s: tuple[float, float] = (0.0002, 0.002)
    journal: str = ""
    """Id of the journal, where it is not the first one of its replica."""

    def open(self, name: str) -> Recovered:
        """As opening a journal: the incarnation is counted durably."""
        self.incarnation += 1
        views = [row.data for row in self.rows if row.kind == VIEW]
        return Recovered(
            journal_id=self.journal or f"journal-{name}",
            incarnation=self.incarnation,
            updates=tuple(row.data for row in self.rows if row.kind == UPDATE),
            view=views[-1] if views else None,
            new=not self.rows,
        )

    def crash(self) -> None:
        """Power loss for what is not synced: some prefix of it survives."""
        keep = self.rng.randint(self.synced, len(self.rows))
        del self.rows[keep:]
        self.synced = keep


class SimJournal:
    """`Journal` of one simulated process on a disk: one sync at a time, with all that was appended before it."""

    def __init__(self, world: Process, disk: Disk) -> None:
        self._world, self._disk = world, disk
        self._waiting: list[Callable[[], None]] = []
        self._syncing = False
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

    def close(self) -> None:
        """Nothing to let go of."""

    def _sync(self) -> None:
        if self._waiting and not self._syncing:
            self._syncing = True
            waiting, self._waiting = self._waiting, []
            upto, unsynced = len(self._disk.rows), set(self.unsynced)
            sync_s = self._disk.rng.uniform(*self._disk.sync_s)
            self._world.call_later(sync_s, lambda: self._synced(upto, unsynced, waiting))

    def _synced(self, upto: int, unsynced: set[bytes], waiting: list[Callable[[], None]]) -> None:
        self._world.point()
        self._disk.synced = max(self._disk.synced, upto)
        self.unsynced -= unsynced
        self._syncing = False
        for durable in waiting:
            durable()
        self._sync()
