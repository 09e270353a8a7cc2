"""Deliberate faults: each takes one rule out of the runtime, or puts an old mistake back. For tests only.

python -m tests.simulation.planted FAULT SEED...      prints the traces of these seeds with the fault switched on
"""

from __future__ import annotations

import copy
import math
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest

import actonce.claims
import actonce.engine
import actonce.membership
import actonce.suspicion
import actonce_crdt.document
from actonce.agent import Agent
from actonce.context import Context
from actonce.engine import Engine
from actonce.errors import ReplicaFailed
from actonce.inbox import Inbox, Submitted
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.messages import Heartbeat
from actonce.outbox import Outbox, Settle
from actonce.ownership import Member, View
from actonce.peers import Peer
from actonce.performing import Effect
from actonce.readiness import Readiness
from actonce.routes import Routes
from actonce.running import Gate, Run
from actonce.settings import Settings
from actonce.settling import Settled
from actonce.sim.cluster import Cluster, Feed, FeedSink
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, Work, run_seed
from actonce.sim.world import SimWorld
from actonce_crdt import Change, Claim, Document, Intent, Json, UpdateGap, task
from actonce_crdt.updates import Limits, ParsedUpdate, _read_chains, parse_update
from actonce_crdt.wire import Cursor

Patch = pytest.MonkeyPatch
Fault = Callable[[Patch], None]


TRAVEL_S = (0.001, 0.08)
"""Of a request to the feed; its sink gives it `publish_timeout_s`."""


class ConnectingSink(FeedSink):
    """Takes its time before the gate, as a real one does for its connection."""

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        assert isinstance(body, dict)
        await anyio.sleep(self._feed.rng.uniform(0.0, float(str(body["connect_s"]))))
        return await super().publish(body, key, fence, gate)


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    """Works for a random part of what the payload says, in seconds, and posts once."""
    agent = Agent("kevin")
    agent.sink("room", ConnectingSink(feed, world))
    feed.delay_s = TRAVEL_S

    @agent.task("reply")
    async def reply(ctx: Context, payload: dict[str, Any]) -> Any:
        await anyio.sleep(world.rng.uniform(0.0, payload["work_s"]))
        await ctx.post("room", payload)
        return payload["n"]

    return agent


# What is written, and in which order it becomes known


def gossip_before_journal(patch: Patch) -> None:
    """An update goes out while it is still on its way to the disk."""
    flush = Ledger._flush

    def hasty(self: Ledger) -> None:
        before = self.document.state_vector()
        flush(self)
        self._on_durable(self.document.diff(before))

    patch.setattr(Ledger, "_flush", hasty)


def client_id_reused(patch: Patch) -> None:
    """Every process of a replica writes under one client id. A document that sees its own id in its journal objects."""
    start = Engine.start

    def make(world: SimWorld, name: str, client_id: int, **calls: Any) -> Ledger:
        return Ledger(world, name, zlib.crc32(name.encode()), **calls)

    def started(self: Engine) -> None:
        try:
            start(self)
        except ReplicaFailed as error:
            self.fail(error)

    patch.setattr(actonce.engine, "Ledger", make)
    patch.setattr(Engine, "start", started)


def client_id_reused_knowingly(patch: Patch) -> None:
    """The same with what refuses it gone: it goes on from the clock that it finds on its disk; and gossips early."""
    client_id_reused(patch)
    gossip_before_journal(patch)
    patch.setattr(Cluster, "_inspect", lambda self, process, frame: None)
    start, integrate = Engine.start, Document.integrate

    def started(self: Engine) -> None:
        for update in self._recovered.updates:
            self.ledger._fold(as_anybody(self.ledger.document, update))
        self.ledger.next_clock = self.ledger.durable_clock = self.ledger.document.next_clock
        self._recovered = replace(self._recovered, updates=())
        start(self)

    def as_anybody(self: Document, update: bytes) -> Change:
        client_id, self.client_id = self.client_id, 1
        try:
            return integrate(self, update)
        finally:
            self.client_id = client_id

    patch.setattr(Engine, "start", started)
    patch.setattr(Document, "integrate", as_anybody)


def hole_accepted(patch: Patch) -> None:
    """An update that begins beyond what is known of its author is taken, and counts as all there is."""

    def careless(data: bytes, *, known: Mapping[int, int], logs: Mapping[int, str], **rest: Any) -> ParsedUpdate:
        try:
            return parse_update(data, known=known, logs=logs, **rest)
        except UpdateGap:
            chains = _read_chains(Cursor(data), logs, rest.get("limits", Limits()))
            if any(chain.log is None for chain in chains.values()):
                raise
            beyond = {client: max(known.get(client, 0), chain.start) for client, chain in chains.items()}
            return parse_update(data, known={**known, **beyond}, logs=logs, **rest)

    patch.setattr(actonce_crdt.document, "parse_update", careless)


def leaving_told_before_claims(patch: Patch) -> None:
    """A replica says that it leaves while its newest claims are still on their way to its disk."""

    def drain(self: Engine, idle: Callable[[], None]) -> None:
        self.claims.enabled = False
        self.executor.leave()
        self._announce_leaving()
        self._when_idle(idle)

    patch.setattr(Engine, "drain", drain)


def submit_not_on_disk(patch: Patch) -> None:
    """A submission is acknowledged at once."""

    def wait(self: Inbox, clock: int, submitted: Submitted, reply: Callable[[Submitted], None]) -> None:
        reply(submitted)

    patch.setattr(Inbox, "_wait", wait)


# Who may act


def contact_by_arrival(patch: Patch) -> None:
    """Contact is dated by the arrival of a heartbeat, not by the sending of the one that it answers."""

    def heartbeat(self: Peer, beat: Heartbeat, mine: Mapping[int, int], now: float) -> None:
        self.their_sent = max(self.their_sent, beat.sent)
        self.refused = frozenset(beat.refused)
        self.echoed = now
        self.round_trips += 1
        self.confirmed = self.echoed
        self.has_read(beat.read, mine, now)
        self.digest = beat.digest

    patch.setattr(Peer, "heartbeat", heartbeat)


def grace_too_short(patch: Patch) -> None:
    """Suspicion and grace together end before a contact window does."""
    init = Membership.__init__

    def short(self: Membership, me: Member, settings: Settings, *args: Any, **rest: Any) -> None:
        hasty = copy.copy(settings)
        object.__setattr__(hasty, "suspicion_s", 0.3)
        object.__setattr__(hasty, "grace_s", 0.1)
        init(self, me, hasty, *args, **rest)

    patch.setattr(Membership, "__init__", short)
    patch.setattr(Membership, "_suspicion_s", lambda self, member: self.settings.suspicion_s)


def promise_not_needed(patch: Patch) -> None:
    """Nobody's word is waited for."""
    patch.setattr(Membership, "act_until", lambda self: math.inf if self.settled else -math.inf)


def closure_off(patch: Patch) -> None:
    """Only our own view is in play."""

    def mine_only(me: Member, mine: View, announced: Mapping[Member, View]) -> frozenset[Member]:
        return mine.members | mine.lingering | {me}

    def mine_required(me: Member, mine: View, announced: Mapping[Member, View]) -> frozenset[Member]:
        return mine.members - mine.lingering - {me}

    patch.setattr(Routes, "seek", lambda self, name: None)  # a third that passes messages on keeps the views alike
    patch.setattr(actonce.membership, "in_play", mine_only)
    patch.setattr(actonce.membership, "required", mine_required)


def grace_off(patch: Patch) -> None:
    """Whoever is suspected is given up at once."""
    give_up = Membership._give_up

    def hasty(self: Membership, now: float) -> None:
        give_up(self, now)
        if self.view.lingering:
            self._change(self.view.members, frozenset())

    patch.setattr(Membership, "_give_up", hasty)


def epoch_not_raised(patch: Patch) -> None:
    """A new claim is just above the claims that are known, whatever the number of the view."""
    patch.setattr(actonce.claims, "next_epoch", lambda view, known: known + 1)


def tie_break_by_arrival(patch: Patch) -> None:
    """Of two claims in one epoch, the one that came first wins."""

    def first_come(claim: Claim) -> tuple[int | str, ...]:
        return (claim.epoch,)

    patch.setattr(task, "claim_order", first_come)
    patch.setattr(task, "greatest", lambda a, b, key: b if a is None or (b is not None and key(b) > key(a)) else a)


# Restart and sleep


def settled_at_once(patch: Patch) -> None:
    """A restarted replica trusts its memory."""
    patch.setattr(actonce.membership, "try_settle", lambda *args: Settled.ALONE)


def reunion_adopts_itself(patch: Patch) -> None:
    """After a reunion, the first view holds only us: others settle in the same moment, and act without our word."""

    def adopt(self: Membership) -> None:
        members = {self.me}
        for peer in self.peers.values():
            if peer.linked and peer.settled and peer.view is not None:
                members |= {m for m in peer.view.members | peer.view.lingering if m.name != self.me.name}
        for member in sorted(members - {self.me}):
            known = self.peers.setdefault(member.name, Peer(member))
            known.heard = self._active
        superseded = {m for m in members - {self.me} if self.peers[m.name].member != m}
        self._change(frozenset(members - superseded - self._dead), frozenset())

    patch.setattr(Membership, "_adopt", adopt)


def sleep_not_noticed(patch: Patch) -> None:
    """Whoever slept goes on as if nothing had happened."""
    unsettle = Membership._unsettle

    def unless_slept(self: Membership, why: str) -> None:
        if not why.startswith("slept"):
            unsettle(self, why)

    patch.setattr(Membership, "_unsettle", unless_slept)


def admission_not_needed(patch: Patch) -> None:
    """A member that never admitted us is dropped like any other: what it did alone meanwhile, nobody need have read."""
    patch.setattr(Membership, "_may_have_acted_alone", lambda self, member, gone: False)
    # Two younger rules would hide it in the same place: who slept alone settles anew, who is late is accused.
    patch.setattr(Membership, "_is_cut_off_alone", lambda self: False)
    patch.setattr(actonce.suspicion, "may_accuse", lambda in_play, late: False)


# Effects


def intent_not_adopted(patch: Patch) -> None:
    """A survivor sends what a dead replica intended, though others may not have read that it was intended."""

    def adopt(self: Outbox, run: Run, key: str, intent: Intent, reply: Callable[[Any], None]) -> None:
        reply(self._settle(run, intent))

    patch.setattr(Outbox, "_adopt", adopt)


def settled_on_any_word(patch: Patch) -> None:
    """Whoever says that it is settled is believed, though those that it needs may not have admitted it yet.

    Faults that are drawn hardly ever meet the moment; `test_planted.hearsay` does."""
    patch.setattr(Peer, "vouches", property(lambda self: self.settled, lambda self, value: None), raising=False)


def gate_open(patch: Patch) -> None:
    """Effects leave whatever became of the claim and of the contact."""
    patch.setattr(Gate, "is_open", lambda self, run: True)


def intent_not_acknowledged(patch: Patch) -> None:
    """An effect leaves as soon as its intent is on the disk here."""
    patch.setattr(Outbox, "_safe_clock", lambda self, members: self._ledger.durable_clock)


def absent_counts_at_once(patch: Patch) -> None:
    """A look-up that finds nothing is believed although a request may be on its way."""
    settle = Effect._is_settled

    async def hasty(self: Effect, doubt: Settle) -> bool:
        return await settle(self, replace(doubt, quiet_from=-math.inf))

    patch.setattr(Effect, "_is_settled", hasty)


def doubt_not_asked(patch: Patch) -> None:
    """An intent without a receipt is taken for an effect that did not happen."""

    async def resend(self: Effect, doubt: Settle) -> bool:
        return False

    patch.setattr(Effect, "_is_settled", resend)


# Wake-ups and order


def wakeup_lost(patch: Patch) -> None:
    """Whoever asks for the disk when all is on it already, waits for the next write."""
    patch.setattr(Ledger, "when_durable", lambda self, call: self._waiting.append((self.next_clock, call)))


def wake_does_nothing(patch: Patch) -> None:
    """The engine looks only when it ticks."""
    patch.setattr(Engine, "wake", lambda self: None)


def unsorted_iteration(patch: Patch) -> None:
    """Open tasks are looked at in the order of a set."""

    def unsorted(self: Readiness) -> tuple[int, int, str]:
        task = next(iter(set(self._ready)))
        self.discard(task)
        return 0, 0, task

    patch.setattr(Readiness, "pop_place", unsorted)


# Scenarios


def scenario(seconds: float, tasks: int, work_s: tuple[float, float], **rest: Any) -> Scenario:
    """Every third task works for up to `work_s[1]` seconds, the others for up to `work_s[0]`."""
    connect_s = rest.pop("connect_s", 0.0)

    def payload(number: int) -> Json:
        return {"n": number, "work_s": work_s[number % 3 == 0], "connect_s": connect_s}

    return Scenario(seconds=seconds, tasks=tasks, work=(Work("reply", payload),), **rest)


def only(between_s: tuple[float, float], mix: Mix | None = None, **weights: int) -> Mix:
    """A mix of only these faults."""
    return replace(mix or Mix(), weights=tuple(sorted(weights.items())), between_s=between_s)


def main(fault: str, seeds: Iterable[int]) -> None:
    if fault != "none":
        globals()[fault](Patch())
    for seed in seeds:
        print(run_seed(seed, scenario(3.0, 60, (0.3, 1.0), mix=only((0.2, 1.0), Pause=1, Crash=1)), make_agent).trace)


if __name__ == "__main__":
    main(sys.argv[1], [int(seed) for seed in sys.argv[2:]])
