"""Durations as people write them: whole numbers, and what is none."""

import dataclasses
import math
from typing import Any

import pytest

from actonce.errors import ConfigError
from actonce.peers import About
from actonce.settings import CONTACT_WINDOW_S_MAX, LAN, PRESETS, Settings
from actonce.world import ProcessId

FLOATS = [one.name for one in dataclasses.fields(Settings) if one.type is float]
INTS = [one.name for one in dataclasses.fields(Settings) if one.type is int]

# Whole numbers for all, within the rules.
WHOLE: dict[str, Any] = dict.fromkeys(FLOATS, 5)
WHOLE |= {"tick_s": 1, "heartbeat_s": 1, "contact_window_s": 3, "clock_rate_error_max": 0, "quota_clock_error": 0}


def about(settings: Settings) -> About:
    return About("a", "j", 1, 2, {}, "", settings.contact_window_s, ProcessId("h", 1, 2))


def test_every_field_is_a_float_or_a_whole_number() -> None:
    assert {*FLOATS, *INTS} == {one.name for one in dataclasses.fields(Settings)}


@pytest.mark.parametrize("name", FLOATS)
def test_a_whole_number_stands_for_a_float(name: str) -> None:
    settings = dataclasses.replace(LAN, **WHOLE)
    assert type(getattr(settings, name)) is float
    floats: dict[str, Any] = {key: float(value) for key, value in WHOLE.items()}
    assert settings == dataclasses.replace(LAN, **floats)


def test_a_handshake_holds_a_contact_window_that_was_given_as_a_whole_number() -> None:
    settings = Settings(contact_window_s=3, suspicion_s=4)
    assert About.decode(about(settings).encode()).contact_window_s == 3.0


def test_the_longest_contact_window_is_one_that_peers_accept() -> None:
    most = dataclasses.replace(LAN, contact_window_s=CONTACT_WINDOW_S_MAX, suspicion_s=2 * CONTACT_WINDOW_S_MAX)
    assert About.decode(about(most).encode()).contact_window_s == CONTACT_WINDOW_S_MAX
    with pytest.raises(ConfigError, match=r"contact_window_s \(3601\.0\) must be 3600\.0 s at most"):
        dataclasses.replace(most, contact_window_s=3601)


@pytest.mark.parametrize("wrong", ["1", None, True, math.nan, -1, -0.5, [1.0], 1j])
@pytest.mark.parametrize("name", FLOATS)
def test_what_is_no_duration_is_refused_in_one_sentence(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} \(.*\) must be a number, and not negative$"):
        dataclasses.replace(LAN, **{name: wrong})


@pytest.mark.parametrize("wrong", ["1", None, True, 2.0, math.nan, -1])
@pytest.mark.parametrize("name", INTS)
def test_what_is_no_count_is_refused_in_one_sentence(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} \(.*\) must be a whole number, and not negative$"):
        dataclasses.replace(LAN, **{name: wrong})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tick_s": 0}, "tick_s"),
        ({"tick_s": 0, "heartbeat_s": 0}, "tick_s"),
        ({"tick_s": 0.2}, "no longer than heartbeat_s"),
        ({"heartbeat_s": math.inf}, "three heartbeats"),
        ({"contact_window_s": 10**400}, "contact_window_s"),
        ({"forget_after_s": math.inf}, "forget_after_s must be finite"),
    ],
)
def test_durations_under_which_an_engine_would_spin_or_fail_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        dataclasses.replace(LAN, **changes)


def test_the_presets_are_as_they_were_written() -> None:
    assert {type(getattr(one, name)) for one in PRESETS.values() for name in FLOATS} == {float}
