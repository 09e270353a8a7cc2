"""What must hold of forgetting. Checkers as in `checkers.py`, for scenarios in which outcomes are soon forgotten."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actonce.sim.checkers import Checker, long_apart, runs
from actonce.sim.cluster import Cluster
from actonce_crdt import State, is_settled


def never_again(cluster: Cluster) -> Iterator[str]:
    """No handler begins after the outcome of its task was known, but on the other side of a long partition; or only to
    a process that was killed in the next moment, before anybody need have heard of it.

    For scenarios in which nobody submits a key again later than its retention after its outcome.
    """
    killed = {event.pid: event.at for event in cluster.history.of("killed")}
    for task, begins in runs(cluster).items():
        known = cluster.history.outcomes.get(task)
        if known is None or killed.get(known[2], math.inf) <= known[0] + cluster.slack_s + UNHEARD_S:
            continue
        at, name, pid = known
        for event, _ in begins:
            other = (str(event.facts[0]), event.pid)
            if event.at > at and not long_apart(cluster, (name, pid), other, event.at, pauses=True):
                yield f"{task}: began on {other[0]} at {event.at:.3f}, its outcome was known on {name} at {at:.3f}"


def nothing_late(cluster: Cluster) -> Iterator[str]:
    """For scenarios in which nobody is away for longer than `forget_after_s`."""
    for engine in cluster.live():
        for task in engine.ledger.state.late:
            yield f"{task}: late on {engine.me.name}, though nobody was away for long"


def all_forgotten(cluster: Cluster) -> Iterator[str]:
    """After a while without work only what lives for ever, or waits for a person, is left."""
    for engine in cluster.live():
        state, document = engine.ledger.state, engine.ledger.document
        waiting = {key for key in state.tasks if key in state.late or not _is_settled(state, key)}
        left = [task for task in state.tasks if task not in waiting]
        if left:
            yield f"{engine.me.name} still remembers {len(left)} tasks, such as {left[0]}"
        entries = document.entry_count - len(waiting) * len(document.logs()) * 8
        if entries > ENTRIES_LEFT_MAX * len(document.logs()):
            yield f"{engine.me.name} still holds {document.entry_count} entries: " + ", ".join(
                f"{log} {document.count(log)}" for log in document.logs()
            )


def _is_settled(state: State, task: str) -> bool:
    return all(is_settled(state.effects[key]) for key in state.effects_of(task))


UNHEARD_S = 0.2
"""From an outcome to the moment when another replica has read it, without what slow links add: a disk and a link."""
ENTRIES_LEFT_MAX = 32
"""Entries a log: the roster, which lives for ever; floors, marks of the shortening, what is on its way."""

SAFETY: tuple[Checker, ...] = (never_again,)
LIVENESS: tuple[Checker, ...] = (all_forgotten,)
