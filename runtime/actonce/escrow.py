"""The rights of one resource that one replica holds, seen from the engine.

    held  =  sealed  +  open  +  late

*Sealed* rights surely are not in use: they can be given away, also right after a crash. *Open* ones are reserved: the
pool hands them out without telling us, so that after a crash each of them counts as used at that moment. How many are
open is on disk before the pool gets them, and lowered only by rights that the pool returned unused. *Late* ones came
from a replica that left while they were still in use there; they are sealed once a whole window has passed since.

Why no window ever sees more than the limit: a right is one token with one owner. Its owner uses it again no earlier
than a window after the response to its last use (after a crash: a window, and the longest flight of a request, after
the restart); it gives it away only unused, or as late; and giving is on its disk before the receiver can hear of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from actonce.limits import Resource
from actonce.pool import MARGIN_S
from actonce_crdt import NOBODY, Gift, QuotaState, Record, Share


@dataclass(slots=True)
class Account:
    """The record of one resource, changed by the engine only."""

    resource: Resource
    holder: str
    state: Callable[[], QuotaState]
    """What the document says of this resource now."""
    write: Callable[[Record], int]
    stamp: Callable[[], int]
    author: str
    clock_error: float
    flight_s: float
    open: int = 0
    """As last written."""
    pooled: int = 0
    """Handed over to the pool."""
    opening: int = 0
    """On their way to the disk."""
    cold: int = 0
    """Open at a crash: not usable until `cold_until`."""
    cold_until: float = 0.0
    period: int = 0
    """Never goes back, whatever the clock says."""
    ends_at: float = math.inf
    """On our clock: when this period ends, as far as the wall clock can tell."""
    received_known: int = 0
    late_known: int = 0
    late_settled: int = 0
    late: list[tuple[float, int]] = field(default_factory=list)
    """(when they are sealed, how many)."""
    lease_s: float = 0.0
    """A majority may take these rights, so long after we heard of it; 0: never. It is in our `Share`, so that nobody is
    taken for leased who is not; and on our journal it never grows, for others may know only of the shorter one."""
    away: int = 0
    """Announced: so many will have been given away in all."""
    asked: int = 0
    """The clock of an announcement that perhaps no majority has yet; 0 for none."""
    taken_known: int = 0
    """Rights that a majority took from here."""
    given: int = 0
    """Transfers made, rights given, and received, since the start."""
    transfers: int = 0
    _seq: int = 0

    # Looking

    @property
    def held(self) -> int:
        return self.state().held(self.holder)

    @property
    def sealed(self) -> int:
        return self.held - self.open - (self.late_known - self.late_settled)

    @property
    def leased(self) -> bool:
        """What is given away is announced first."""
        return self.lease_s > 0

    @property
    def allowance(self) -> int:
        """How many may be given away now."""
        if not self.leased:
            return self.held
        return 0 if self.asked else max(0, self.away - self.state().given(self.holder))

    def again_at(self, now: float) -> float:
        """When rights are free that may be in use now, by somebody who cannot be asked."""
        if self.resource.calendar:
            return self.resource.free_in(self.period, now + self.flight_s, self.ends_at)
        return now + self.flight_s + self.resource.window_s * (1 + self.clock_error) + MARGIN_S

    def clock(self, now: float) -> float:
        return float(self.period) if self.resource.calendar else now

    # From the journal

    def recover(self, now: float, period: int, earlier: int) -> None:
        """After a start: whatever was open counts as used this moment, and in this period too if the last one ended
        less than a flight ago: `earlier` is the period of that time."""
        share = self.state().shares.get(self.holder)
        self.period = max(period, share.period if share is not None else 0)
        if share is not None:
            self._seq, self.late_settled = share.seq, share.late
            if not self.resource.calendar or share.period >= earlier:
                self.open = self.cold = min(share.open, max(0, self.held))
            self.away = self.state().given(self.holder)  # what was announced before may be known to nobody
            if share.lease_ms:
                self.lease_s = min(self.lease_s or math.inf, share.lease_ms / 1000)
        if self.lease_s and (share is None or share.lease_ms != self._lease_ms):
            self._write_share()
        self.taken_known = self.state().taken(self.holder)
        self.cold_until = self.again_at(now)
        self.look(now)

    def look(self, now: float) -> bool:
        """Something came for this resource: rights that are still in use elsewhere are noted. Whether rights came."""
        late = self.state().late(self.holder)
        if late > self.late_known:
            known = max(self.late_known, self.late_settled)
            if late > known:
                self.late.append((self.again_at(now), late - known))
            self.late_known = late
        received, known = self.state().received(self.holder), self.received_known
        self.received_known = received
        return received > known

    # Time

    def pass_time(self, now: float, period: int) -> int:
        """What the clock brings. Returns how many rights may be handed to the pool again."""
        if self.resource.calendar and period > self.period:
            self.period = period
        clock, ready = self.clock(now), 0
        if self.cold and self.cold_until <= clock:
            ready, self.cold = self.cold, 0
            self.pooled += ready
        while self.late and self.late[0][0] <= clock:
            self.late_settled += self.late.pop(0)[1]
        return ready

    # Moving

    def reserve(self, need: int) -> int:
        """Open so many sealed rights, and a block at least. Once that is on disk the caller hands them to the pool."""
        count = min(self.sealed, max(need, min(self.resource.block, self.sealed)))
        if count > 0:
            self.open += count
            self.opening += count
            self._write_share()
        return max(0, count)

    def reserved(self, count: int) -> None:
        """It is on disk."""
        self.opening -= count
        self.pooled += count

    def returned(self, count: int) -> None:
        """The pool gave unused rights back."""
        self.pooled -= count
        self.open -= count
        self._write_share()

    def give(self, to: str, count: int) -> None:
        """Sealed rights go to another holder, who may use them at once."""
        assert 0 < count <= self.sealed
        self._gift(to, count, late=0)

    def give_late(self, to: str, count: int) -> None:
        """Rights that may be in use here go to another holder, who waits a window. Nothing here may use them again."""
        self.open -= min(self.open, count)
        self._write_share()
        self._gift(to, count, late=count)

    def empty(self) -> None:
        """The pool is closed, and everything given away."""
        self.pooled = self.opening = self.cold = 0

    def found(self) -> None:
        """Make the rights of this resource exist, or as many more as a raised limit allows. The founder alone does."""
        state = self.state()
        missing = self.resource.limit - (state.founded - state.destroyed)
        if missing > 0:
            self._gift(self.holder, missing, late=0)

    def excess(self) -> int:
        """Rights beyond a limit that was lowered."""
        state = self.state()
        return max(0, state.founded - state.destroyed - self.resource.limit)

    def destroy(self, count: int) -> None:
        """Sealed rights cease to exist."""
        self._gift(NOBODY, count, late=0)

    def announce(self, count: int) -> None:
        """So many more rights may be given away, once a majority knows (`Leases.is_kept`)."""
        self.away = self.state().given(self.holder) + count
        self.asked = self._write_share()

    def forfeit(self, now: float) -> bool:
        """Whether a majority took our rights since we looked: then what is left counts as used at this moment, and
        the pool must forget all that it has."""
        taken = self.state().taken(self.holder)
        if taken == self.taken_known:
            return False
        self.taken_known = taken
        self.late_settled, self.late = self.late_known, []
        self.pooled = self.opening = 0
        self.open = self.cold = max(0, self.held)
        self.cold_until = self.again_at(now)
        self._write_share()
        return True

    def _gift(self, to: str, count: int, *, late: int) -> None:
        before = self.state().gifts.get((self.holder, to))
        total, late_total = (before.total, before.late) if before is not None else (0, 0)
        self.transfers += to != self.holder
        self.given += count if to != self.holder else 0
        key = self.resource.key
        self.write(Gift(key, self.stamp(), self.author, self.holder, to, total + count, late_total + late))

    def _write_share(self) -> int:
        self._seq += 1
        words = (self._seq, self.open, self.late_settled, self.period, self.away, self._lease_ms)
        return self.write(Share(self.resource.key, self.stamp(), self.author, self.holder, *words))

    @property
    def _lease_ms(self) -> int:
        return math.floor(self.lease_s * 1000)


def gone(state: QuotaState, present: Iterable[str]) -> dict[str, int]:
    """Holder -> rights that it holds and nobody else can use, for those not `present`.

    They come back when the holder does, on its journal; or, where their quota has `reclaim`, by a majority (`leases`).
    """
    here = set(present)
    return {holder: state.held(holder) for holder in state.holders if holder not in here and state.held(holder) > 0}
