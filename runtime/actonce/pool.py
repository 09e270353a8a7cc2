"""Rights at the hands: what handlers take from without asking the engine.

The engine reserves a block of rights durably and hands it over; from then on taking and returning one is a matter of
this object alone, on the hands' side, where handlers run: no thread is changed, nothing is written. Everything here is
called over there. The engine reads single numbers of it (atomic in CPython, and only its policy depends on them).

Each right is at any time in one place: free here, in the hands of a handler, busy until its window has passed, or
back at the engine.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import anyio

from actonce.limits import QuotaSpec, Resource

MARGIN_S = 0.001
"""Added to each window, for what rounds."""

GRAINS = 1000
"""Of a window: a right comes back up to one grain later than it could."""

COOL_KEPT_S = 60.0
"""What is known of a cool-down goes so long after its end."""

RECOVERY_PER_WINDOW = 0.1
"""Adaptive: which part of the limit comes back in each window without a complaint."""
FACTOR_MIN = 0.05


@dataclass(slots=True, eq=False)
class Basin:
    """The rights of one resource that are here."""

    resource: Resource
    clock_error: float
    free: int = 0
    """Below zero after an under-estimate, until as many have come back."""
    in_use: int = 0
    busy: dict[int, int] = field(default_factory=dict)
    """When rights are free again, in grains of the clock that counts suspend, or as a period -> how many."""
    busy_total: int = 0
    next_at: float = math.inf
    """The earliest of `busy`."""
    _heap: list[int] = field(default_factory=list)
    period: int = 0
    ends_at: float = math.inf
    """On our clock: when this period ends, which it does before the next one is on disk: meanwhile nothing is taken."""
    owed: int = 0
    """The engine wants so many back."""
    queued: int = 0
    taken: int = 0
    """Ever."""
    overshoot: int = 0
    """Used beyond an estimate, ever."""
    lost: int = 0
    """Of `in_use`, how many belong to somebody else by now."""

    @property
    def total(self) -> int:
        return self.free + self.in_use - self.lost + self.busy_total

    def clock(self, now: float) -> float:
        return float(self.period) if self.resource.calendar else now

    def again_at(self, now: float, flight_s: float) -> float:
        """When a right is free whose use ended now, or ends within `flight_s`."""
        if self.resource.calendar:
            return self.resource.free_in(self.period, now + flight_s, self.ends_at)
        return now + flight_s + self.resource.window_s * (1 + self.clock_error) + MARGIN_S

    @property
    def grain(self) -> float:
        """Uses that end together within this are kept as one: so that a month of them takes little memory."""
        return 1.0 if self.resource.calendar else self.resource.window_s / GRAINS

    def renew(self, now: float) -> None:
        """Take back what is free again."""
        clock, grain = self.clock(now), self.grain
        while self._heap and self._heap[0] * grain <= clock:
            count = self.busy.pop(heapq.heappop(self._heap))
            self.busy_total -= count
            self.free += count
        self.next_at = self._heap[0] * grain if self._heap else math.inf

    def forfeit(self) -> None:
        """Nothing here is ours any more. What handlers still use vanishes as they end."""
        self.lost, self.free, self.owed = self.in_use, 0, 0
        self.busy.clear()
        self._heap.clear()
        self.busy_total, self.next_at = 0, math.inf

    def spend(self, reserved: int, used: int, again_at: float) -> None:
        """A use is over."""
        self.in_use -= reserved
        lost = min(self.lost, reserved)
        self.lost, reserved, used = self.lost - lost, reserved - lost, max(0, used - lost)
        self.free += reserved - used
        self.overshoot += max(0, used - reserved)
        if used:
            grain = math.ceil(again_at / self.grain)
            if grain not in self.busy:
                heapq.heappush(self._heap, grain)
            self.busy[grain] = self.busy.get(grain, 0) + used
            self.busy_total += used
            self.next_at = self._heap[0] * self.grain


@dataclass(slots=True, eq=False)
class Waiter:
    """A handler that waits for its turn."""

    amounts: tuple[int, ...]
    scope: str
    granted: bool = False
    poke: anyio.Event = field(default_factory=anyio.Event)

    def wake(self) -> None:
        self.poke.set()
        self.poke = anyio.Event()


class Pool:
    """One quota, as the handlers of one replica see it."""

    def __init__(
        self, spec: QuotaSpec, clock_error: float, now: Callable[[], float], tell: Callable[[Callable[[], None]], None]
    ) -> None:
        """
        Args:
            tell: runs a call on the engine soon.
        """
        self.spec, self._now, self._tell = spec, now, tell
        self.basins = tuple(Basin(resource, clock_error) for resource in spec.resources)
        self.on_hungry: Callable[[], None] = lambda: None
        """Called on the engine when somebody begins to wait."""
        self.on_returned: Callable[[int, int], None] = lambda index, count: None
        """Called on the engine with rights that it asked back."""
        self.closed = False
        self.until = math.inf
        """On our clock: until when rights may be used here (`Leases.until`)."""
        self.cool: dict[str, float] = {}
        """Scope -> until when nothing may be taken; "" is every scope."""
        self._factor, self._factor_at = 1.0, 0.0
        self._queue: list[tuple[float, int, Waiter]] = []
        self._arrivals = 0

    # For handlers

    def take(self, amounts: tuple[int, ...], scope: str) -> bool:
        """All of them now, or none. Nobody overtakes those who wait."""
        now = self._now()
        self._renew(now)
        if self._queue or not self._fits(amounts, scope, now):
            return False
        self._hand_out(amounts)
        return True

    def enqueue(self, amounts: tuple[int, ...], scope: str, priority: int) -> Waiter:
        """Wait in line. A priority is worth one window of waiting: so nobody is overtaken for ever."""
        waiter = Waiter(amounts, scope)
        self._arrivals += 1
        insort(self._queue, (self._now() - priority * self.spec.window_s, self._arrivals, waiter))
        for basin, amount in zip(self.basins, amounts, strict=True):
            basin.queued += amount
        self._tell(self.on_hungry)
        self.serve()
        return waiter

    def withdraw(self, waiter: Waiter) -> None:
        """It waits no longer. What it was granted meanwhile, unused, comes back."""
        if waiter.granted:
            self.give_back(waiter.amounts)
            return
        self._queue = [row for row in self._queue if row[2] is not waiter]
        for basin, amount in zip(self.basins, waiter.amounts, strict=True):
            basin.queued -= amount
        self.serve()

    def give_back(self, amounts: tuple[int, ...]) -> None:
        """Surely not used."""
        for basin, amount in zip(self.basins, amounts, strict=True):
            basin.spend(amount, 0, 0.0)
        self.serve()

    def finish(self, amounts: tuple[int, ...], used: tuple[int, ...], *, answered: bool) -> None:
        """A use is over; if there was no answer, what was sent may still arrive for `flight_s`."""
        now = self._now()
        for basin, amount, spent in zip(self.basins, amounts, used, strict=True):
            basin.spend(amount, spent, basin.again_at(now, 0.0 if answered else self.spec.flight_s))
        self.serve()

    def serve(self) -> None:
        """Let through, from the head of the line, whoever can have everything that it waits for."""
        now = self._now()
        self._renew(now)
        left, blocked = [], False
        for row in self._queue:
            waiter = row[2]
            if not blocked and self._fits(waiter.amounts, waiter.scope, now):
                waiter.granted = True
                for basin, amount in zip(self.basins, waiter.amounts, strict=True):
                    basin.queued -= amount
                self._hand_out(waiter.amounts)
                waiter.wake()
            else:
                # Behind a cool-down of one scope others may pass; behind a lack of rights nobody may.
                blocked = blocked or self._cool_until(waiter.scope) <= now
                left.append(row)
        self._queue = left
        if left:
            left[0][2].wake()  # it watches the clock for all: what it waits for may come earlier now

    def heads(self, waiter: Waiter) -> bool:
        """Whether this one is first in line."""
        return bool(self._queue) and self._queue[0][2] is waiter

    def next_change(self) -> float:
        """When, on our clock, time alone may let somebody through; infinity for never."""
        now = self._now()
        times = [at for at in self.cool.values() if at > now]
        times += [basin.next_at for basin in self.basins if not basin.resource.calendar]
        if self.factor(now) < 1.0:
            times.append(now + self.spec.window_s / 20)
        return min(times, default=math.inf)

    def reason(self, amounts: tuple[int, ...], scope: str) -> str:
        """Why these cannot be had right now, for people. Any thread."""
        now = self._now()
        if now >= self.until:
            return "this replica was out of touch with a majority of the roster, which may take its rights"
        if self._cool_until(scope) > now:
            return "the provider asked for a pause"
        for basin, amount in zip(self.basins, amounts, strict=True):
            if amount and now >= basin.ends_at:
                return f"the budget's next {basin.resource.calendar} was about to begin"
            if basin.total < amount:
                unit, limit = basin.resource.unit, basin.resource.limit
                return f"this replica had {basin.total} of the {limit} {unit} ready, and asks for more"
            if basin.free < amount:
                used = basin.in_use + basin.busy_total
                return f"{used} of the {basin.total} {basin.resource.unit} that this replica has reserved were in use"
        if self._queue:
            return f"{len(self._queue)} others waited before it"
        return "the limit is lowered since the provider complained"

    # For the engine, called over here

    def add(self, index: int, count: int) -> None:
        """Rights of resource `index` that are reserved durably, and free."""
        self.basins[index].free += count
        self.serve()

    def take_back(self, index: int, count: int) -> None:
        """Return so many as they become free, before anybody else gets them."""
        self.basins[index].owed = count
        self.serve()

    def seal(self, index: int, count: int) -> None:
        """Return up to so many that are free now."""
        self.serve()
        basin = self.basins[index]
        count = min(count, basin.free)
        if count > 0 and not self._queue:
            basin.free -= count
            self._tell(lambda: self.on_returned(index, count))

    def advance(self, index: int, period: int, ends_at: float) -> None:
        """A new calendar period has begun."""
        self.basins[index].period, self.basins[index].ends_at = period, ends_at
        self.serve()

    def forfeit(self, index: int) -> None:
        """The rights that were here belong to somebody else."""
        self.basins[index].forfeit()

    def pause(self, scope: str, until: float) -> None:
        """Obey a cool-down."""
        if scope not in self.cool:  # scopes may be as many as customers
            ended = self._now() - COOL_KEPT_S
            self.cool = {one: at for one, at in self.cool.items() if at > ended}
        self.cool[scope] = max(until, self.cool.get(scope, -math.inf))
        self._poke()

    def slow(self, factor: float, at: float) -> None:
        """The provider complained `at`: from then on only this part of the limit, and slowly more."""
        if at >= self._factor_at:
            self._factor, self._factor_at = max(FACTOR_MIN, factor), at
            self._poke()

    def factor(self, now: float) -> float:
        """Which part of the limit is used now."""
        grown = (now - self._factor_at) / self.spec.window_s * RECOVERY_PER_WINDOW
        return min(1.0, self._factor + max(0.0, grown)) if self._factor < 1.0 else 1.0

    @property
    def waiting(self) -> int:
        """Handlers in line."""
        return len(self._queue)

    def close(self) -> None:
        """Nothing may be taken any more: its rights have been given away, or its replica has ended."""
        self.closed = True
        for _, _, waiter in list(self._queue):
            waiter.wake()

    # Inside

    def _poke(self) -> None:
        if self._queue:
            self._queue[0][2].wake()

    def _renew(self, now: float) -> None:
        for index, basin in enumerate(self.basins):
            if basin.busy:
                basin.renew(now)
            if basin.owed and basin.free > 0:
                self._return(index, basin, min(basin.owed, basin.free))

    def _return(self, index: int, basin: Basin, count: int) -> None:
        basin.owed -= count
        basin.free -= count
        self._tell(lambda: self.on_returned(index, count))

    def _fits(self, amounts: Iterable[int], scope: str, now: float) -> bool:
        if self.closed or now >= self.until or self._cool_until(scope) > now:
            return False
        factor = self.factor(now) if self._factor < 1.0 else 1.0
        for basin, amount in zip(self.basins, amounts, strict=True):
            if amount and (basin.free < amount or now >= basin.ends_at):
                return False
            used = basin.in_use + basin.busy_total
            if factor < 1.0 and used and used + amount > factor * basin.total:
                return False
        return True

    def _cool_until(self, scope: str) -> float:
        if not self.cool:
            return -math.inf
        until = self.cool.get("", -math.inf)
        return max(until, self.cool.get(scope, -math.inf)) if scope else until

    def _hand_out(self, amounts: tuple[int, ...]) -> None:
        for basin, amount in zip(self.basins, amounts, strict=True):
            basin.free -= amount
            basin.in_use += amount
            basin.taken += amount
