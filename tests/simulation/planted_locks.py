"""Deliberate faults around the lock service, and the agent and the world that show them. For tests only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio

from actonce.agent import Agent
from actonce.context import Context
from actonce.fenced import Fenced
from actonce.lock_session import LockSession
from actonce.sim.cluster import Feed
from actonce.sim.locks import LockStore
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work
from actonce.sim.world import SimWorld
from actonce.task_locks import Hold, TaskLocks
from actonce_crdt import Json

from .planted import TRAVEL_S, ConnectingSink, Patch, only

SIDES_S = (2.0, 9.0)
"""Of a partition: far longer than suspicion and grace."""

MIX = only(
    (0.2, 1.5),
    Mix(partition_s=SIDES_S, locks_s=(0.5, 8.0), pause_s=(0.5, 5.0)),
    **{"Partition": 3, "LockCut": 3, "LockDown": 1, "LockSlow": 1, "Pause": 1, "Crash": 1, "Leave": 1},
)


def agent_maker(*, can_lookup: bool, timeout_s: float = 1.2 * TRAVEL_S[1]) -> Callable[[SimWorld, Feed], Agent]:
    """Two posts a task, with work before each, at a feed that deduplicates nothing."""

    def make_agent(world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.lock("etcd://simulated")
        sink = ConnectingSink(feed, world, can_lookup=can_lookup)
        sink.publish_timeout_s = timeout_s
        agent.sink("room", sink)
        feed.delay_s = TRAVEL_S

        @agent.task("pay", guard="fenced")
        async def pay(ctx: Context, payload: dict[str, Any]) -> Any:
            for _ in range(2):
                await anyio.sleep(world.rng.uniform(0.0, payload["work_s"]))
                await ctx.post("room", payload)
            return payload["n"]

        return agent

    return make_agent


def scenario(seconds: float, tasks: int, mix: Mix = MIX, work_s: float = 4.0, **rest: Any) -> Scenario:
    """Every third task works for up to `work_s` before each of its two posts, the others for up to 0.3 s."""

    def payload(number: int) -> Json:
        return {"n": number, "work_s": work_s if number % 3 == 0 else 0.3, "connect_s": 0.02}

    return Scenario(seconds=seconds, tasks=tasks, mix=mix, work=(Work("pay", payload),), **rest)


# Faults


def gate_ignores_expiry(patch: Patch) -> None:
    """Once granted, always granted."""
    patch.setattr(Fenced, "until", lambda self, run: math.inf)


def publish_time_not_kept(patch: Patch) -> None:
    """The gate is open to the last moment of the lease: what leaves then arrives after it, and when giving back too."""
    init = Fenced.__init__

    def hasty(self: Fenced, *args: Any, **rest: Any) -> None:
        init(self, *args, **rest)
        self._settle_s = 0.0

    patch.setattr(Fenced, "__init__", hasty)


def token_is_the_epoch(patch: Patch) -> None:
    """The fence is the epoch of the claim, which two sides of a partition count up apart from each other."""
    ours = TaskLocks._ours

    def with_epoch(self: TaskLocks, hold: Hold, *rest: Any) -> None:
        ours(self, hold, *rest)
        assert hold.permit is not None
        hold.permit.token = hold.epoch

    patch.setattr(TaskLocks, "_ours", with_epoch)


def session_ended_unwaited(patch: Patch) -> None:
    """Whoever wants a task ends the session of its holder at once."""
    patch.setattr(LockSession, "_has_run_out", lambda self, session, found, revision: True)


def nothing_is_doubtful(patch: Patch) -> None:
    """No intent always means: not posted."""
    patch.setattr(Fenced, "unknown_since", lambda self, run: None)


def readers_not_awaited(patch: Patch) -> None:
    """An effect leaves when those in play have read its intent, whomever the record calls readers."""
    patch.setattr(Fenced, "kept", lambda self, run, clock, others: True)
    patch.setattr(Fenced, "_readers", lambda self, readers, in_play: readers)


def done_is_forgotten(patch: Patch) -> None:
    """A finished task is free again."""
    give_back = TaskLocks.give_back
    patch.setattr(TaskLocks, "give_back", lambda self, hold, state, then: give_back(self, hold, "free", then))


def service_forgets(patch: Patch) -> None:
    """Storage in memory: a restart loses all registers."""

    class Forgetful(LockStore):
        @property
        def down(self) -> bool:
            return self._down

        @down.setter
        def down(self, down: bool) -> None:
            self._down = down
            if down:
                self.registers = {}

    patch.setattr("actonce.sim.cluster.LockStore", Forgetful)
