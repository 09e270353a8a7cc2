"""What must hold of the work itself: steps, cancellations. Checkers as in `checkers.py`; the tables of all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from actonce.sim import checkers
from actonce.sim.checkers import Checker, long_apart
from actonce.sim.cluster import Cluster
from actonce.sim.history import Event, Runner


def steps_once(cluster: Cluster) -> Iterator[str]:
    """No function of a step begins after that step was finished, anywhere: but for the sides of a long partition."""
    finished: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in cluster.history.of("step finished"):
        finished[_step(event)].append(event)
    over = _started_over(cluster)
    for event in cluster.history.of("step begun"):
        for earlier in finished.get(_step(event), []):
            before = earlier.at < event.at and str(event.facts[1]) not in over
            if before and not long_apart(cluster, _runner(earlier), _runner(event), event.at, pauses=False):
                task, label = _step(event)
                yield (
                    f"{task}: step {label!r} began on {event.facts[0]} at {event.at:.3f}, "
                    f"finished on {earlier.facts[0]} at {earlier.at:.3f}"
                )
                break


def steps_ran(cluster: Cluster) -> Iterator[str]:
    """What the document calls a step's result is what its function returned, on the replica that says so."""
    ran = {(str(event.facts[0]), *_step(event)) for event in cluster.history.of("step ran")}
    for engine in cluster.live()[:1]:
        for step in engine.ledger.state.steps.values():
            if step.name and (step.author, step.task, step.name) not in ran:
                yield f"{step.task}: step {step.name!r} is remembered by {step.author}, where it never ran"


def cancelled_quiet(cluster: Cluster) -> Iterator[str]:
    """No effect of a task passes the gate of a process that has read that the task was called off."""
    tasks = checkers.effect_tasks(cluster)
    read: dict[tuple[int, str], float] = {}
    for event in cluster.history.of("cancel read"):
        read.setdefault((event.pid, str(event.facts[1])), event.at)
    known = [item for engine in cluster.live() for item in engine.ledger.state.tasks.items()]
    reopened = {task for task, state in known if state.reopen is not None}
    for event in cluster.history.of("publish"):
        task = tasks.get(str(event.facts[1]), "")
        since = read.get((event.pid, task))
        if since is not None and event.at > since and task not in reopened:
            name = event.facts[0]
            yield (
                f"{event.facts[1]}: left {name} at {event.at:.3f}, after {name} had read that it was cancelled "
                f"at {since:.3f}"
            )


def _step(event: Event) -> tuple[str, str]:
    return str(event.facts[1]), str(event.facts[3])


def _runner(event: Event) -> Runner:
    return str(event.facts[0]), event.pid


def _started_over(cluster: Cluster) -> set[str]:
    """Tasks whose steps were all voided, by the rule of their kind."""
    return {step.task for engine in cluster.live() for step in engine.ledger.state.steps.values() if not step.name}


SAFETY: tuple[Checker, ...] = (*checkers.SAFETY, steps_once, steps_ran, cancelled_quiet)
LIVENESS: tuple[Checker, ...] = checkers.LIVENESS
