"""A circuit breaker: after failures in a row, leave the other side alone for a while, then try with one request.

    closed      everything passes
    open        nothing passes until the rest is over; each rest is twice as long as the one before
    half-open   the rest is over: one request passes, as a probe; its end closes the breaker, or opens it again

After Nygard, Release It! (2007). It knows only what this replica met: another one may have a way to the sink that is
not broken, so nothing of it is gossiped. Pure: the time comes in as an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FAILURES_MAX = 5
"""So many in a row open it."""
REST_S = 1.0
REST_S_MAX = 30.0


@dataclass(slots=True)
class Breaker:
    """Of one endpoint of one sink, at one replica."""

    failures: int = 0
    """In a row."""
    rests: int = 0
    """In a row."""
    rests_until: float = -math.inf
    shy_until: float = -math.inf
    """It failed lately: another endpoint is preferred, where there is one."""
    probing: bool = False
    why: str = ""

    def wait_s(self, now: float) -> float:
        """How long nothing may pass: 0 for not at all, infinite while a probe is under way."""
        if self.probing:
            return math.inf
        return max(0.0, self.rests_until - now)

    def enter(self) -> None:
        """A request passes, whose end is to be told."""
        self.probing = self.rests > 0

    def succeeded(self) -> None:
        """The other side answered."""
        self.failures, self.rests, self.probing, self.why = 0, 0, False, ""
        self.rests_until = self.shy_until = -math.inf

    def failed(self, now: float, why: str, asked_s: float = 0.0) -> None:
        """It did not, or asked to be left alone for so long."""
        self.failures, self.why = self.failures + 1, why
        if self.probing or self.failures >= FAILURES_MAX:
            rest_s = max(asked_s, min(REST_S_MAX, REST_S * 2.0 ** min(self.rests, 30)))
            self.rests_until, self.rests = now + rest_s, self.rests + 1
        self.shy_until, self.probing = max(now + REST_S, self.rests_until), False

    def left(self) -> None:
        """The request ended without a word about the other side, as when its task was taken over."""
        self.probing = False
