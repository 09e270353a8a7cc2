"""Agents whose handlers call a provider under a quota, and the scenarios that try to break it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import actonce.slots
import actonce.transfers
from actonce.agent import Agent
from actonce.context import Context
from actonce.escrow import Account
from actonce.ledger import Ledger
from actonce.limits import Resource
from actonce.pool import Basin, Pool
from actonce.quotas import Quotas
from actonce.settings import LAN
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.plan import Crash, Mix, Partition, Plan
from actonce.sim.run import MakeAgent, Outcome, Scenario, Work
from actonce.sim.world import SimWorld
from actonce.slots import CalmWall, Slot
from actonce_crdt import Json

Patch = pytest.MonkeyPatch

SETTINGS = replace(LAN, quota_clock_error=0.025, retry_wait_max_s=1.0)
"""The simulated clocks drift by up to 2 percent."""


def limited_agent(travel_s: tuple[float, float] = (0.001, 0.1), flight: float = 0.5, **quota: Any) -> MakeAgent:
    """Each task calls the provider with one request and the tokens that its payload says, estimated or used."""

    def make(world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        feed.provider.delay_s = travel_s
        agent.quota("llm", flight=flight, **quota)
        agent.sink("room", FeedSink(feed, world))

        @agent.task("reply")
        async def reply(ctx: Context, payload: dict[str, Any]) -> Any:
            units = {"tokens": payload["tokens"]} if "tokens" in quota else {}
            async with ctx.quota("llm", **units) as spend:
                used = {"tokens": payload["used"]} if units else {}
                await feed.provider.call(world, "llm", requests=1, **used)
                spend.used(**used)
            await ctx.post("room", payload)
            return payload["n"]

        return agent

    return make


def payload(number: int) -> Json:
    tokens = 1 + (number * 7) % 40
    return {"n": number, "tokens": tokens, "used": max(1, tokens - number % 3 * 5)}


def scenario(seconds: float = 20.0, tasks: int = 120, **rest: Any) -> Scenario:
    return Scenario(seconds=seconds, tasks=tasks, settings=SETTINGS, work=(Work("reply", payload),), **rest)


def about_limits(outcome: Outcome) -> list[str]:
    """What the checkers of limits say, and what was lost. (Sides of a long partition may each run a task.)"""
    words = ("llm/", "without an outcome", "acknowledged, and lost", "not the fold", "not everything was done")
    return [f"seed {outcome.seed}: {text}" for text in outcome.violations if any(word in text for word in words)]


TWO_LIMITS = limited_agent(limit=15, per=2.0, tokens=300)
ONE_LIMIT = limited_agent(limit=12, per=2.0)
BURSTS = limited_agent(limit=40, per=4.0, burst=10)
SECONDS = limited_agent(limit=5, per=0.5)
LEASED = limited_agent(limit=30, per=2.0, flight=2.0, reclaim=3.0)
"""Pauses between a turn and the call must be shorter than `flight`."""

BUDGET = limited_agent(limit=(60, "day"))
FAR = limited_agent((0.0, 0.45), limit=6, per=1.0)

EVERYTHING = Mix(partition_s=(0.05, 6.0), between_s=(0.2, 2.0))
LONG_CUTS = Mix(
    weights=(("Crash", 3), ("Pause", 1), ("Partition", 5), ("Leave", 1), ("Drift", 1), ("SlowDisk", 1)),
    partition_s=(1.0, 9.0),
    pause_s=(0.05, 1.8),
    down_s=(0.0, 9.0),
    between_s=(0.5, 3.0),
)
SKEWS = Mix(weights=(("Skew", 1),), between_s=(1.0, 4.0))
BUDGET_DAYS = Mix(
    weights=(("Crash", 2), ("Leave", 2), ("Pause", 1), ("Partition", 2)), partition_s=(0.05, 6.0), between_s=(1.0, 4.0)
)
CRASHES = Mix(weights=(("Crash", 1),), between_s=(0.3, 1.0), down_s=(0.0, 0.5))
FEW_CRASHES = Mix(weights=(("Crash", 1),), between_s=(1.5, 3.0), down_s=(0.0, 0.02))
SLOW_DISKS = Mix(weights=(("Crash", 3), ("SlowDisk", 2)), between_s=(0.1, 0.5), down_s=(0.0, 0.1))
CHURN = Mix(weights=(("Crash", 2), ("Leave", 3)), between_s=(0.5, 2.0), down_s=(0.0, 1.0))
PARTED: Plan = (Crash(2.0, "b", 1.0), Partition(4.0, ("a",), 8.0), Crash(6.0, "c", 2.0))


# Deliberate faults


def opened_before_disk(patch: Patch) -> None:
    """A block is spent from while its reservation is on its way to the disk."""
    patch.setattr(Quotas, "_reserve", _hasty_reserve)


def _hasty_reserve(self: Quotas, slot: Slot) -> None:
    if slot.need > 0 and slot.account.sealed > 0:
        self._reserved(slot, slot.account.reserve(slot.need), 0)


def given_twice(patch: Patch) -> None:
    """Rights that the pool may be using are given away as well."""
    patch.setattr(Account, "sealed", property(lambda self: self.held - self.opening))


def given_and_kept(patch: Patch) -> None:
    """A transfer is announced before it is on the disk: a giver that crashes still has what it gave."""
    flush = Ledger._flush

    def hasty(self: Ledger) -> None:
        before = self.document.state_vector()
        flush(self)
        self._on_durable(self.document.diff(before))

    patch.setattr(Ledger, "_flush", hasty)
    patch.setattr(Cluster, "_inspect", lambda self, process, frame: None)


def minted_on_join(patch: Patch) -> None:
    """A replica that finds no rights for a resource makes them, whoever it is."""
    recover = Quotas.recover

    def generous(self: Quotas) -> None:
        recover(self)
        for slot in self.slots.values():
            if not slot.account.state().founded:
                slot.account.found()

    patch.setattr(Quotas, "recover", generous)


def used_too_early_after_a_crash(patch: Patch) -> None:
    """The block that was open at a crash is spent from at once."""
    recover = Account.recover

    def hasty(self: Account, now: float, period: int, earlier: int) -> None:
        recover(self, now, period, earlier)
        self.cold_until = now

    patch.setattr(Account, "recover", hasty)


def flight_forgotten(patch: Patch) -> None:
    """After a crash a window is waited for, but not for requests that were still on their way."""
    patch.setattr(Account, "again_at", lambda self, now: now + self.resource.window_s * (1 + self.clock_error))


def window_from_the_start(patch: Patch) -> None:
    """A window is counted from the beginning of a use, not from its response."""
    spend = Basin.spend

    def early(self: Basin, reserved: int, used: int, again_at: float) -> None:
        spend(self, reserved, used, again_at - 0.1)

    patch.setattr(Basin, "spend", early)


def window_one_tick_short(patch: Patch) -> None:
    """Off by one at the boundary of the window."""
    spend = Basin.spend

    def early(self: Basin, reserved: int, used: int, again_at: float) -> None:
        spend(self, reserved, used, again_at - self.clock_error * self.resource.window_s - LAN.tick_s)

    patch.setattr(Basin, "spend", early)


def late_taken_for_fresh(patch: Patch) -> None:
    """Rights that were in use at a leaving replica are used at once by their receiver."""
    patch.setattr(Account, "give_late", lambda self, to, count: self._gift(to, count, late=0))


def estimate_given_back(patch: Patch) -> None:
    """What was used is given back as if it had not been."""
    finish = Pool.finish

    def generous(self: Pool, amounts: tuple[int, ...], used: tuple[int, ...], *, answered: bool) -> None:
        finish(self, amounts, tuple(count // 2 for count in used), answered=answered)

    patch.setattr(Pool, "finish", generous)


def jumps_believed(patch: Patch) -> None:
    """A calendar budget follows a wall clock that jumps."""
    patch.setattr(CalmWall, "read", lambda self: self._wall())


def short_days(patch: Patch, day_s: float = 20.0, skew_s: float = 3.0) -> None:
    """No fault: calendar days of some seconds, so that a simulation sees some."""
    patch.setattr(Resource, "period", lambda self, wall_s: int(wall_s // day_s) if self.calendar else 0)
    patch.setattr(Resource, "period_ends", lambda self, wall_s: (wall_s // day_s + 1) * day_s)
    patch.setattr(actonce.transfers, "CALENDAR_SKEW_S", skew_s)
    patch.setattr(actonce.slots, "WALL_JUMP_S", skew_s)
