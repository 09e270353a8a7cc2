"""One limited resource on one replica: its account on the engine, its basin at the hands, and how it is used."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from actonce.escrow import Account
from actonce.leases import Keeping
from actonce.limits import ALARMS
from actonce.pool import Basin, Pool

RATE_OVER_S = 1.0
"""Arrivals are averaged over this ..."""
AHEAD_S = 0.2
"""... and rights for so much of them are kept ready ..."""
QUIET_GAPS = 3.0
"""... until nothing has come for so many times the usual gap, and for `AHEAD_S`: then others have a better use for them
than the average, which takes a second to forget."""
BUDGET_IDLE_S = 5.0
"""Rights of a budget that are open for so long without need are sealed, for a crash would count them as spent."""
WALL_JUMP_S = 60.0
"""A wall clock that moves by more, against the one that counts suspend, is not believed before the next start."""


@dataclass(slots=True, eq=False)
class Slot:
    """Times are on the replica's clock."""

    account: Account
    pool: Pool
    index: int
    interval_s: float
    """Between two transfers, at least."""
    give_at: float = -math.inf
    idle_give_at: float = -math.inf
    idle_since: float = 0.0
    keeping: Keeping | None = None
    """Whether a majority has what the account announced."""
    forfeits: int = 0
    """The pool is forgetting rights that were taken from us: what it returned before is not ours."""
    alarmed: tuple[int, int] = (0, 0)
    """(period, percent) of the last alarm."""
    _ends: tuple[int, float] = (-1, math.inf)
    """(period, unix time at which it ends)."""
    _quiet: bool = True
    _taken: int = 0
    _rate: float = 0.0
    _rated_at: float = 0.0

    @property
    def basin(self) -> Basin:
        return self.pool.basins[self.index]

    @property
    def ahead(self) -> int:
        """Rights that arrivals of the next moment will take."""
        expected, resource = 0.0 if self._quiet else self._rate * AHEAD_S, self.account.resource
        ahead = math.ceil(expected) if expected >= 0.05 else 0
        return min(ahead, resource.block) if resource.calendar else ahead

    @property
    def demand(self) -> int:
        """Rights that are in use here, waited for, or will be in a moment."""
        basin = self.basin
        return basin.in_use + basin.busy_total + basin.queued + max(0, -basin.free) + self.ahead

    @property
    def lack(self) -> int:
        """Rights that are waited for here and that nothing here will set free in a moment."""
        basin, account = self.basin, self.account
        return max(0, basin.queued - max(0, basin.free) - account.opening - max(0, account.sealed))

    @property
    def need(self) -> int:
        """Rights that should be opened now."""
        return self.basin.queued + self.ahead - self.basin.free - self.account.opening

    def follow(self, now: float, wall: float) -> None:
        """When the calendar period ends; a wall clock may be corrected a little at any time."""
        account, resource = self.account, self.account.resource
        if resource.calendar:
            period = resource.period(wall)
            if period != self._ends[0]:
                self._ends = period, resource.period_ends(wall)
            account.ends_at = now + self._ends[1] - wall if period >= account.period else math.inf
            if self.basin.period == account.period == period:
                self.basin.ends_at = account.ends_at

    def rate(self, now: float) -> None:
        """Follow how fast rights are taken."""
        taken, passed = self.basin.taken, now - self._rated_at
        if taken != self._taken or self.basin.queued:
            self.idle_since = now
        if passed > 0:
            weight = 1 - math.exp(-passed / RATE_OVER_S)
            self._rate += ((taken - self._taken) / passed - self._rate) * weight
            self._taken, self._rated_at = taken, now
        self._quiet = (now - self.idle_since) * max(0.0, self._rate) > QUIET_GAPS and now - self.idle_since > AHEAD_S

    def is_idle(self, now: float) -> bool:
        """Whether rights are open that nobody took for a whole window; of a budget, for a moment."""
        resource = self.account.resource
        over_s = BUDGET_IDLE_S if resource.calendar else max(resource.window_s, RATE_OVER_S)
        return self.basin.free > 0 and not self.basin.queued and now - self.idle_since > over_s

    @property
    def spent(self) -> int:
        """Rights of all replicas that are used, or reserved, in the present calendar period, as far as known here."""
        account, basin, state = self.account, self.basin, self.account.state()
        shares = state.shares.values()
        others = sum(one.open for one in shares if one.holder != account.holder and one.period == account.period)
        # Of rights that came from somebody who may have used them, nobody knows more.
        late = sum(state.late(holder) for holder in state.holders) - sum(one.late for one in shares)
        return others + max(0, late) + account.cold + basin.in_use + basin.busy_total

    @property
    def reached(self) -> int:
        """The highest percentage of `ALARMS` that a calendar budget has reached in this period; 0 for none."""
        resource = self.account.resource
        if not resource.calendar:
            return 0
        percent = 100 * self.spent // resource.limit
        return max((alarm for alarm in ALARMS if percent >= alarm), default=0)

    def alarm(self) -> str | None:
        """A sentence, once for each percentage of `ALARMS` that a calendar budget reaches."""
        reached, period = self.reached, self.account.period
        if not reached or (period, reached) <= self.alarmed:
            return None
        self.alarmed = (period, reached)
        return self.alarm_text(reached)

    def alarm_text(self, reached: int) -> str:
        """For people."""
        resource = self.account.resource
        return f"{resource.key}: {reached} % of the budget of this {resource.calendar} is used"


class CalmWall:
    """The wall clock, as far as it can be believed: a jump while we run renews nothing."""

    def __init__(self, wall: Callable[[], float], now: Callable[[], float], note: Callable[[str], None]) -> None:
        self._wall, self._now, self._note = wall, now, note
        self._last, self._at = wall(), now()
        self.jumped_s = 0.0
        """By how much the wall clock is off from what it should show."""

    def read(self) -> float:
        """Unix seconds: what the wall clock shows, unless it jumped; then what it showed, and the time since."""
        now, told = self._now(), self._wall()
        expected = self._last + now - self._at
        if abs(told - expected) <= WALL_JUMP_S:
            self.jumped_s = 0.0
        else:
            if not self.jumped_s:
                self._note(f"the wall clock jumped by {told - expected:.0f} s: calendar budgets go on by the old one")
            self.jumped_s, told = told - expected, expected
        self._last, self._at = told, now
        return told
