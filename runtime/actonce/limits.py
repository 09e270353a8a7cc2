"""Declared limits: what `Agent.quota` takes, checked, as one `Resource` for each unit. Pure.

A resource renews its rights in one of two ways. *Sliding*: a right that was used comes back one window after the
response, counted on its holder's own clock; then no interval of that length, wherever it begins, sees more uses than
there are rights, so that it is safe with a provider that counts in sliding windows, in fixed ones, or with a bucket of
that size. *Calendar*: all rights come back at the next midnight (Monday, first of the month) of a time zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from actonce.errors import ConfigError
from actonce_crdt import COUNT_MAX, NAME_BYTES_MAX

CALENDAR = ("day", "week", "month")
REQUESTS = "requests"
BURST = ".burst"
"""Ends the name of the second resource that a burst limit stands for."""

SHARE_WRITE_S = 10.0
"""Rights are reserved in blocks so large that a busy replica reserves about one in this time."""
BLOCKS_MAX = 100
"""... and no smaller than this part of the limit, which is what a crash may cost of a budget."""

ALARMS = (80, 100)
"""Percent of a calendar budget at which an alarm is raised."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One limit: `limit` units in `window_s` seconds, or in each `calendar` unit of `zone`."""

    key: str
    """``quota/unit``: names it in the document."""
    unit: str
    limit: int
    window_s: float
    """For a calendar resource the longest that its unit can be."""
    calendar: str = ""
    zone: str = "UTC"

    @property
    def block(self) -> int:
        """How many rights are reserved at once: all of them for short windows, some for long ones."""
        smallest = -(-self.limit // BLOCKS_MAX)
        if self.calendar:
            return smallest
        return min(self.limit, max(smallest, round(self.limit * 2 * SHARE_WRITE_S / self.window_s)))

    def period(self, wall_s: float) -> int:
        """Number of the calendar unit that a unix time falls into; always 0 for a sliding window."""
        if not self.calendar:
            return 0
        local = datetime.fromtimestamp(wall_s, ZoneInfo(self.zone)).date()
        match self.calendar:
            case "day":
                return local.toordinal()
            case "week":
                return (local.toordinal() - 1) // 7
            case _:
                return local.year * 12 + local.month - 1

    def free_in(self, period: int, now: float, ends_at: float) -> float:
        """Period in which a right is free whose use ends `now` at the latest, on a clock on which `period` ends at
        `ends_at`: whoever has not heard yet that the next one began may have used it in that one already.
        """
        return period + (2.0 if now >= ends_at else 1.0)

    def period_ends(self, wall_s: float) -> float:
        """Unix time at which the calendar unit of `wall_s` ends."""
        zone = ZoneInfo(self.zone)
        day = datetime.fromtimestamp(wall_s, zone).replace(hour=0, minute=0, second=0, microsecond=0)
        period, now = self.period(wall_s), day
        while self.period(now.timestamp()) == period:
            now = (now + timedelta(days=1)).replace(hour=0)
        return now.timestamp()


@dataclass(frozen=True, slots=True)
class QuotaSpec:
    """One quota of an agent: all its resources are acquired together, or none."""

    name: str
    resources: tuple[Resource, ...]
    adaptive: bool = False
    """Whether the limits are lowered when the provider complains."""
    flight_s: float = 10.0
    """How long a request whose answer never came may still arrive at the provider."""
    reclaim_s: float | None = None
    """The lease of rights: a majority takes those of a replica that it has not heard of for so long. None: never."""

    @property
    def units(self) -> dict[str, int]:
        """Unit -> limit, without the bursts."""
        return {one.unit: one.limit for one in self.resources if not one.unit.endswith(BURST)}

    @property
    def window_s(self) -> float:
        """The shortest window: how fast things move here."""
        return min(one.window_s for one in self.resources)

    def amounts(self, asked: Mapping[str, int]) -> tuple[int, ...]:
        """What to take of each resource; one request unless it is said otherwise.

        Raises:
            ConfigError: a unit that does not exist, an amount that is no count or more than a whole limit.
        """
        units = self.units
        for unit, amount in asked.items():
            if unit not in units:
                raise ConfigError(f"quota {self.name!r} has no unit {unit!r}; it has: {', '.join(sorted(units))}")
            if type(amount) is not int or amount < 0:
                raise ConfigError(f"{unit}={amount!r}: an amount of quota {self.name!r} is a whole number from 0")
        wanted = []
        for one in self.resources:
            unit = one.unit.removesuffix(BURST)
            amount = asked.get(unit, 1 if unit == REQUESTS else 0)
            if amount > one.limit:
                raise ConfigError(
                    f"{unit}={amount}: quota {self.name!r} never has more than {one.limit} at once; "
                    "ask for less, or raise the limit"
                )
            wanted.append(amount)
        return tuple(wanted)


def make_quota(
    name: str,
    limits: Mapping[str, int | tuple[int, str | float]],
    per: str | float,
    *,
    burst: int | None,
    zone: str,
    adaptive: bool,
    flight_s: float,
    seconds: Mapping[str, float],
) -> QuotaSpec:
    """
    Args:
        limits: unit -> limit, or (limit, window) where that is not `per`.
        seconds: the windows that are durations, as seconds, by what the user wrote.

    Raises:
        ConfigError: something of it cannot be.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"zone={zone!r} is no time zone known here: write one such as Europe/Zurich") from None
    if not limits:
        raise ConfigError(f"quota {name!r} limits nothing: give limit=... for requests, or a unit such as tokens=...")
    resources = []
    for unit, given in limits.items():
        limit, window = given if isinstance(given, tuple) else (given, per)
        _check_limit(name, unit, limit)
        key = f"{name}/{unit}"
        if window in CALENDAR:
            longest = {"day": 25.0 * 3600, "week": 169.0 * 3600, "month": 745.0 * 3600}[str(window)]
            resources.append(Resource(key, unit, limit, longest, str(window), zone))
        else:
            resources.append(Resource(key, unit, limit, seconds[str(window)]))
    if burst is not None:
        resources.append(_burst(name, resources, burst))
    return QuotaSpec(name, tuple(sorted(resources, key=lambda one: one.key)), adaptive, flight_s)


def _check_limit(name: str, unit: str, limit: object) -> None:
    if type(limit) is not int or not 0 < limit <= COUNT_MAX:
        said = "limit" if unit == REQUESTS else unit
        raise ConfigError(f"{said}={limit!r}: a limit of quota {name!r} is a whole number from 1 to 2**53-1")
    if not unit.isidentifier() or len(unit) > NAME_BYTES_MAX:
        raise ConfigError(f"{unit!r} cannot name a unit of quota {name!r}: use a word such as tokens")


def _burst(name: str, resources: list[Resource], burst: int) -> Resource:
    """`burst` requests in the time in which the limit lets through as many: then any interval of t seconds sees at most
    burst + t * limit / window, as from a token bucket of that size.
    """
    requests = next((one for one in resources if one.unit == REQUESTS), None)
    if requests is None or requests.calendar:
        raise ConfigError(f"burst={burst!r}: quota {name!r} has no limit of requests over a duration that it could cut")
    _check_limit(name, "burst", burst)
    if burst > requests.limit:
        raise ConfigError(f"burst={burst} is more than the whole limit of {requests.limit}: leave it out")
    window_s = requests.window_s * burst / requests.limit
    return Resource(requests.key + BURST, REQUESTS + BURST, burst, window_s)
