"""What may be declared as a quota, and what is refused, with a sentence."""

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from actonce.agent import Agent
from actonce.errors import ConfigError
from actonce.limits import Resource
from actonce.pool import COOL_KEPT_S, Pool

from .lab import Lab, run


def declare(**quota: Any) -> Any:
    return Agent("kevin").quota("llm", **quota)


def test_several_limits_at_once() -> None:
    spec = declare(limit=60, per="1m", tokens=90_000, cents=(5_000, "day"), zone="Europe/Zurich", burst=10)
    assert [(one.key, one.limit, one.window_s, one.calendar) for one in spec.resources] == [
        ("llm/cents", 5_000, 90_000.0, "day"),
        ("llm/requests", 60, 60.0, ""),
        ("llm/requests.burst", 10, 10.0, ""),
        ("llm/tokens", 90_000, 60.0, ""),
    ]
    assert spec.amounts({"tokens": 1200}) == (0, 1, 1, 1200)
    assert spec.amounts({"requests": 0, "cents": 3}) == (3, 0, 0, 0)


def test_cool_downs_of_scopes_that_do_not_come_again_are_not_kept() -> None:
    now = 0.0
    pool = Pool(declare(limit=60, per="1m"), 0.0, lambda: now, lambda call: None)
    for number in range(1_000):
        now = float(number)
        pool.pause(f"customer {number}", now + 5.0)
    assert len(pool.cool) < COOL_KEPT_S + 10
    assert not pool.take((1,), "customer 999")
    assert not pool.take((1,), "customer 996")
    assert pool.next_change() == 1_000.0


@pytest.mark.parametrize(
    ("quota", "says"),
    [
        ({"limit": 0}, "whole number from 1"),
        ({"limit": -5}, "whole number from 1"),
        ({"limit": 2.5}, "whole number from 1"),
        ({"limit": True}, "whole number from 1"),
        ({"limit": 2**60}, "2**53-1"),
        ({}, "limits nothing"),
        ({"limit": 5, "per": "fortnight"}, "is not a duration"),
        ({"limit": 5, "per": 0}, "is not a duration"),
        ({"limit": 5, "per": "-1m"}, "is not a duration"),
        ({"limit": 5, "per": "day", "zone": "Mars/Base"}, "is no time zone"),
        ({"limit": 5, "burst": 6}, "more than the whole limit"),
        ({"limit": 5, "burst": 0}, "whole number from 1"),
        ({"limit": 5, "per": "day", "burst": 2}, "no limit of requests over a duration"),
        ({"tokens": 5, "burst": 2}, "no limit of requests over a duration"),
        ({"limit": 5, "flight": "never"}, "is not a duration"),
    ],
)
def test_bad_declarations(quota: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        declare(**quota)


def test_names_are_checked() -> None:
    agent = Agent("kevin")
    agent.quota("llm", 5)
    with pytest.raises(ConfigError, match="declared twice"):
        agent.quota("llm", 6)
    with pytest.raises(ConfigError, match="cannot name a quota"):
        agent.quota("LLM!", 6)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"words": 3}, "has no unit 'words'; it has: requests, tokens"),
        ({"tokens": 301}, "never has more than 300"),
        ({"tokens": -1}, "whole number from 0"),
        ({"tokens": 1.5}, "whole number from 0"),
    ],
)
def test_bad_estimates(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        declare(limit=5, tokens=300).amounts(asked)


def test_a_window_shorter_than_a_heartbeat_is_refused_with_the_reason() -> None:
    agent = Agent("kevin")
    agent.quota("llm", 5, "100ms")

    async def scenario() -> None:
        with pytest.raises(ConfigError, match=r"a window of 0.1 s for requests is not longer than a heartbeat"):
            Lab(agent).start("a", new=True)

    run(scenario)


def unix(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("calendar", "last", "first"),
    [
        ("day", "2024-03-30T23:59:59", "2024-03-31T00:00:00"),
        ("day", "2024-03-31T23:59:59", "2024-04-01T00:00:00"),  # a day of 23 hours
        ("week", "2024-03-31T23:59:59", "2024-04-01T00:00:00"),  # a Sunday, a Monday
        ("month", "2024-02-29T23:59:59", "2024-03-01T00:00:00"),
        ("month", "2024-12-31T23:59:59", "2025-01-01T00:00:00"),
    ],
)
def test_calendars_turn_at_local_midnight(calendar: str, last: str, first: str) -> None:
    zone = "Europe/Zurich"
    one = Resource("llm/cents", "cents", 5, 1.0, calendar, zone)
    assert one.period(unix(first, zone)) == one.period(unix(last, zone)) + 1
    assert one.period_ends(unix(last, zone)) == unix(first, zone)


def test_blocks_are_large_for_short_windows_and_small_for_budgets() -> None:
    def block(limit: int, window_s: float, calendar: str = "") -> int:
        return Resource("llm/requests", "requests", limit, window_s, calendar).block

    assert block(60, 10.0) == 60
    assert block(60, 60.0) == 20
    assert block(90_000, 3600.0) == 900
    assert block(5_000, 90_000.0, "day") == 50
    assert block(3, 90_000.0, "day") == 1
