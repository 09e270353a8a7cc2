"""Orders as `status`, `explain` and the control commands show them, and as HTTP clients give them."""

from __future__ import annotations

import json
from typing import Any

from actonce.control import Ordered
from actonce.engine import Engine
from actonce.errors import PayloadInvalid
from actonce.standing import Target, describe
from actonce_crdt import Switch, TaskState, stamp_wall_s

CONFIRM_S = 10.0
"""How long an emergency stop is waited for, unless the caller says otherwise."""
CONFIRM_S_MAX = 60.0


def orders(engine: Engine) -> list[dict[str, Any]]:
    """All orders in force, as this replica has read them."""
    return [_facts(engine, switch) for switch in engine.standing.all]


def _facts(engine: Engine, switch: Switch) -> dict[str, Any]:
    progress = engine.control.progress(switch, target_of(switch.key))
    return {
        "target": switch.key,
        "mode": switch.mode,
        "since_unix_s": round(stamp_wall_s(switch.stamp), 3),
        "at": switch.author,
        "reason": switch.reason,
        "sentence": describe(switch),
        "confirmed": list(progress.confirmed),
        "missing": dict(progress.missing),
        "beyond": list(progress.beyond),
    }


def target_of(key: str) -> Target:
    """The target with this key of the document."""
    sort, _, name = key.partition(":")
    return Target(kind=name if sort == "kind" else None, replica=name if sort == "replica" else None)


def degraded(engine: Engine) -> list[str]:
    """Every order in force, as a sentence; of an emergency stop, who has not confirmed it."""
    found = []
    for switch in engine.standing.all:
        progress = engine.control.progress(switch, target_of(switch.key))
        missing = "; ".join(f"{name} {why}" for name, why in progress.missing)
        found.append(describe(switch) + (f", not confirmed: {missing}" if missing else ""))
    return found


def held(engine: Engine, state: TaskState, owner: str | None) -> str | None:
    """Why an open task does not begin, if that was ordered."""
    if state.task is None or state.done is not None:
        return None
    why = engine.standing.why(state.task.kind, owner or engine.me.name)
    return f"does not begin: {why}" if why else None


def answer(engine: Engine, ordered: Ordered) -> dict[str, Any]:
    """What became of an order."""
    target = target_of(ordered.switch.key)
    standing = [switch for switch in engine.standing.all if switch.key != target.key]
    return {
        "target": target.key,
        "mode": ordered.switch.mode,
        "confirmed": list(ordered.confirmed),
        "missing": dict(ordered.missing),
        "beyond": list(ordered.beyond),
        "open": engine.control.open_tasks(target),
        "also": [describe(switch) for switch in standing],
    }


def unconfirmed(ordered: Ordered, limit_s: float) -> str:
    """One sentence for whoever ordered an emergency stop and waited in vain."""
    names = ", ".join(f"{name} ({why})" for name, why in ordered.missing) or "any live peer"
    return (
        f"ordered, and obeyed by whoever reads it; not confirmed within {limit_s:g} s by {names}: each shuts its gate "
        "when it reads the order, before any further effect; see `actonce status`"
    )


def parse(body: bytes) -> tuple[Target, str, str, float]:
    """Target, mode, reason and time limit of a request.

    Raises:
        PayloadInvalid: it is none; the message says what one looks like.
    """
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PayloadInvalid(f"the body is not JSON: {error}") from None
    match wanted:
        case {"mode": str(mode)} if set(wanted) <= {"mode", "kind", "replica", "reason", "timeout_s"}:
            kind, replica, reason = wanted.get("kind"), wanted.get("replica"), wanted.get("reason", "")
            limit_s = wanted.get("timeout_s", CONFIRM_S)
            texts = isinstance(kind, str | None) and isinstance(replica, str | None) and isinstance(reason, str)
            if texts and isinstance(limit_s, int | float) and 0 <= limit_s <= CONFIRM_S_MAX:
                return Target(kind, replica), mode, reason, float(limit_s)
    raise PayloadInvalid(
        'the body is {"mode": run, drain, pause, stop or halt, "kind": text or absent, "replica": text or absent, '
        f'"reason": text or absent, "timeout_s": 0 to {CONFIRM_S_MAX:g} or absent}}'
    )
