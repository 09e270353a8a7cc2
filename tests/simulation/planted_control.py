"""Deliberate faults around orders, and the agent that shows them. For tests only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio

from actonce.agent import Agent
from actonce.context import Context
from actonce.control import Control
from actonce.executor import Executor
from actonce.running import Gate, Run
from actonce.settings import LAN
from actonce.sim.cluster import Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work
from actonce.sim.world import SimWorld
from actonce.standing import Standing
from actonce_crdt import ControlState, Json, Shut, Switch

from .planted import Patch, only

POSTS = 4
SETTINGS = replace(LAN, drain_s=0.5)


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    """`talks` posts again and again, and never stops by itself when it is cancelled between two posts."""
    agent = Agent("kevin")
    agent.sink("room", FeedSink(feed, world))

    @agent.task("talks")
    async def talks(ctx: Context, payload: dict[str, Any]) -> Json:
        for post in range(POSTS):
            await anyio.sleep(world.rng.uniform(0.0, payload["work_s"]))
            await world.alive()
            await ctx.post("room", {"post": post})
        return "told"

    @agent.task("pays", guard="majority")
    async def pays(ctx: Context, payload: dict[str, Any]) -> Json:
        await anyio.sleep(payload["work_s"])
        await world.alive()
        await ctx.post("room", "paid")
        return "paid"

    return agent


def payload(number: int) -> Json:
    return {"n": number, "work_s": 1.0 if number % 3 else 0.05}


MIX = only(
    (0.1, 1.0),
    Mix(pause_s=(0.05, 5.0), partition_s=(0.05, 4.0), down_s=(0.0, 2.0)),
    **{"Order": 6, "Crash": 2, "Pause": 2, "Suspend": 1, "Partition": 2, "CutLink": 1, "SlowDisk": 1},
)
WORK = (Work("talks", payload),)
"""Nobody leaves here: what is still running after so short a `drain_s` is taken over while it ends."""
ORDERS = Scenario(replicas=(2, 5), seconds=6.0, tasks=30, mix=MIX, settings=SETTINGS, work=WORK)


def gate_left_open(patch: Patch) -> None:
    """Handlers are cancelled a moment after the order, and until then the gate lets their effects out."""
    patch.setattr(Gate, "halted", property(lambda self: False, lambda self, value: None), raising=False)
    interrupt = Executor.interrupt

    def later(self: Executor, run: Run) -> None:
        if run in self._interrupted:
            return
        self._interrupted.add(run)

        def now() -> None:
            if run in self._interrupted and self.running.get(run.task) is run:
                interrupt(self, run)

        self._world.call_later(0.3, now)

    patch.setattr(Executor, "interrupt", later)


def confirmed_before_obeyed(patch: Patch) -> None:
    """A replica confirms an order when it reads it, and shuts its gate a little later."""
    changed = Control.changed

    def hasty(self: Control) -> None:
        self.standing.refresh(self._ledger.state.controls)
        for switch in self.standing.all:
            state = self._ledger.state.controls[switch.key]
            if switch.mode == "halt" and not state.is_shut(self._me, switch):
                self._ledger.write(Shut(switch.key, self._ledger.stamp(), self._me, state.known))
        self._world.call_later(0.2, lambda: obey(self))

    def obey(self: Control) -> None:
        self.standing.refresh({})
        changed(self)
        self._cut()

    patch.setattr(Control, "changed", hasty)
    patch.setattr(Control, "pump", lambda self: self._answer())


def acknowledged_by_oneself(patch: Patch) -> None:
    """Whoever takes the order acknowledges it when its own gate is shut."""
    patch.setattr(Control, "_concerned", lambda self, target: {self._me})


def orders_of_before_ignored(patch: Patch) -> None:
    """A replica obeys what it hears, not what it finds in its journal or is told of when it comes back."""
    changed, refresh = Control.changed, Standing.refresh
    heard: dict[Standing, set[Switch]] = {}

    def hear(self: Control) -> None:
        fresh = heard.setdefault(self.standing, set())
        since_ms = (self._world.wall() - 0.5) * 1000
        for state in self._ledger.state.controls.values():
            fresh.update(switch for switch in state.switches if switch.stamp >> 16 > since_ms)
        changed(self)

    def only_heard(self: Standing, controls: Mapping[str, ControlState]) -> bool:
        fresh = heard[self]
        left = {key: tuple(one for one in state.switches if one in fresh) for key, state in controls.items()}
        return refresh(self, {key: ControlState(switches) for key, switches in left.items()})

    patch.setattr(Control, "changed", hear)
    patch.setattr(Standing, "refresh", only_heard)


def last_writer_wins(patch: Patch) -> None:
    """The order with the highest number counts, whatever its author knew."""

    def latest(self: ControlState) -> tuple[Switch, ...]:
        last = max(self.switches, key=lambda one: (one.number, one.stamp, one.author), default=None)
        return () if last is None or last.mode == "run" else (last,)

    patch.setattr(ControlState, "in_force", property(latest))


def effects_under_way_forgotten(patch: Patch) -> None:
    """What has passed the gate is not waited for."""
    patch.setattr(Gate, "passing", lambda self: [])
