"""Standing orders: what a replica may do at this moment, by all orders in force that it has read.

order   what waits               what runs                             new tasks
drain   is done to its end       goes on to its end                    are refused
pause   waits                    goes on to its end                    are taken in, and wait
stop    waits                    is cancelled after `drain_s`          are taken in, and wait
halt    waits                    is cancelled, and the gate is shut    are taken in, and wait

Under an order for one replica its tasks are done by others, and new ones are taken in; to drain it is to pause it.
Polled sources and schedules stand still under every order that concerns them.

Orders of the agent, of a kind and of a replica add up, and so do orders that were given at once on two sides of a
partition: what any of them forbids is forbidden. What is cancelled or waits is not given up: it goes on once it may.

One object for each replica. `Control` refreshes it, everybody reads it; it changes nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from actonce_crdt import AGENT, ControlState, Switch, kind_target, replica_target, stamp_wall_s

Mode = Literal["run", "drain", "pause", "stop", "halt"]
BEGINS_NOT = frozenset({"pause", "stop", "halt"})
WORDS = {"drain": "draining", "pause": "paused", "stop": "stopped", "halt": "stopped at once"}
"""What a target in this mode is."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an order is about: the agent, or one kind, or one replica."""

    kind: str | None = None
    replica: str | None = None

    @property
    def key(self) -> str:
        """As the document has it."""
        if self.kind is not None:
            return kind_target(self.kind)
        return AGENT if self.replica is None else replica_target(self.replica)

    def __str__(self) -> str:
        return name_of(self.key)


def name_of(key: str) -> str:
    """A target of the document, for people."""
    sort, colon, name = key.partition(":")
    return f"{sort} {name}" if colon else "the agent"


def describe(switch: Switch) -> str:
    """`kind reply is paused by a since 2026-11-21 12:00:00Z (wrong prompt)`; by whom says at which replica."""
    since = datetime.fromtimestamp(stamp_wall_s(switch.stamp), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    why = f" ({switch.reason})" if switch.reason else ""
    return f"{name_of(switch.key)} is {WORDS[switch.mode]} by {switch.author} since {since}{why}"


class Standing:
    """All orders in force, as the replica `me` has read them."""

    def __init__(self, me: str, sources: frozenset[str] = frozenset()) -> None:
        """
        Args:
            sources: kinds whose one task never ends and only takes in others. What begins nothing, and what takes
                nothing in, holds them.
        """
        self._me, self.sources = me, sources
        self._orders: dict[str, tuple[Switch, ...]] = {}

    def refresh(self, controls: Mapping[str, ControlState]) -> bool:
        """Read them anew. Whether anything changed."""
        found = {key: controls[key].in_force for key in sorted(controls)}
        found = {key: switches for key, switches in found.items() if switches}
        changed, self._orders = found != self._orders, found
        return changed

    @property
    def all(self) -> list[Switch]:
        """Every order in force, also those that do not concern this replica."""
        return [switch for switches in self._orders.values() for switch in switches]

    def over(self, kind: str) -> Iterable[Switch]:
        """The orders that concern tasks of this kind on this replica."""
        for key in (AGENT, kind_target(kind), replica_target(self._me)):
            yield from self._orders.get(key, ())

    def _has(self, key: str, modes: Iterable[str]) -> bool:
        return bool(self._orders) and any(switch.mode in modes for switch in self._orders.get(key, ()))

    def held(self, kind: str) -> bool:
        """Nobody may begin a task of this kind."""
        modes = BEGINS_NOT | {"drain"} if kind in self.sources else BEGINS_NOT
        return self._has(AGENT, modes) or self._has(kind_target(kind), modes)

    @property
    def all_held(self) -> bool:
        """Nobody may begin any task."""
        return self._has(AGENT, BEGINS_NOT)

    def is_out(self, replica: str) -> bool:
        """This replica may begin nothing, whoever may."""
        return replica_target(replica) in self._orders

    @property
    def stands_by(self) -> bool:
        """We may begin nothing, whoever may: what is ours, others do."""
        return self.is_out(self._me)

    def begins(self, kind: str) -> bool:
        """Whether a task of this kind, or another attempt of it, may begin on this replica."""
        return not self._orders or not (self.stands_by or self.held(kind))

    def takes_in(self, kind: str) -> bool:
        """Whether new tasks of this kind are accepted."""
        return not (self._has(AGENT, ("drain",)) or self._has(kind_target(kind), ("drain",)))

    def cut_by(self, kind: str, wall_s: float, drain_s: float) -> bool:
        """Whether what ran of this kind, on whichever replica, has been cancelled by this time, unless it cannot be."""
        shared = [*self._orders.get(AGENT, ()), *self._orders.get(kind_target(kind), ())]
        stopped = any(one.mode == "stop" and stamp_wall_s(one.stamp) + drain_s < wall_s for one in shared)
        return stopped or any(one.mode == "halt" for one in shared)

    def why(self, kind: str, replica: str) -> str | None:
        """Why a task of this kind does not begin on that replica; None when it may, by what was ordered."""
        shared = [*self._orders.get(AGENT, ()), *self._orders.get(kind_target(kind), ())]
        found = [switch for switch in shared if switch.mode in BEGINS_NOT]
        found += self._orders.get(replica_target(replica), ())
        return "; ".join(describe(switch) for switch in found) or None
