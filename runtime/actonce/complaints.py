"""What a provider's HTTP answer says about its limits. Pure.

`Retry-After` is RFC 9110, 10.2.3: seconds, or a date. `RateLimit` is the draft of the IETF (draft-ietf-httpapi-
ratelimit-headers): `r=0;t=30`; before that it was three headers. The large model providers send
`x-ratelimit-remaining-requests: 0` with `x-ratelimit-reset-requests: 6m0s`, and `retry-after-ms`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

COOL_S_MAX = 3600.0
"""A longer pause that a provider, or a peer, asks for is asked for again by the next refusal."""

TOO_MANY, UNAVAILABLE = 429, 503
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Complaint:
    """`for_s`: how long to send nothing; `refused`: a call was refused, so that an adaptive limit goes down."""

    for_s: float
    refused: bool


def read_complaint(status: int, headers: Mapping[str, str], wall_s: float) -> Complaint | None:
    """None when the answer complains of nothing. Header names in any case."""
    found = {name.lower(): value.strip() for name, value in headers.items()}
    refused = status == TOO_MANY
    waits = [_retry_after(found, wall_s)] if status in (TOO_MANY, UNAVAILABLE) else []
    waits += [_seconds(reset) for left, reset in _remaining(found) if left == "0"]
    for_s = max((wait for wait in waits if wait is not None), default=0.0)
    if not refused and not for_s:
        return None
    return Complaint(min(COOL_S_MAX, for_s), refused)


def _retry_after(headers: Mapping[str, str], wall_s: float) -> float | None:
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", headers.get("retry-after-ms", "")):
        return float(headers["retry-after-ms"]) / 1000
    text = headers.get("retry-after", "")
    if not text or _seconds(text) is not None:
        return _seconds(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall_s)
    except (ValueError, OverflowError):
        return None


def _remaining(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """(left, reset) of every limit that the headers tell of."""
    pairs = [
        (value, headers[name.replace("remaining", "reset")])
        for name, value in sorted(headers.items())
        if "ratelimit-remaining" in name and name.replace("remaining", "reset") in headers
    ]
    for item in headers.get("ratelimit", "").split(","):
        fields = dict(part.strip().partition("=")[::2] for part in item.split(";"))
        pairs.append((fields.get("r", ""), fields.get("t", "")))
    return pairs


def _seconds(text: str) -> float | None:
    """Of "30", "1.5", "6m0s", "20ms"; None for anything else, and for unix times, which some send."""
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        seconds = float(text)
        return seconds if seconds < 366 * 86400 else None
    parts = _PART.findall(text)
    if not parts or "".join(a + b for a, b in parts) != text:
        return None
    total = math.fsum(float(number) * _UNIT_S[unit] for number, unit in parts)
    return total
