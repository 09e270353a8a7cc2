"""When a starting replica may trust its memory (ownership rule 0). Pure.

Without this rule: A dies, B does a task, B dies, A restarts on its older journal and does the task again. So a
replica is *settled* only after it has read everything that those had read who may have acted in its absence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum

from actonce.ownership import View
from actonce.peers import Peer


class Settled(Enum):
    """How a replica came to trust its memory."""

    NEW = "first replica of a new mesh"
    PEER = "synced with a settled replica"
    REUNION = "synced with every replica of the last views on disk"
    ALONE = "no replica of the last view came within the time limit: acting as after a partition"


def try_settle(me: str, last: View | None, new: bool, peers: Iterable[Peer], waited_enough: bool) -> Settled | None:
    """Whether the replica `me`, whose last view on disk is `last`, may settle now, and why.

    `new` is the user's word that no mesh exists yet; it counts only on an empty journal. A peer counts as synced
    when it is linked and we have read all that it said it had read.
    """
    synced = {peer.member.name: peer for peer in peers if peer.linked and peer.view and peer.contact > -math.inf}
    if any(peer.settled for peer in synced.values()):
        return Settled.PEER
    if last is None:
        return Settled.NEW if new else None
    reunion = {member.name for member in last.members | last.lingering}
    for peer in synced.values():
        if peer.view is not None:
            reunion |= {member.name for member in peer.view.members | peer.view.lingering}
    if reunion - {me} <= synced.keys():
        return Settled.REUNION
    return Settled.ALONE if waited_enough else None
