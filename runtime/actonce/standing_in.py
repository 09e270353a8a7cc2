"""Placement as one replica sees it: what the members declare of a kind, and how long to wait for who comes first."""

from __future__ import annotations

import math

from actonce.agent import TaskSpec
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.placement import Placement, preference, stands_in


def declared(membership: Membership, kind: str) -> list[Placement]:
    """How the members in play place this kind, as far as they told us: one, unless a rolling upgrade changes it."""
    found = {membership.kinds[kind]} if kind in membership.kinds else set()
    for member in membership.in_play() - {membership.me}:
        peer = membership.peers.get(member.name)
        if peer is not None and peer.member == member and peer.about is not None and kind in peer.about.kinds:
            found.add(peer.about.kinds[kind])
    return [Placement.parse(text) for text in sorted(found)]


class Contenders:
    """For each kind, who may be given its tasks and how they are placed. Kept until the membership changes: asked for
    each task, the same for all of a kind."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._of = (-1, False)
        self._kept: dict[str, tuple[list[Placement], list[Member]]] = {}

    def of(self, kind: str) -> tuple[list[Placement], list[Member]]:
        """The placements that the members declare, and the members in play that are able."""
        membership = self._membership
        if self._of != (membership.version, membership.leaving):
            self._of = (membership.version, membership.leaving)
            self._kept.clear()
        if kind not in self._kept:
            able = list(filter(membership.able(kind), sorted(membership.in_play())))
            self._kept[kind] = (declared(membership, kind), able)
        return self._kept[kind]


def stand_in_s(membership: Membership, spec: TaskSpec, task: str, now: float) -> float:
    """How long to leave a task to a replica that comes before us, and is gone: see `Agent.task`, `stand_in_after`."""
    if spec.stand_in_after_s <= 0:
        return 0.0
    ours = preference(spec.placement, task, membership.me.name, membership.me.traits)
    gone = [
        peer.gone_at
        for peer in membership.peers.values()
        if peer.member not in membership.in_play()
        and stands_in(spec.placement, ours, preference(spec.placement, task, peer.member.name, peer.member.traits))
    ]
    return max(gone, default=-math.inf) + spec.stand_in_after_s - now
