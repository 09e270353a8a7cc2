"""What a replica can tell about followers and, if it is one, about itself. Reads the engine, changes nothing."""

from __future__ import annotations

from typing import Any

from actonce.engine import Engine
from actonce_crdt import TaskState

Facts = dict[str, Any]

MESH_MAX = 12
"""Members that a mesh is meant for. Each hears from each, and nobody acts without a fresh word of all."""


def degraded(engine: Engine) -> list[str]:
    """Reasons why this replica does less than it should, as far as followers and large meshes are concerned."""
    if engine.follow:
        return list(_out_of_touch(engine))
    count = len(engine.membership.view.members)
    if count > MESH_MAX:
        return [
            f"{count} members, more than the {MESH_MAX} that a mesh is meant for: all wait for each of them, and each "
            "hears from each; let those that need not act run with --follow"
        ]
    return []


def _out_of_touch(engine: Engine) -> list[str]:
    if engine.spread.in_touch:
        return []
    age_s = engine.spread.views.age_s(engine.world.now())
    if age_s == float("inf"):
        return ["has not heard of any member yet: what it shows is what its journal holds"]
    return [f"has not heard of any member for {age_s:.0f} s: what it shows may be older than that"]


def waits(state: TaskState) -> str | None:
    """As `obstacles.waits`, of a replica that does not know who is live."""
    return "this replica only follows: ask a member what it waits for" if state.done is None else None


def facts(engine: Engine) -> Facts:
    """The links with a follower on at least one side. Ages in seconds."""
    views, now = engine.spread.views, engine.world.now()
    age_s = views.age_s(now)
    return {
        "follows": engine.follow,
        "neighbours": sorted(views.active),
        "known": len(views.known.passive),
        "hops": views.hops(now) if engine.follow else None,
        "word_age_s": round(age_s, 3) if engine.follow and age_s != float("inf") else None,
        "eager": sorted(engine.spread.tree.eager),
        "traffic": dict(sorted(engine.spread.counts.items())),
    }


def neighbours(engine: Engine) -> list[Facts]:
    """As replicas of `reporting.status`."""
    rows: list[Facts] = []
    for name, neighbour in sorted(engine.spread.views.active.items()):
        line = engine.spread.lines.get(name)
        rows.append(
            {
                "name": name,
                "incarnation": line.about.incarnation if line is not None else 0,
                "state": "member" if neighbour.contact.member else "follower",
                "linked": line is not None,
                "contact_age_s": round(engine.world.now() - neighbour.heard, 3),
                "view": None,
                "address": neighbour.contact.address,
            }
        )
    return rows
