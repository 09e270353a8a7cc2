"""What one replica learns of a provider's limits, all obey: cool-downs and lowered limits, through the document."""

from __future__ import annotations

import math
from collections.abc import Mapping

from actonce.complaints import COOL_S_MAX, Complaint
from actonce.ledger import Ledger
from actonce.pool import Pool
from actonce.settings import Settings
from actonce.world import World
from actonce_crdt import Cool, stamp_wall_s

HALVED, THOUSAND = 0.5, 1000


class Cooling:
    """The cool-downs of one replica's quotas. A key is ``quota`` or ``quota@scope``."""

    def __init__(self, world: World, settings: Settings, ledger: Ledger, pools: Mapping[str, Pool]) -> None:
        self._world, self._settings, self._ledger, self._pools = world, settings, ledger, pools
        self._halved_at: dict[str, float] = {}

    def complained(self, quota: str, scope: str, complaint: Complaint) -> None:
        """The provider asked for a pause, or refused a call: write it down for all, unless all know it."""
        pool, now, key = self._pools[quota], self._world.now(), f"{quota}@{scope}" if scope else quota
        factor, for_s = pool.factor(now), min(complaint.for_s, COOL_S_MAX)
        # Many calls are refused at once: they are one complaint.
        again_s = min(pool.spec.window_s, pool.spec.flight_s)
        lower = pool.spec.adaptive and complaint.refused and now - self._halved_at.get(quota, -math.inf) >= again_s
        known = now + for_s <= pool.cool.get(scope, -math.inf) + self._settings.heartbeat_s
        if lower:
            self._halved_at[quota] = now
            factor *= HALVED
        if lower or (for_s and not known):
            stamp = self._ledger.stamp()
            self._ledger.write(Cool(key, stamp, self._ledger.name, math.ceil(for_s * 1000), round(factor * THOUSAND)))

    def changed(self, key: str) -> None:
        """An entry of this key came: from us, a peer, or the journal."""
        quota, _, scope = key.partition("@")
        pool, state = self._pools.get(quota), self._ledger.state.quotas.get(key)
        if pool is None or state is None or state.cool is None or state.factor is None:
            return
        now, wall = self._world.now(), self._world.wall()
        # An end that another clock wrote is believed as far as it is no later than a pause that begins now.
        for_s = min(state.cool.for_ms / 1000, COOL_S_MAX)
        left_s = min(for_s, stamp_wall_s(state.cool.stamp) + for_s - wall)
        if left_s > 0:
            self._world.hands.post(lambda: pool.pause(scope, now + left_s))
        if pool.spec.adaptive and state.factor.factor < THOUSAND:
            factor, age_s = state.factor.factor / THOUSAND, max(0.0, wall - stamp_wall_s(state.factor.stamp))
            self._halved_at[quota] = max(self._halved_at.get(quota, -math.inf), now - age_s)
            self._world.hands.post(lambda: pool.slow(factor, now - age_s))
