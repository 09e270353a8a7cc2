"""Names and durations, as users write them."""

from __future__ import annotations

import re

from actonce.errors import ConfigError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def is_text(value: object) -> bool:
    """For what a caller gave as a name: it may be anything, even what no dict takes for a key."""
    return isinstance(value, str)


def check_name(what: str, name: object) -> None:
    """Names of agents, replicas, kinds and sinks share one form."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name {what}: use 1 to 64 of a-z, 0-9, '.', '_', '-', starting with a letter or digit"
        )


def parse_duration_s(text: str | float) -> float:
    """Seconds of "250ms", "30s", "2m", "1.5h", "1d", or of a number of seconds."""
    if isinstance(text, str):
        match = _DURATION.fullmatch(text.strip())
        seconds = float(match[1]) * _UNIT_S[match[2]] if match else -1.0
    else:
        try:
            seconds = float(text)
        except (TypeError, ValueError):
            seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{text!r} is not a duration: write 250ms, 30s, 2m, 1h, 1d, or seconds as a number")
    return seconds
