"""What a replica can tell about its quotas, as JSON-like dictionaries and sentences. It changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from actonce.engine import Engine
from actonce.limits import ALARMS
from actonce.slots import Slot

Facts = dict[str, Any]


def quotas(engine: Engine) -> Facts:
    """Rights, use, waiting, transfers and cool-downs. Durations in seconds."""
    found, now = engine.quotas, engine.world.now()
    pools = {
        name: {
            "waiting": pool.waiting,
            "lease_s": round(pool.until - now, 1) if math.isfinite(pool.until) else None,
            "adaptive_factor": round(pool.factor(now), 3),
            "cooling_s": {scope or "all": round(at - now, 1) for scope, at in sorted(pool.cool.items()) if at > now},
        }
        for name, pool in sorted(found.pools.items())
    }
    return {
        "replica": engine.me.name,
        "founders": [holder.partition("/")[0] for holder in found.founders],
        "quotas": pools,
        "limits": [_limit(engine, slot) for _, slot in sorted(found.slots.items())],
        "warnings": list(warnings(engine)),
    }


def _limit(engine: Engine, slot: Slot) -> Facts:
    account, basin, resource = slot.account, slot.basin, slot.account.resource
    state, present = account.state(), engine.quotas.needs.present()
    needs = {name: engine.quotas.needs.of(name, resource.key) for name in sorted(present.values())}
    needs[engine.me.name] = (slot.demand, basin.queued)
    return {
        "limit": resource.key,
        "units": resource.limit,
        "per": resource.calendar or f"{resource.window_s:g}s",
        "held": account.held,
        "free": max(0, account.sealed) + max(0, basin.free),
        "in_use": basin.in_use + basin.busy_total + account.cold,
        "waiting": basin.queued,
        "transfers": account.transfers,
        "rights_given": account.given,
        "overshoot": basin.overshoot,
        "spent": slot.spent if resource.calendar else None,
        "holders": {name: state.held(holder) for holder, name in sorted(present.items())},
        "needs": {name: need[0] for name, need in needs.items()},
        "gone": {holder.partition("/")[0]: count for holder, count in engine.quotas.gone(slot).items()},
    }


def warnings(engine: Engine) -> Iterator[str]:
    """Why a quota gives less than it could, each a sentence."""
    found = engine.quotas
    for name, pool in sorted(found.pools.items()):
        if pool.until <= engine.world.now():
            why = "out of touch with a majority of the roster, which may take its rights"
            yield f"quota {name}: not used here, {why}"
    if len(found.founders) > 1:
        yield f"{len(found.founders)} meshes were made with --new and joined: every limit exists that often"
    for key, slot in sorted(found.slots.items()):
        state, resource = slot.account.state(), slot.account.resource
        if not state.founded:
            who = ", ".join(holder.partition("/")[0] for holder in found.founders)
            makes = f"{who} makes them" if who else "make them once, on one replica, with `actonce quota --found`"
            yield f"{key}: no rights exist yet; {makes}"
        elif state.founded - state.destroyed != resource.limit and len(found.founders) == 1:
            made = state.founded - state.destroyed
            yield f"{key}: {made} rights exist for a limit of {resource.limit}: the founder changes that when it can"
        for holder, count in found.gone(slot).items():
            name = holder.partition("/")[0]
            lease_s = found.lease_s(slot.pool.spec.name)
            taken = (
                f": a majority of the roster takes them {lease_s:g} s after it last heard of {name}" if lease_s else ""
            )
            ends = taken or f": they come back with {name}, on its data folder"
            yield f"{count} of {resource.limit} rights of {key} are held by {name}, which is gone{ends}"
        reached, wall = slot.reached, found.calm_wall.read()
        if reached:
            ends = datetime.fromtimestamp(resource.period_ends(wall), UTC).strftime("%Y-%m-%d %H:%M")
            then = f"; calls that need more wait until {ends} UTC" if reached >= ALARMS[-1] else ""
            yield slot.alarm_text(reached) + then
        if slot.basin.overshoot:
            yield f"{key}: {slot.basin.overshoot} more were used here than estimated"
    if found.calm_wall.jumped_s:
        yield f"the wall clock is off by {found.calm_wall.jumped_s:.0f} s: calendar budgets go on by the old one"


def waits(engine: Engine, task: str) -> list[tuple[float, str]]:
    """(unix time, sentence) of each call of this task that had to wait for a quota, or waits, as far as it ran here."""
    now = engine.world.wall()
    waiting = [
        (wait.wall, f"{task} has waited {now - wait.wall:.2f} s for quota {wait.quota}: {why()}")
        for wait, why in engine.quotas.waiting.values()
        if wait.task == task
    ]
    return waiting + [
        (wait.wall, f"{task} waited {wait.seconds:.2f} s for quota {wait.quota}: {wait.why}")
        for wait in engine.quotas.waits
        if wait.task == task
    ]
