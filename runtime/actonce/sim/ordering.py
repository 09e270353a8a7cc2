"""Orders in a simulation: given at any replica, and what must hold of effects once they are read and acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from actonce.control import Ordered
from actonce.sim.checkers import Checker, long_apart
from actonce.sim.cluster import Cluster
from actonce.sim.history import Event
from actonce.standing import Target

RESUME_EVERY_S = 0.5


def target_of(key: str) -> Target:
    """`agent`, `kind:reply` or `replica:a`."""
    sort, _, name = key.partition(":")
    return Target(kind=name if sort == "kind" else None, replica=name if sort == "replica" else None)


def give(cluster: Cluster, name: str, mode: str, key: str = "agent") -> None:
    """Order it at this replica, if it runs. A paused one takes the order when it goes on."""
    node = cluster.nodes[name]
    if node.world is None or node.engine is None:
        return
    world, engine = node.world, node.engine

    def acknowledged(ordered: Ordered) -> None:
        cluster.history.sometimes[f"{mode} acknowledged"] += 1
        in_force = ordered.switch in engine.standing.all
        if mode == "halt" and in_force:
            cluster.history.add("halt acknowledged", world.process.pid, name, key, ordered.switch.number)

    def ask() -> None:
        cluster.history.add("ordered", world.process.pid, name, key, mode)
        engine.control.order(target_of(key), mode, "", acknowledged)

    world.guard(ask)


async def resume_all(cluster: Cluster) -> None:
    """Undo every order, again and again, until no replica knows of any: a resume undoes only what its author knew."""
    while True:
        await asyncio.sleep(RESUME_EVERY_S)
        known = {(engine.me.name, switch.key) for engine in cluster.live() for switch in engine.standing.all}
        for name, key in sorted(known):
            give(cluster, name, "run", key)


def halted_quiet(cluster: Cluster) -> Iterator[str]:
    """Nothing passes the gate of a process that has read an emergency stop."""
    read: dict[tuple[int, str], float] = {}
    for event in cluster.history.events:
        if event.what == "halt read":
            read[event.pid, str(event.facts[1])] = event.at
        elif event.what == "halt over":
            del read[event.pid, str(event.facts[1])]
        elif event.what == "publish":
            for key in _keys(event):
                if (event.pid, key) in read:
                    name, effect = event.facts[:2]
                    since = read[event.pid, key]
                    yield f"{effect}: left {name} at {event.at:.3f}, after it had read to stop {key} at {since:.3f}"


def acknowledged_quiet(cluster: Cluster) -> Iterator[str]:
    """Nothing passes any gate after an emergency stop was acknowledged, until somebody orders to go on.

    But for a process that was long cut off from where the order was given. It was not in play.
    """
    asked: dict[str, float] = {}
    acknowledged: dict[str, Event] = {}
    resumed: dict[str, float] = {}
    for event in cluster.history.events:
        key = str(event.facts[1]) if len(event.facts) > 1 else ""
        if event.what == "ordered":
            if event.facts[2] == "halt" and key not in acknowledged:
                asked[key] = event.at
            elif event.facts[2] != "halt":
                acknowledged.pop(key, None)
                resumed[key] = event.at
        elif event.what == "halt acknowledged" and resumed.get(key, -1.0) < asked.get(key, 0.0):
            acknowledged.setdefault(key, event)
        elif event.what == "publish":
            for one in _keys(event):
                halt = acknowledged.get(one)
                if halt is None:
                    continue
                runner, other = (str(event.facts[0]), event.pid), (str(halt.facts[0]), halt.pid)
                if not long_apart(cluster, runner, other, event.at, pauses=False):
                    yield (
                        f"{event.facts[1]}: left {event.facts[0]} at {event.at:.3f}, after {halt.facts[0]} was told at "
                        f"{halt.at:.3f} that all had stopped {one}"
                    )


def _keys(publish: Event) -> tuple[str, str, str]:
    """The targets that this effect belongs to."""
    kind = str(publish.facts[1]).partition("/")[0]
    return "agent", f"kind:{kind}", f"replica:{publish.facts[0]}"


SAFETY: tuple[Checker, ...] = (halted_quiet, acknowledged_quiet)
