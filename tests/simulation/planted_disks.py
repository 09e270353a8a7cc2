"""Deliberate faults in what is made of a damaged journal. For tests only; see `planted`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import actonce.sim.disk
from actonce import recovery
from actonce.journal import Recovered, Row
from actonce.peers import Peer
from actonce.recovery import Found, Verdict, judge
from actonce.sim.disk import Disk

from .planted import Patch


def checksum_ignored(patch: Patch) -> None:
    """Whatever stands in a row is taken for what was written there."""
    patch.setattr(recovery, "is_sound", lambda found: True)


def mark_ignored(patch: Patch) -> None:
    """A journal that ends early, but whole, is taken for one whose last rows never reached the disk."""

    def judged(image: Sequence[Found], durable: int) -> Verdict:
        return judge(image, len(image))

    patch.setattr(actonce.sim.disk, "judge", judged)


def started_as_empty(patch: Patch) -> None:
    """A journal that is damaged is thrown away, and the replica begins anew without a word."""
    opened = Disk.open

    def open_empty(self: Disk, name: str) -> Recovered:
        if self.image is None:
            return opened(self, name)
        self.rows.clear()
        self.image, self.synced, self.mark, self.journal = None, 0, 0, self.journal + 1
        return replace(opened(self, name), new=True)

    patch.setattr(Disk, "open", open_empty)


def memory_trusted(patch: Patch) -> None:
    """The loss is said, and the replica goes on with its last readable view as if it remembered all."""

    def recover(self: Disk, name: str) -> None:
        assert self.image is not None
        rows: list[Row] = list(judge(self.image[0], 0).rows)
        self.rows, self.image, self.journal = rows, None, self.journal + 1
        self.damage, self.synced, self.mark = "the journal was damaged", len(rows), len(rows)

    patch.setattr(Disk, "_recover", recover)


def forgetful_counts(patch: Patch) -> None:
    """A replica without memory counts as one that remembers, for whoever waits for it."""
    patch.setattr(Peer, "never_settled", property(lambda self: False))


def successors_all_speak(patch: Patch) -> None:
    """A replica without memory counts for an earlier process of its name, though it has another journal."""

    def after(self: Peer, other: Peer | None) -> Peer:
        self.earlier = (*other.earlier, other.member) if other is not None else ()
        return self

    patch.setattr(Peer, "after", after)


def journal_id_kept(patch: Patch) -> None:
    """The repaired journal keeps the id of the damaged one."""
    recover = Disk._recover

    def kept(self: Disk, name: str) -> None:
        journal = self.journal
        recover(self, name)
        self.journal = journal

    patch.setattr(Disk, "_recover", kept)
