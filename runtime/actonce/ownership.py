"""Who may do a task: rendezvous ownership over the views in play. Pure functions, no state, no clock.

A *view* is the set of replicas that one replica holds to be live. Replicas never agree on views by vote; instead
each one acts only where nobody whose view is in play could act too:

1. *In play* is the closure of my view under "and the views its members announced", lingering members included.
2. I own a task if I rank first for it among all that are in play. The first of a set is the first of each of its
   subsets that holds it, so if I own a task under the union, I own it under every single view.
3. I act only while every member in play has *promised*: in answer to a heartbeat that I sent less than a contact
   window ago it announced a view that contains me, and I have read all that it had read when it said so.

Why no two act (A ranks before B for a task, both alive and reachable by the rules above): B acts only when A is in
no view in play for B, so B has not heard A for suspicion + grace, or A is certainly dead. A acts only on a promise
of B that is younger than the contact window, which is shorter; and B's promise names A. The two cannot overlap,
and what A did before, B has read (the flush in 3) or the mesh was cut. See Thaler & Ravishankar 1996 for the rank.

Not promised here: anything about a partition that outlasts suspicion + grace. There each side has an owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from actonce.placement import NO_TRAITS, SPREAD, Placement, Preference, Traits, preference


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One process run of one replica. A restarted replica is another member."""

    name: str
    incarnation: int
    traits: Traits = field(default=NO_TRAITS, compare=False)
    """Fixed for an incarnation, so that whoever knows the member knows how it is preferred."""


@dataclass(frozen=True, slots=True)
class View:
    """Whom one replica holds to be live. Any change is a new view with a higher number (a Lamport counter)."""

    number: int
    members: frozenset[Member]
    lingering: frozenset[Member] = frozenset()
    """Removed for silence less than a grace ago: they no longer have to answer, but still own their tasks."""

    def has_those_of(self, other: View) -> bool:
        """Whether it puts the same ones in play."""
        return self.members == other.members and self.lingering == other.lingering


def required(me: Member, mine: View, announced: Mapping[Member, View]) -> frozenset[Member]:
    """The members in play who must have promised: the closure of `mine.members` under announced `members`."""
    found = set(mine.members)
    todo = sorted(found - {me})
    while todo:
        view = announced.get(todo.pop())
        if view is not None:
            fresh = view.members - found
            found |= fresh
            todo += sorted(fresh - {me})
    return frozenset(found - mine.lingering - {me})


def in_play(me: Member, mine: View, announced: Mapping[Member, View]) -> frozenset[Member]:
    """Everybody who could own a task by anybody's view: the required members, the lingering ones, and me."""
    must = required(me, mine, announced)
    lingering = set(mine.lingering)
    for member in must:
        view = announced.get(member)
        if view is not None:
            lingering |= view.lingering
    return must | lingering | {me}


def owner(
    task: str, members: Iterable[Member], able: Callable[[Member], bool], placement: Placement = SPREAD
) -> Member | None:
    """The member that ranks first for `task` among those that are `able` (have a handler, are not leaving).

    Two incarnations of one replica may be in play at once (a restart that not all have seen); they rank equal, and
    the later one is the owner, since a new incarnation voids its predecessor.
    """
    return max(
        (member for member in members if able(member)),
        key=lambda member: _order(placement, task, member),
        default=None,
    )


def is_first(me: Member, task: str, members: Iterable[Member], placement: Placement = SPREAD) -> bool:
    """Whether I come before all these members for `task`: as `owner`, for one that asks for itself alone."""
    mine = _order(placement, task, me)
    return all(member == me or _order(placement, task, member) < mine for member in members)


def _order(placement: Placement, task: str, member: Member) -> tuple[Preference, str, int]:
    return preference(placement, task, member.name, member.traits), member.name, member.incarnation


def next_epoch(view: View, known: int) -> int:
    """The epoch of a new claim: above every known claim, and at least the view's number.

    The second part is for a replica that slept with a claim still unsent: the others have moved to later views, so
    its claim, made under an old one, cannot win when it wakes.
    """
    return max(view.number, known + 1)
