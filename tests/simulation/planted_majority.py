"""An agent whose tasks need a majority, and deliberate faults of that guard, each of which takes one rule out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from actonce import roster
from actonce.agent import Agent
from actonce.claims import Claims
from actonce.context import Context
from actonce.electorate import Electorate
from actonce.ledger import Ledger
from actonce.majority import Majority
from actonce.membership import Membership
from actonce.outbox import Outbox
from actonce.ownership import Member
from actonce.roster import Version
from actonce.sim.cluster import Cluster, Feed
from actonce.sim.run import Scenario, Work
from actonce.sim.world import SimWorld
from actonce.voting import Voting
from actonce_crdt import Grant, Json, TaskState, decode

from . import planted_disks
from .planted import ConnectingSink

Patch = pytest.MonkeyPatch

TRAVEL_S = (0.001, 0.08)
CLAIMS, CLAIMS_EACH_S = 2, 0.05
"""So many tasks, whoever has them, each replica claims this often when ownership is off."""


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    """`pay` needs a majority, `reply` does not. Both work for a part of what the payload says, and post once."""
    agent = Agent("kevin")
    agent.sink("room", ConnectingSink(feed, world))
    feed.delay_s = TRAVEL_S

    async def work(ctx: Context, payload: dict[str, Any]) -> Any:
        await anyio.sleep(world.rng.uniform(0.0, payload["work_s"]))
        await ctx.post("room", payload)
        return payload["n"]

    agent.task("pay", guard="majority")(work)
    agent.task("reply")(work)
    return agent


def scenario(seconds: float, tasks: int, work_s: tuple[float, float], **rest: Any) -> Scenario:
    """Two of three tasks need a majority; one of four works for up to `work_s[1]` seconds, the others `work_s[0]`."""

    connect_s = rest.pop("connect_s", 0.0)

    def payload(number: int) -> Json:
        return {"n": number, "work_s": work_s[number % 4 == 0], "connect_s": connect_s}

    work = tuple(Work(kind, payload) for kind in ("pay", "pay", "reply"))
    return Scenario(seconds=seconds, tasks=tasks, work=work, **rest)


# Ownership that is wrong in every way: what is left is the guard alone


def ownership_off(patch: Patch) -> None:
    """Any replica claims any task at any time, whoever has it, and never waits for those in play: neither for contact
    with them, nor until they have read what it is about to do."""
    pump = Claims.pump
    next_at: dict[int, float] = {}

    def restless(self: Claims) -> None:
        now, rng = self._world.now(), self._world.rng
        if now >= next_at.get(id(self), 0.0):
            next_at[id(self)] = now + CLAIMS_EACH_S
            open_tasks = list(self.open)
            for task in rng.sample(open_tasks, min(CLAIMS, len(open_tasks))):
                state = self._ledger.state.tasks[task]
                if self._membership.me not in self.holders(state) and not self._executor.has(task):
                    self._ready.put(task, 0)
        pump(self)

    patch.setattr(Claims, "pump", restless)
    patch.setattr(Membership, "act_until", lambda self: math.inf if self.settled else -math.inf)
    patch.setattr(Outbox, "_safe_clock", lambda self, members: self._ledger.durable_clock)
    patch.setattr(Outbox, "_have_read", lambda self, members, clocks: True)


# The voter


def vote_not_durable(patch: Patch) -> None:
    """A grant is told to the others while it is still on its way to the disk."""
    flush = Ledger._flush

    def hasty(self: Ledger) -> None:
        grants = any(isinstance(decode(data), Grant) for data in self._batch)
        before = self.state_vector()  # of our own entries only those on disk
        flush(self)
        if grants:
            self._on_durable(self.document.diff(before))

    patch.setattr(Ledger, "_flush", hasty)
    patch.setattr(Cluster, "_inspect", lambda self, process, frame: None)  # it would see that on the wire at once
    patch.setattr(Majority, "_is_durable", lambda self, task: True)


def voted_twice(patch: Patch) -> None:
    """A voter grants an epoch to whoever asks last."""

    def hasty(self: Voting, state: TaskState, epoch: int, member: Any) -> str | None:
        claim = state.claim
        return None if claim is not None and (claim.author, claim.epoch) == (member.name, epoch) else "not asked"

    patch.setattr(Voting, "_refusal", hasty)


def lease_ignored_by_voters(patch: Patch) -> None:
    """The next epoch is granted while the holder of the last may count on an answer."""
    patch.setattr(Voting, "_protection", lambda self, state, other, epoch: None)


def restart_not_waited(patch: Patch) -> None:
    """A voter that was restarted grants the next epoch at once, since it has heard nothing of the holder."""
    init = Voting.__init__

    def made(self: Voting, *args: Any, **rest: Any) -> None:
        init(self, *args, **rest)
        self._started = -math.inf

    patch.setattr(Voting, "__init__", made)
    recovered = Electorate.recovered

    def at_once(self: Electorate) -> None:
        recovered(self)
        self.adopted_at = -math.inf

    patch.setattr(Electorate, "recovered", at_once)


# The holder


def lease_ignored_at_gate(patch: Patch) -> None:
    """A granted claim is good for ever."""
    patch.setattr(Majority, "until", lambda self, run: math.inf)


def majority_of_the_reachable(patch: Patch) -> None:
    """A majority is one of the voters that are in reach."""
    refresh, tick = Electorate._refresh, Electorate.tick

    def narrow(self: Electorate) -> None:
        if self.version is not None and len(self.version.voters) > 1:
            self.version = Version(self.version.number, tuple(self.in_reach()))

    def refreshed(self: Electorate) -> None:
        refresh(self)
        narrow(self)

    def ticked(self: Electorate) -> None:
        refresh(self)
        tick(self)
        narrow(self)

    patch.setattr(Electorate, "_refresh", refreshed)
    patch.setattr(Electorate, "tick", ticked)


def begun_unread(patch: Patch) -> None:
    """A handler starts as soon as its claim is decided, whatever the holder before may have intended.

    Faults that are drawn hardly ever meet the moment; `test_unread` does."""
    patch.setattr(Majority, "_has_read", lambda self, task, version, grants: True)


def read_taken_for_kept(patch: Patch) -> None:
    """An intent counts as kept by a voter that has read it, though it may not be on that voter's disk."""

    def count(self: Majority, version: Version, clock: int, others: Mapping[int, int]) -> int:
        found = 0
        for voter in version.voters:
            peer = self._electorate.peer(voter)
            if voter == self._electorate.me:
                found += self._ledger.durable_clock >= clock
            elif peer is not None and voter not in self._electorate.closed:
                found += peer.read.get(self._ledger.client_id, 0) >= clock and peer.covers(others)
        return found

    patch.setattr(Majority, "_count_kept", count)


# The roster


def closed_forgotten(patch: Patch) -> None:
    """A voter that accepted the next roster goes on granting and vouching under the last one. Not found: see
    `test_majority`."""
    patch.setattr(roster, "closed", lambda rosters, version: frozenset())


def journal_id_kept(patch: Patch) -> None:
    """A replica whose journal was damaged, and who forgot what it granted, goes on voting in its old place."""
    planted_disks.journal_id_kept(patch)


def adoption_not_waited(patch: Patch) -> None:
    """A voter of a new roster grants the next epoch at once if it heard nothing of the holder: others may have."""
    lease_ends = Voting._lease_ends

    def at_once(self: Voting, other: Member) -> float:
        adopted, self._electorate.adopted_at = self._electorate.adopted_at, -math.inf
        try:
            return lease_ends(self, other)
        finally:
            self._electorate.adopted_at = adopted

    patch.setattr(Voting, "_lease_ends", at_once)


def journal_ignored(patch: Patch) -> None:
    """A replica that lost its journal goes on voting in its old place."""
    init = Electorate.__init__

    def made(self: Electorate, *args: Any, **rest: Any) -> None:
        init(self, *args, **rest)
        self.me = (self.me[0], f"journal-{self.me[0]}")

    patch.setattr(Electorate, "__init__", made)
