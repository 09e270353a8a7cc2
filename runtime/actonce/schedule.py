"""When a schedule is due: its slots, as whole unix seconds. Pure.

A cron line is read by `cronsim`, in the local time of a zone. Over a change of the clocks it follows Debian's cron: a
line with fixed hours fires once for each local time, also for one that comes twice, and for one that never comes at the
end of the gap; a line with a wildcard in the hour or minute goes on at the usual distance. A slot is named by its UTC
time, so it has one name on every replica and on both sides of a change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from actonce.errors import ConfigError

Missed = Literal["skip", "once", "all"]
Overlap = Literal["skip", "queue", "allow"]

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LINE_CHARS_MAX = 200
YEAR_S = 366 * 86_400


class Rhythm(Protocol):
    """The slots of a schedule."""

    def slots(self, after: int) -> Iterator[int]:
        """All slots later than `after`, in order, without end."""
        ...

    def describe(self) -> str:
        """For people."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line in a time zone."""

    line: str
    zone: ZoneInfo

    def slots(self, after: int) -> Iterator[int]:
        """See `Rhythm`."""
        for moment in CronSim(self.line, datetime.fromtimestamp(after, UTC).astimezone(self.zone)):
            slot = int(moment.timestamp())
            if slot > after:
                yield slot

    def describe(self) -> str:
        """See `Rhythm`."""
        return f"{self.line} ({self.zone.key})"


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, counted from 1970."""

    period_s: int

    def slots(self, after: int) -> Iterator[int]:
        """See `Rhythm`."""
        slot = after - after % self.period_s
        while True:
            slot += self.period_s
            yield slot

    def describe(self) -> str:
        """See `Rhythm`."""
        return f"every {self.period_s} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of an agent; its slots are tasks of kind `kind`."""

    name: str
    rhythm: Rhythm
    missed: Missed
    overlap: Overlap

    @property
    def kind(self) -> str:
        """The kind of its tasks."""
        return f"cron:{self.name}"

    def task(self, slot: int) -> str:
        """The id of the task of a slot: the same on every replica."""
        return f"{self.kind}:{slot_text(slot)}"


def slot_text(slot: int) -> str:
    """A slot in UTC, as 2026-11-21T09:00:00Z."""
    return datetime.fromtimestamp(slot, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_cron(line: object, tz: object) -> Cron:
    """
    Raises:
        ConfigError: not a cron line, one that can never fire, or not a time zone; the message says which.
    """
    if not isinstance(tz, str):
        raise ConfigError(f"tz={tz!r}: name a time zone, such as 'Europe/Berlin'")
    try:
        zone = ZoneInfo(tz)
    except (KeyError, ValueError, OSError):
        raise ConfigError(f"tz={tz!r} is no time zone: name one such as 'Europe/Berlin', or 'UTC'") from None
    if not isinstance(line, str) or len(line) > LINE_CHARS_MAX:
        raise ConfigError(f"a cron line is a text such as '*/5 * * * *', not {str(line)[:40]!r}")
    cron = Cron(ALIASES.get(line.strip().lower(), line), zone)
    try:
        next(cron.slots(0))
    except CronSimError as error:
        reason = str(error)
        raise ConfigError(
            f"cron line {line!r}: {reason[:1].lower()}{reason[1:]}; write minute, hour, day, month and weekday, as "
            "'*/5 * * * *', with seconds before them if there are six fields"
        ) from None
    except StopIteration:
        raise ConfigError(f"cron line {line!r} can never fire") from None
    return cron


def read_every(period_s: float, text: object) -> Every:
    """
    Raises:
        ConfigError: not a whole number of seconds, from a second to a year.
    """
    if not 1 <= period_s <= YEAR_S or period_s != int(period_s):
        raise ConfigError(f"every={text!r}: use whole seconds, from 1s to 366d")
    return Every(int(period_s))


def check_rules(missed: object, overlap: object) -> None:
    """
    Raises:
        ConfigError: not one of the rules.
    """
    if missed not in ("skip", "once", "all"):
        raise ConfigError(f"missed={missed!r}: use 'skip', 'once' or 'all'")
    if overlap not in ("skip", "queue", "allow"):
        raise ConfigError(f"overlap={overlap!r}: use 'skip', 'queue' or 'allow'")
