"""When a replica may trust its memory (ownership rule 0). Pure.

Without this rule: A dies, B does a task, B dies, A restarts on its older journal and does the task again. So a
replica is *settled* only after it has read everything that those had read who may have acted in its absence. The
same holds when A did not die but slept, long enough for B to give it up: sleeping is a kind of restarting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from actonce.ownership import Member, View
from actonce.peers import Peer
from actonce.settings import Settings


class Settled(Enum):
    """How a replica came to trust its memory."""

    NEW = "first replica of a new mesh"
    PEER = "synced with a settled replica"
    REUNION = "synced with every replica of the last views on disk"
    ALONE = "no replica of the last view came within the time limit: acting as after a partition"


class Waited(Enum):
    """How long a replica has been trying to settle."""

    NOT = 0
    A_MOMENT = 1
    """Whoever is there has had time to be found: a replica that was the last of its side looks for the other side."""
    ENOUGH = 2
    """Whoever is missing may be missing for ever."""

    @classmethod
    def by(cls, waited_s: float, settings: Settings) -> Waited:
        """What so many seconds are."""
        if waited_s >= settings.start_alone_after_s:
            return cls.ENOUGH
        return cls.A_MOMENT if waited_s >= settings.contact_window_s else cls.NOT


def try_settle(
    me: str, last: View | None, new: bool, peers: Iterable[Peer], since: float, waited: Waited
) -> Settled | None:
    """Whether the replica `me`, whose last view on disk is `last`, may settle now, and why.

    `new` is the user's word that no mesh exists yet; it counts only on an empty journal. A peer counts as synced
    when it is linked, has answered a heartbeat that we sent after `since`, and we have read all that it had read.

    Of settled peers only those count that *vouch*: one that settled on a third one's word, and has not been admitted
    by it, does not know what that one did meanwhile; and two such could settle on each other's word.

    And who comes without a view may not count for the process of its name that was in our last view: see
    `Peer.speaks_for`.
    """
    known = last.members | last.lingering if last is not None else frozenset()
    synced = {
        peer.member.name: peer
        for peer in peers
        if peer.linked and peer.view and peer.contact >= since and peer.speaks_for(known)
    }
    if any(peer.vouches for peer in synced.values()):
        return Settled.PEER
    if last is None:
        return Settled.NEW if new else None
    reunion = {member.name for member in last.members | last.lingering}
    for peer in synced.values():
        if peer.view is not None:
            reunion |= {member.name for member in peer.view.members | peer.view.lingering}
    if reunion - {me} <= synced.keys() and (synced or waited is not Waited.NOT):
        return Settled.REUNION
    return Settled.ALONE if waited is Waited.ENOUGH else None


def first_members(me: Member, peers: Iterable[Peer], *, alone: bool) -> set[Member]:
    """The first view after settling: us, and whoever the settled peers hold to be live, reachable from here or not.

    `alone`, without a settled peer: us and whoever we are linked with. They may settle this moment too; that they are
    in our view makes us wait for their promise, and them for ours. One without a view on its disk will not settle but
    on the word of one that may act, which then admits it: nobody has to wait for what it never knew.
    """
    members = {me}
    for peer in peers:
        if peer.linked and peer.settled and peer.view is not None:
            members |= {m for m in peer.view.members | peer.view.lingering if m.name != me.name}
        elif peer.linked and alone and not peer.never_settled:
            members.add(peer.member)
    return members


def newcomers(members: frozenset[Member], peers: Iterable[Peer], since: float) -> frozenset[Member]:
    """Those of these peers, all members, that said after `since` that they have never settled on their journal.

    They wait for the word of one that may act; were it to wait for their promise, all would wait for ever. (A replica
    that settles by reunion takes whoever is linked into its first view: it might settle in the same moment.) Since they
    said so after they came into our view, nobody had admitted them by then, whoever else's view they are in.
    """
    return frozenset(
        peer.member for peer in peers if peer.never_settled and peer.contact > since and peer.member in members
    )


def may_have_acted_alone(
    me: Member, member: Member, peers: Mapping[str, Peer], members: frozenset[Member], in_play: frozenset[Member]
) -> bool:
    """Whether a member that we lose had not admitted us, or died before we had read all that it knew when it did: what
    it, or others before it, did last, nobody who is left need have read.

    `members` of our view and those `in_play` are who is left. Of these an earlier process of a replica is not: it may
    still be in the last view of one that has not settled since.
    """
    peer = peers.get(member.name)
    if peer is None or peer.member != member:
        return False
    if peer.view is None:  # we know it from others only: with the last of them goes the last who could tell
        rest = [peers.get(other.name) for other in members - {me}]
        return all(other is None or other.view is None for other in rest)
    left = {other for other in in_play if other.name != me.name}
    admitted = me in peer.view.members and peer.flushed
    return not admitted and not any(
        (known := peers.get(other.name)) is None or known.member == other for other in peer.view.members & left
    )
