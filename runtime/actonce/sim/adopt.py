"""The user's own agent in the simulated world: the same handlers, with sinks that record instead of act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actonce.agent import Agent
from actonce.errors import ConfigError
from actonce.sim.cluster import Feed, FeedSink
from actonce.sim.run import Work
from actonce.sim.world import SimWorld
from actonce_crdt import Json


@dataclass(frozen=True, slots=True)
class Adopted:
    """Makes the agent of one simulated process out of the user's."""

    agent: Agent

    def __call__(self, world: SimWorld, feed: Feed) -> Agent:
        """The user's tasks; each sink answers look-ups if the user's does, and dedupes as it does. No sources."""
        agent = Agent(
            self.agent.name,
            {kind: spec for kind, spec in self.agent.tasks.items() if spec.poll is None},
            schedules=dict(self.agent.schedules),
            quotas=dict(self.agent.quotas),
            merges=dict(self.agent.merges),
            locks=self.agent.locks,
        )
        for name, sink in self.agent.sinks.items():
            agent.sinks[name] = FeedSink(feed, world, can_lookup=sink.can_lookup, dedupe_window_s=sink.dedupe_window_s)
        return agent


def work_of(agent: Agent, payloads: dict[str, Json]) -> tuple[Work, ...]:
    """What to submit: each kind that has an example, or a payload given by hand.

    Raises:
        ConfigError: nothing to submit, or an unknown kind.
    """
    unknown = sorted(set(payloads) - set(agent.tasks))
    if unknown:
        raise ConfigError(f"agent {agent.name!r} has no handler for {unknown[0]!r}; it has: {', '.join(agent.tasks)}")
    found = {kind: spec.example for kind, spec in agent.tasks.items() if spec.example is not None} | payloads
    if not found and not agent.schedules:
        raise ConfigError(
            f"agent {agent.name!r} has no task with an example: declare @agent.task(..., example=...), "
            "or give a payload with --payload KIND=JSON"
        )
    return tuple(Work(kind, _Always(payload)) for kind, payload in sorted(found.items()))


def left_out(agent: Agent, payloads: dict[str, Json]) -> list[str]:
    """Kinds of which a simulation submits no task: they run only if another handler spawns them."""
    own = {schedule.kind for schedule in agent.schedules.values()}
    return sorted(
        kind
        for kind, spec in agent.tasks.items()
        if spec.example is None and kind not in payloads and kind not in own and not (spec.poll or spec.merge)
    )


class _Always:
    """The same payload for every task."""

    def __init__(self, payload: Any) -> None:
        self._payload = payload

    def __call__(self, number: int) -> Any:
        return self._payload
