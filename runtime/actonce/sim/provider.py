"""A provider with limits, and an oracle that knows nothing of rights: it looks at what arrived, and when."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import anyio

from actonce.sim.world import SimWorld


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the provider saw it: `at` in seconds of virtual time."""

    at: float
    replica: str
    pid: int
    quota: str
    units: dict[str, int]


@dataclass(slots=True)
class Provider:
    """Carries out every call, and writes it down at the moment of its arrival."""

    rng: random.Random
    delay_s: tuple[float, float] = (0.001, 0.1)
    """One way."""
    calls: list[Call] = field(default_factory=list)
    on_call: Callable[[], None] = lambda: None

    async def call(self, world: SimWorld, quota: str = "llm", **units: int) -> None:
        """A request that has left arrives, whatever becomes of its sender."""
        await world.alive()
        travel_s, loop = self.rng.uniform(*self.delay_s), world.loop

        def arrive() -> None:
            self.calls.append(Call(loop.time(), world.name, world.process.pid, quota, units))
            self.on_call()

        loop.call_later(travel_s, arrive)
        await anyio.sleep(travel_s + self.rng.uniform(*self.delay_s))
        await world.alive()


Uses = Sequence[tuple[float, int]]
"""(when, how much), in order of time."""


def over_window(uses: Uses, limit: int, window_s: float) -> Iterator[str]:
    """Every interval of `window_s`, wherever it begins, may see `limit`."""
    inside: deque[tuple[float, int]] = deque()
    total = 0
    for at, count in uses:
        inside.append((at, count))
        total += count
        while inside[0][0] <= at - window_s:
            total -= inside.popleft()[1]
        if total > limit:
            yield f"{total} instead of {limit} within {window_s:g} s up to {at:.3f} s"


def over_bucket(uses: Uses, size: int, per_s: float) -> Iterator[str]:
    """A bucket of `size` that fills with `per_s` a second: each use needs as much in it."""
    level, last = float(size), 0.0
    for at, count in uses:
        level, last = min(size, level + (at - last) * per_s), at
        level -= count
        if level < -1e-6:
            yield f"the bucket of {size} is {-level:.3f} short at {at:.3f} s"


def over_periods(
    uses: Uses, limit: int, period_of: Callable[[float], int], error_s: Callable[[float], float] = lambda at: 0.0
) -> Iterator[str]:
    """Each calendar period may see `limit`. Nobody's fault are uses so near to its ends that they may count for the
    period beside it, by a clock that is off by `error_s` then."""
    totals: dict[int, int] = {}
    for at, count in uses:
        period, later = period_of(at - error_s(at)), period_of(at + error_s(at))
        if totals.get(period, 0) + count > limit:
            period = later
        totals[period] = totals.get(period, 0) + count
    yield from (f"{total} instead of {limit} in period {period}" for period, total in totals.items() if total > limit)
