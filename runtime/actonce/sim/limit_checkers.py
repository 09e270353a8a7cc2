"""What must hold of limits: at the provider, after the run; and of rights, at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from actonce import transfers
from actonce.limits import BURST, Resource
from actonce.sim.cluster import Cluster
from actonce.sim.provider import Uses, over_bucket, over_periods, over_window
from actonce.sim.world import EPOCH_S

STEP_S = 0.02
"""Rights are counted so often, and at each arrival at the provider."""


def limits_kept(cluster: Cluster) -> Iterator[str]:
    """The provider never saw more than the limit, by a sliding window and by a token bucket."""
    for resource in resources(cluster):
        quota = resource.key.partition("/")[0]
        unit = resource.unit.removesuffix(BURST)
        calls = sorted(cluster.feed.provider.calls, key=lambda call: call.at)
        uses: Uses = [(call.at, call.units.get(unit, 0)) for call in calls if call.quota == quota]
        for text in over(resource, uses, partial(clock_error_s, cluster)):
            yield f"{resource.key}: {text}"
            break


def clock_error_s(cluster: Cluster, at: float) -> float:
    """By how much a replica may be wrong then about the turn of a day: its wall clock was set a little off, or so much
    that it goes on by the clock that counts suspend, which drifts."""
    return max(
        abs(node.wall_offset_s)
        if abs(node.wall_offset_s) <= transfers.CALENDAR_SKEW_S
        else abs(node.rate - 1.0) * at
        for node in cluster.nodes.values()
    )


def over(resource: Resource, uses: Uses, error_s: Callable[[float], float] = lambda at: 0.0) -> Iterator[str]:
    """Violations of one limit. `error_s`: how wrong clocks may be at a time."""
    if resource.calendar:
        yield from over_periods(uses, resource.limit, lambda at: resource.period(EPOCH_S + at), error_s)
    else:
        yield from over_window(uses, resource.limit, resource.window_s)
        yield from over_bucket(uses, resource.limit, resource.limit / resource.window_s)


def resources(cluster: Cluster) -> list[Resource]:
    """Of the agent that the live replicas run."""
    found = {r.key: r for engine in cluster.live() for spec in engine.agent.quotas.values() for r in spec.resources}
    return [found[key] for key in sorted(found)]


def rights_return(cluster: Cluster) -> Iterator[str]:
    """Once all agree, every right that was founded is held by somebody."""
    for engine in cluster.live()[:1]:
        for key, slot in engine.quotas.slots.items():
            state = slot.account.state()
            held = {holder: state.held(holder) for holder in state.holders}
            if sum(held.values()) != state.founded - state.destroyed or min(held.values(), default=0) < 0:
                yield f"{key}: {held} do not add up to {state.founded} less {state.destroyed}"
            if state.founded - state.destroyed != slot.account.resource.limit:
                yield f"{key}: {state.founded} rights were founded, {state.destroyed} destroyed"


def conserved(cluster: Cluster) -> Iterator[str]:
    """At this moment: by what each holder itself believes, there are no more rights than the limit; and each one is
    in one place."""
    believed: dict[str, dict[str, int]] = {}
    limits: dict[str, int] = {}
    for node in cluster.nodes.values():
        if node.engine is None or node.world is None:
            continue
        for key, slot in node.engine.quotas.slots.items():
            account, basin = slot.account, slot.basin
            limits[key] = account.resource.limit
            if account.leased and (node.world.dead or slot.pool.until <= node.world.now()):
                continue  # its lease has ended: it uses nothing, and a majority may have taken what it believes to hold
            believed.setdefault(key, {})[account.holder] = account.held
            opened = account.pooled + account.opening + account.cold
            if node.world.dead or node.engine.quotas.left or node.engine.gate.shut:
                continue
            if not (basin.total <= account.pooled and opened <= account.open <= account.held):
                yield (
                    f"{node.name}, {key}: holds {account.held}, open {account.open}: pooled {account.pooled} (really "
                    f"{basin.total}), opening {account.opening}, cold {account.cold}"
                )
    for key, rights in sorted(believed.items()):
        if sum(rights.values()) > limits[key]:
            yield f"{key}: {rights} are more than {limits[key]}"


class Watch:
    """Counts rights while a simulation runs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        cluster.feed.provider.on_call = self.look

    def look(self) -> None:
        """Now."""
        if len(self._cluster.failures) < 5:
            at = self._cluster.loop.time()
            self._cluster.failures += [f"at {at:.3f} s {text}" for text in conserved(self._cluster)]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(STEP_S)
            self.look()
