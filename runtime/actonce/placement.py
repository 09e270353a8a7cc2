"""Who is preferred for a kind of task: all in turn, one for everything, the receiver, or a region. Pure functions.

A placement orders the members of a set, by what they announce of themselves; the first of them owns the task. So the
owner under a larger set is the owner under each subset that holds it, which is all that `ownership` needs: a placement
changes who acts, never how many.

Every replica should declare the same placement for a kind. While they differ (a rolling upgrade), a replica takes such
a task only if it comes first by every placement that a member announced; the others' tasks of that kind wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

from actonce.errors import ConfigError
from actonce_crdt import rank

WEIGHT_MAX = 100
PRIORITY_MAX = 1000


@dataclass(frozen=True, slots=True)
class Traits:
    """What a replica says of itself, fixed for an incarnation. Part of every view that holds it."""

    weight: int = 1
    """Share of `spread` tasks: one with weight 2 takes twice as many as one with weight 1."""
    priority: int = 0
    """For `primary`: the highest one takes all."""
    region: str = ""
    """For `region`."""

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= WEIGHT_MAX:
            raise ConfigError(f"weight {self.weight}: it is a whole number from 1 to {WEIGHT_MAX}")
        if not -PRIORITY_MAX <= self.priority <= PRIORITY_MAX:
            raise ConfigError(f"priority {self.priority}: it is a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}")
        if len(self.region) > 64:
            raise ConfigError(f"region {self.region[:64]!r}...: at most 64 characters")


NO_TRAITS = Traits()


class Way(Enum):
    """How the members are ordered."""

    SPREAD = "spread"
    """Weighted rendezvous hashing (Thaler & Ravishankar 1998): each task has its own order."""
    PRIMARY = "primary"
    """By priority, then by name: one replica takes everything, the others are hot standbys."""
    LOCAL = "local"
    """Whoever received the task, whose name is the last part of its id; the others only when that one is gone."""
    REGION = "region"
    """Replicas of the home region, spread; the others only when none of those is left."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How a kind of task is placed."""

    way: Way = Way.SPREAD
    region: str = ""
    """Home of the kind, for `REGION`."""

    def __str__(self) -> str:
        return f"{self.way.value}={self.region}" if self.region else self.way.value

    @classmethod
    @cache
    def parse(cls, text: str) -> Placement:
        """
        Raises:
            ConfigError: `text` is no placement.
        """
        way, _, region = text.partition("=")
        known = {one.value: one for one in Way}
        if way not in known or bool(region) != (known[way] is Way.REGION):
            raise ConfigError(f"placement {text!r}: use 'spread', 'primary', 'local', or 'region=NAME'")
        return cls(known[way], region)


SPREAD = Placement()

Preference = tuple[int, tuple[int, ...]]


def preference(placement: Placement, task: str, name: str, traits: Traits) -> Preference:
    """The larger, the earlier: first whether, or how much, it is the first choice, then the order among equals."""
    spread = rank(task, name)
    if traits.weight > 1:
        spread = max(spread, *(rank(task, f"{name}#{index}") for index in range(1, traits.weight)))
    match placement.way:
        case Way.PRIMARY:
            return traits.priority, (*(-ord(letter) for letter in name), 1)  # the smaller name first
        case Way.LOCAL:
            return int(task.rpartition("@")[2] == name), (spread,)
        case Way.REGION:
            return int(traits.region == placement.region), (spread,)
        case _:
            return 0, (spread,)


def stands_in(placement: Placement, mine: Preference, other: Preference) -> bool:
    """Whether we take a task only in place of that other one, and so leave it some time to come back."""
    if placement.way is Way.PRIMARY:
        return other > mine
    return other[0] > mine[0]
