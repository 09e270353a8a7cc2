"""Slots over daylight saving, and what is refused at the declaration."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from actonce.agent import Agent
from actonce.errors import ConfigError
from actonce.schedule import Every, Schedule, read_cron, read_every, slot_text

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=BERLIN)


async def handler(ctx: object, slot: object) -> None: ...


def times(line: str, start: datetime, hours: float, tz: str = "Europe/Berlin") -> list[str]:
    """Slots in UTC, without the year."""
    begin = int(start.timestamp())
    slots = takewhile(lambda slot: slot <= begin + hours * 3600, read_cron(line, tz).slots(begin))
    return [slot_text(slot)[5:16] for slot in slots]


def test_a_local_time_that_comes_twice_fires_once() -> None:
    assert times("30 2 * * *", AUTUMN, 48) == ["10-25T00:30", "10-26T01:30"]


def test_a_local_time_that_never_comes_fires_at_the_end_of_the_gap() -> None:
    assert times("30 2 * * *", SPRING, 48) == ["03-29T01:00", "03-30T00:30"]


@pytest.mark.parametrize(("start", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_wildcard_goes_on_at_its_distance(start: datetime, hours: int) -> None:
    begin = int(start.timestamp())
    slots = list(islice(read_cron("*/30 * * * *", "Europe/Berlin").slots(begin), 2 * hours))
    assert [slot - begin for slot in slots] == [1800 * count for count in range(1, 2 * hours + 1)]


def test_the_same_slots_wherever_one_begins_to_look() -> None:
    cron = read_cron("*/20 2 * * *", "Europe/Berlin")
    begin = int(AUTUMN.timestamp())
    slots = list(islice(cron.slots(begin), 12))
    for at in range(begin, slots[-1], 599):
        assert next(cron.slots(at)) == next(slot for slot in slots if slot > at)


def test_seconds_come_first() -> None:
    assert list(islice(read_cron("*/20 * * * * *", "UTC").slots(0), 3)) == [20, 40, 60]


def test_multiples_since_1970() -> None:
    assert list(islice(Every(30).slots(59), 3)) == [60, 90, 120]
    assert list(islice(Every(30).slots(60), 1)) == [90]


def test_the_id_of_a_slot() -> None:
    schedule = Schedule("digest", read_cron("@daily", "Europe/Berlin"), "once", "skip")
    slot = next(schedule.rhythm.slots(int(AUTUMN.timestamp())))
    assert schedule.task(slot) == "cron:digest:2026-10-24T22:00:00Z"


@pytest.mark.parametrize(
    ("line", "tz", "says"),
    [
        ("0 0 30 2 *", "UTC", "cron line '0 0 30 2 \\*': bad day-of-month; write minute, hour"),
        ("61 * * * *", "UTC", "bad minute"),
        ("* * * *", "UTC", "wrong number of fields"),
        ("", "UTC", "wrong number of fields"),
        ("@often", "UTC", "wrong number of fields"),
        (None, "UTC", "a cron line is a text"),
        ("*" * 300, "UTC", "a cron line is a text"),
        ("* * * * *", "Mars/Base", "tz='Mars/Base' is no time zone"),
        ("* * * * *", "../etc/passwd", "is no time zone"),
        ("* * * * *", "", "is no time zone"),
        ("* * * * *", None, "tz=None: name a time zone"),
    ],
)
def test_a_line_or_a_zone_that_is_none(line: Any, tz: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Agent("kevin").cron(line, tz=tz)


@pytest.mark.parametrize("period", ["1500ms", "0.5s", 0.5, "400d", "soon", 0, -1, float("nan")])
def test_a_period_that_is_none(period: Any) -> None:
    with pytest.raises(ConfigError, match=r"use whole seconds, from 1s to 366d|is not a duration"):
        Agent("kevin").every(period)


def test_rules_and_names_are_checked() -> None:
    agent = Agent("kevin")
    wrong: Any = "sometimes"
    with pytest.raises(ConfigError, match="missed='sometimes': use 'skip', 'once' or 'all'"):
        agent.cron("* * * * *", missed=wrong)
    with pytest.raises(ConfigError, match="overlap='sometimes': use 'skip', 'queue' or 'allow'"):
        agent.every(5, overlap=wrong)
    with pytest.raises(ConfigError, match="'No Name' cannot name a schedule"):
        agent.every(5, name="No Name")(handler)
    agent.every("5m")(handler)
    with pytest.raises(ConfigError, match="two handlers for 'cron:handler'"):
        agent.cron("* * * * *")(handler)
    assert read_every(300.0, "5m") == agent.schedules["handler"].rhythm
