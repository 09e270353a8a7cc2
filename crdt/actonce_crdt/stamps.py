"""Hybrid logical clock (Kulkarni, Demirbas, Madappa, Avva, Leone: "Logical Physical Clocks", 2014).

A stamp is one int, ``(unix_ms << 16) | counter``: it sorts like (time, counter), is close to wall time, and a
stamp made after another one was seen is larger than it. 65,536 stamps fit into a millisecond; the next one borrows
from the following millisecond, which keeps the order.

Not guaranteed: that two replicas never make the same stamp (order ties by author), nor that stamps tell real time.
Safety never rests on stamps; only the order of display, expiry and last-writer rules do.
"""

COUNTER_BITS = 16
STAMP_MAX = (1 << 63) - 1


def stamp_wall_s(stamp: int) -> float:
    """Unix time in seconds that a stamp stands for, to the millisecond."""
    return (stamp >> COUNTER_BITS) / 1000


def _wall_stamp(wall_s: float) -> int:
    """The first stamp of the millisecond of `wall_s` (unix seconds; times before 1970 count as 1970)."""
    return max(0, int(wall_s * 1000)) << COUNTER_BITS


class HybridClock:
    """Makes stamps that only grow. Takes wall time (unix seconds) as an argument; reads no clock itself."""

    __slots__ = ("_last", "drift_max_ms")

    def __init__(self, drift_max_ms: int = 60_000) -> None:
        self.drift_max_ms = drift_max_ms
        self._last = 0

    @property
    def last(self) -> int:
        """The largest stamp made or accepted so far."""
        return self._last

    def tick(self, wall_s: float) -> int:
        """A new stamp, larger than every stamp made or observed before, also when the wall clock steps back."""
        self._last = max(self._last + 1, _wall_stamp(wall_s))
        return self._last

    def limit(self, wall_s: float) -> int:
        """The largest remote stamp that is not too far ahead of our wall clock."""
        return _wall_stamp(wall_s + self.drift_max_ms / 1000)

    def observe(self, stamp: int, wall_s: float) -> bool:
        """Learn of a remote stamp, so that our next one is larger.

        Returns False when the remote stamp is more than `drift_max_ms` ahead of our wall clock. It is clamped then:
        our clock moves no further than wall time plus `drift_max_ms`, so that one bad clock cannot drag the
        mesh into the future; the caller reports it.
        """
        limit = self.limit(wall_s)
        self._last = max(self._last, min(stamp, limit))
        return stamp <= limit
