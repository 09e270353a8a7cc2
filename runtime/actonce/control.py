"""Orders for the whole agent, a kind of task or one replica, seen from the engine: given, obeyed, confirmed.

An order is an entry of the document (see `actonce_crdt.control`), so it reaches whoever is linked at once, whoever was
away with the first sync, and it is on the disk of whoever obeys it. A replica that was away reads it before it acts: it
acts only once it has settled, which is to have read all that a replica has read that acted meanwhile.

*Halt* is the emergency stop. The gate is shut in the same turn in which the order is read. A replica *confirms* (an
entry of its own) once nothing that had passed its gate is under way any more: it has ended, or was cancelled. The order
is acknowledged when every member in play has confirmed. From then on no effect leaves any of them, until a resume. Nor
one that joins later: to be a member it must first have read what the members read.

Not promised: anything of a replica on the other side of a cut, which acts on until it is reached; `beyond` names it. A
plain function in a worker thread (`CallableSink`) cannot be stopped: what it does after it began has left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actonce.agent import Agent
from actonce.claims import Claims
from actonce.errors import NoSuchTarget, PayloadInvalid
from actonce.executor import Executor
from actonce.inbox import Inbox, Submitted
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.running import Gate
from actonce.settings import Settings
from actonce.standing import Standing, Target, describe
from actonce.world import World
from actonce_crdt import AGENT, MODES, REASON_CHARS_MAX, ControlState, Shut, Switch, kind_target, replica_target


@dataclass(frozen=True, slots=True)
class Ordered:
    """What became of an order. A `halt` is acknowledged when nobody is `missing`."""

    switch: Switch
    confirmed: tuple[str, ...]
    """Replicas whose gate is shut; of orders other than `halt` nobody confirms."""
    missing: tuple[tuple[str, str], ...]
    """Replicas that have to confirm and have not: name, why."""
    beyond: tuple[str, ...]
    """Replicas that are cut off or dead, nobody knows which: if they live, they act on until they are reached."""


Reply = Callable[[Ordered], None]


@dataclass(slots=True)
class _Awaited:
    target: Target
    switch: Switch
    clock: int
    reply: Reply
    kept: bool = False


class Control:
    """The orders of one replica."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        agent: Agent,
        ledger: Ledger,
        membership: Membership,
        gate: Gate,
        executor: Executor,
        claims: Claims,
        inbox: Inbox,
        standing: Standing,
        note: Callable[[str], None],
    ) -> None:
        self._world, self._settings, self._agent, self._ledger = world, settings, agent, ledger
        self._membership, self._gate, self._executor, self._claims = membership, gate, executor, claims
        self._inbox, self._note, self.standing = inbox, note, standing
        self._me = membership.me.name
        self._cut_at: dict[Switch, float] = {}
        """Stops in force -> when what runs is cancelled."""
        self._awaited: list[_Awaited] = []

    # Giving orders

    def order(self, target: Target, mode: str, reason: object, reply: Reply) -> Switch:
        """Order it. `reply` comes when the order is on disk here and read by one live peer, where there is one; of a
        `halt`, when everybody whom it concerns and who is in play has confirmed. That may be never: `progress` tells.

        Raises:
            NoSuchTarget: no such kind, or no such replica, was ever heard of.
            PayloadInvalid: the mode or the reason makes no sense.
        """
        if mode not in MODES:
            raise PayloadInvalid(f"there is no order {mode!r}; there are: {', '.join(MODES)}")
        if not isinstance(reason, str) or len(reason) > REASON_CHARS_MAX or not reason.isprintable():
            raise PayloadInvalid(f"a reason is printable text of at most {REASON_CHARS_MAX} characters")
        self._check(target)
        state = self._ledger.state.controls.get(target.key, ControlState())
        stamp = self._ledger.stamp()
        switch = Switch(target.key, stamp, self._me, state.next_number, mode, state.known, reason)
        awaited = _Awaited(target, switch, self._ledger.write(switch), reply)
        self._awaited.append(awaited)
        self._inbox.when_kept(awaited.clock, Submitted(target.key, new=True), lambda kept: self._kept(awaited))
        return switch

    def _check(self, target: Target) -> None:
        if target.kind is not None and target.replica is not None:
            raise PayloadInvalid("an order is for a kind or for a replica, not for both")
        for name in (target.kind, target.replica):
            if not isinstance(name, str | None):
                raise NoSuchTarget(f"{name!r} is not the name of a kind or a replica")
        if target.kind is not None:
            kinds = set(self._agent.tasks)
            for peer in self._membership.peers.values():
                kinds |= set(peer.about.kinds) if peer.about is not None else set()
            if target.kind not in kinds:
                there = ", ".join(sorted(kinds)) or "none"
                raise NoSuchTarget(f"no replica has a handler for {target.kind!r}; there are: {there}")
        if target.replica is not None:
            names = {self._me, *self._membership.peers, *self._ledger.document.logs()}
            if target.replica not in names:
                raise NoSuchTarget(f"no replica {target.replica!r} is known; there are: {', '.join(sorted(names))}")

    def _kept(self, awaited: _Awaited) -> None:
        awaited.kept = True
        self._answer()

    def _answer(self) -> None:
        """Reply to those who wait, as far as they need not wait any more."""
        ready = [one for one in self._awaited if one.kept and not self._is_open(one)]
        if ready:
            self._awaited = [one for one in self._awaited if one not in ready]
            for one in ready:
                one.reply(self.progress(one.switch, one.target))

    def _is_open(self, one: _Awaited) -> bool:
        if one.switch.mode != "halt" or one.switch not in self.standing.all:  # somebody has undone it meanwhile
            return False
        return self._membership.settled is None or bool(self._missing(one.switch, one.target))

    def progress(self, switch: Switch, target: Target) -> Ordered:
        """How far an order got by now."""
        state = self._ledger.state.controls[target.key]
        names = sorted({shut.author for shut in state.shuts if state.is_shut(shut.author, switch)})
        missing = tuple(self._missing(switch, target)) if switch.mode == "halt" else ()
        return Ordered(switch, tuple(names), missing, self._beyond(target))

    def _concerned(self, target: Target) -> set[str]:
        """Who has to confirm."""
        if target.replica is None:
            return {member.name for member in self._membership.in_play()}
        peer = self._membership.peers.get(target.replica)
        dead = peer is not None and not self._membership.only_silent(peer.member)
        left = peer is not None and peer.leaving and not peer.linked
        return set() if dead or left else {target.replica}

    def _missing(self, switch: Switch, target: Target) -> list[tuple[str, str]]:
        state = self._ledger.state.controls[target.key]
        names = (name for name in sorted(self._concerned(target)) if not state.is_shut(name, switch))
        return [(name, self._excuse(name)) for name in names]

    def _excuse(self, name: str) -> str:
        if name == self._me:
            tasks = sorted({run.task for run in self._gate.passing()})
            return f"an effect is still under way: {', '.join(tasks)}" if tasks else "is about to confirm"
        peer = self._membership.peers.get(name)
        if peer is None or not peer.linked:
            return "cannot be reached now"
        client = self._ledger.client_id
        if peer.read.get(client, 0) < self._ledger.durable_clock:
            return "has not answered that it has read the order"
        return "has read the order; what had left its gate before is still under way"

    def _beyond(self, target: Target) -> tuple[str, ...]:
        """Those whom the order concerns and of whom nobody here knows whether they act."""
        membership = self._membership
        inside = {member.name for member in membership.in_play()}
        names = {
            name
            for name, peer in membership.peers.items()
            if name not in inside and not peer.leaving and membership.only_silent(peer.member)
        }
        return tuple(sorted(names if target.replica is None else names & {target.replica}))

    # Obeying

    def changed(self) -> None:
        """Orders or confirmations came, were given here, or were found in the journal. Shuts the gate at once."""
        if self.standing.refresh(self._ledger.state.controls):
            halts = {switch.key for switch in self.standing.all if switch.mode == "halt"}
            self._gate.halted = bool(halts & {AGENT, replica_target(self._me)})
            self._gate.halted_kinds = frozenset(kind for kind in self._agent.tasks if kind_target(kind) in halts)
            stops = [switch for switch in self.standing.all if switch.mode == "stop"]
            now = self._world.now()
            self._cut_at = {one: self._cut_at.get(one, now + self._settings.drain_s) for one in stops}
            for switch in self.standing.all:
                self._note(describe(switch))
            if not self.standing.all:
                self._note("no order is in force any more")
            self._claims.reordered()
        self.pump()

    def pump(self) -> None:
        """Time has passed, effects have ended, others have confirmed."""
        if self.standing.all:
            self._cut()
            self._confirm()
        if self._awaited:
            self._answer()

    def _cut(self) -> None:
        """Cancel what may not go on."""
        now, mine = self._world.now(), replica_target(self._me)
        for run in list(self._executor.running.values()):
            if run.revoked:
                continue
            at_once = run.spec.kind in self.standing.sources and not self.standing.begins(run.spec.kind)
            over = [one for one in self.standing.over(run.spec.kind) if at_once or self._is_cut(one, now)]
            if any(one.key == mine for one in over):
                self._claims.hand_on(run.task)
            elif over:
                self._executor.interrupt(run)

    def _is_cut(self, switch: Switch, now: float) -> bool:
        return switch.mode == "halt" or now >= self._cut_at.get(switch, now + 1)

    def _confirm(self) -> None:
        everything = (AGENT, replica_target(self._me))
        passing = {kind_target(run.spec.kind) for run in self._gate.passing()}
        for switch in self.standing.all:
            state = self._ledger.state.controls[switch.key]
            concerned = switch.mode == "halt" and (switch.key in everything or switch.key.startswith("kind:"))
            under_way = passing if switch.key in everything else passing & {switch.key}
            if concerned and not under_way and not state.is_shut(self._me, switch):
                self._ledger.write(Shut(switch.key, self._ledger.stamp(), self._me, state.known))

    def open_tasks(self, target: Target) -> int:
        """Tasks of this target without an outcome: what a drain still has to do. Of a replica: what runs on it."""
        tasks, known = self._ledger.state.tasks, self._claims.open
        if target.replica is not None:
            return sum(self._holds(target.replica, task) for task in known)
        states = (tasks[task].task for task in known)
        kinds = [task.kind for task in states if task is not None and task.kind not in self.standing.sources]
        return sum(target.kind in (None, kind) for kind in kinds)

    def _holds(self, replica: str, task: str) -> bool:
        held: frozenset[Member] = self._claims.holders(self._ledger.state.tasks[task])
        return any(member.name == replica for member in held)
