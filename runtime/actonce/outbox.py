"""Effects, seen from the engine: what is known of an effect, and the order intent, gate, publish, receipt.

Before an effect leaves, its *intent* with the whole body is on disk here and read by every member in play. So when
its replica dies, every survivor knows that it may have happened: an intent without a receipt is a *doubt*, and no
intent means that it surely did not happen. (Writing the intent on every member's link, without their answer, would
save a round trip; but a killed process can lose what its socket still held, and then every task of a dead replica
would have to be treated as a doubt.)

An effect that was sent, perhaps, may be sent again on a word: that of a person, or of the sink, which refused it. Then
that is written down first, as an intent is, so that whoever takes over does not take an old word for an answer.

Not promised: once in the world. Between "the sink did it" and "we know it" there is a gap that no protocol closes;
`performing` asks the sink, or follows the rule of the kind, and what is left is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from actonce.errors import GateClosed
from actonce.guards import Guards
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.ownership import Member
from actonce.running import Gate, Run
from actonce_crdt import Doubt, EffectState, Intent, Receipt

SWEEP_MIN = 256
"""Notes about effects that are never looked through: fewer do not matter."""


@dataclass(frozen=True, slots=True)
class Replay:
    """It has happened (or was given up as a doubt, with no receipt): do nothing."""

    receipt: bytes | None


@dataclass(frozen=True, slots=True)
class Publish:
    """The intent is safe: publish this body."""

    body: bytes
    settled: str | None = None
    """How the doubt ends, if this settles one."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Somebody, perhaps an earlier attempt of ours, may have published this body since `intended_s` (unix)."""

    body: bytes
    intended_s: float
    quiet_from: float
    """On our clock: whoever tried before started nothing after this."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The handler gets this error."""

    error: Exception


Plan = Replay | Publish | Settle | Refuse

_NOTHING = Publish(b"")
"""The plan of what waits only for others to have read."""


@dataclass(frozen=True, slots=True)
class _Pending:
    clock: int
    run: Run
    plan: Publish | Settle
    reply: Callable[[Plan], None]
    also: Mapping[int, int] = field(default_factory=dict)
    """Client ids of others -> clocks that every member in play must have read too."""


class Outbox:
    """Effects under way on this replica."""

    def __init__(
        self, now: Callable[[], float], ledger: Ledger, membership: Membership, gate: Gate, guards: Guards
    ) -> None:
        self._now, self._ledger, self._membership, self._gate, self._guards = now, ledger, membership, gate, guards
        self._pending: list[_Pending] = []
        self._at_gate: list[tuple[Run, Callable[[], None]]] = []
        self._tried: Counter[tuple[str, int]] = Counter()
        """(effect, epoch) -> publishes of this process whose outcome is not known."""
        self._adopted: dict[tuple[str, int], int] = {}
        """(effect, epoch) -> clock of our copy of somebody else's intent."""
        self._words: dict[tuple[str, int], str | None] = {}
        """(effect, epoch) -> how the doubt ends that we send again, on a word, once the sink has done it."""
        self._swept = 0
        """How many notes there were left when they were last looked through."""

    def prepare(self, run: Run, key: str, sink: str, body: bytes, reply: Callable[[Plan], None]) -> None:
        """What to do about this effect; `reply` comes when it may be done."""
        effect = self._ledger.state.effects.get(key)
        word = effect.doubt.settled if effect is not None and effect.doubt is not None else None
        if run.revoked:
            reply(Refuse(GateClosed(f"task {run.task!r} was taken over, or its handler has ended")))
        elif effect is not None and effect.receipt is not None:
            reply(Replay(effect.receipt.receipt))
        elif word in ("skipped", "posted"):
            reply(Replay(None))
        elif effect is None or effect.intent is None:
            self._intend(run, key, sink, body, reply)
        elif word == "resend" or (word == "refused" and self._is_last_word(run, effect)):
            self._send_again(run, key, effect, "resent" if word == "resend" else None, reply)
        elif word == "sending" and self._is_ours(run, effect.doubt) and self._tried[key, run.epoch] <= 0:
            known = Publish(effect.intent.body, self._words.get((key, run.epoch)))
            self._wait(_Pending(self._ledger.next_clock, run, known, reply))
        elif not self._is_ours(run, effect.intent):
            self._adopt(run, key, effect.intent, reply)
        elif word is None and self._tried[key, run.epoch] <= 0 and self._unknown_since(run) is None:
            # Surely not published so far: refused by the sink, or by the gate.
            self._wait(_Pending(self._ledger.next_clock, run, Publish(effect.intent.body), reply))
        else:
            self._wait(_Pending(self._ledger.next_clock, run, self._settle(run, effect.intent), reply))

    def _is_ours(self, run: Run, record: Intent | Doubt | None) -> bool:
        """Whether this run wrote it."""
        return record is not None and (record.author, record.epoch) == (self._membership.me.name, run.epoch)

    def _is_last_word(self, run: Run, effect: EffectState) -> bool:
        """Whether nobody but this run can have sent it since the sink refused it: only another side of a cut could."""
        assert effect.doubt is not None
        since, mine = effect.doubt.epoch, (self._membership.me.name, run.epoch)
        intents = [one for one in self._ledger.state.history(run.task) if isinstance(one, Intent)]
        return not any(
            one.key == effect.doubt.key and one.epoch > since and (one.author, one.epoch) != mine for one in intents
        )

    def _intend(self, run: Run, key: str, sink: str, body: bytes, reply: Callable[[Plan], None]) -> None:
        """Only under fresh contact: an intent of a replica that slept would be a doubt to whoever has its task now."""
        if not self._gate.is_open(run):
            reply(Refuse(GateClosed("contact with the other replicas is stale")))
            return
        intent = Intent(key, self._ledger.stamp(), self._membership.me.name, run.task, run.epoch, sink, body)
        known = self._unknown_since(run) is None
        plan = Publish(body) if known else self._settle(run, intent)
        self._wait(_Pending(self._ledger.write(intent), run, plan, reply))

    def _adopt(self, run: Run, key: str, intent: Intent, reply: Callable[[Plan], None]) -> None:
        """Somebody intended it, and may have died before all had read so. We may send it: they must know that first."""
        if not self._gate.is_open(run):
            reply(Refuse(GateClosed("contact with the other replicas is stale")))
            return
        self._wait(_Pending(self._copy(run, key, intent), run, self._settle(run, intent), reply))

    def _copy(self, run: Run, key: str, intent: Intent) -> int:
        clock = self._adopted.get((key, run.epoch))
        if clock is None:
            copy = replace(intent, stamp=self._ledger.stamp(), author=self._membership.me.name, epoch=run.epoch)
            clock = self._adopted[key, run.epoch] = self._ledger.write(copy)
        return clock

    def _send_again(
        self, run: Run, key: str, effect: EffectState, settled: str | None, reply: Callable[[Plan], None]
    ) -> None:
        """On a word that holds for one sending: from here on it is in doubt anew, until its outcome is known."""
        if not self._gate.is_open(run):
            reply(Refuse(GateClosed("contact with the other replicas is stale")))
            return
        assert effect.intent is not None
        if not self._is_ours(run, effect.intent):
            self._copy(run, key, effect.intent)
        self._tried[key, run.epoch], self._words[key, run.epoch] = 0, settled
        clock = self._doubt(run, key, "sending", again=1)
        self._wait(_Pending(clock, run, Publish(effect.intent.body, settled), reply))

    def _settle(self, run: Run, intent: Intent) -> Settle:
        """The one thing that is certain: nobody else acts on the task since we claimed it."""
        sent = self._is_ours(run, intent) or self._tried[intent.key, run.epoch] > 0
        quiet_from = self._now() if sent else run.claimed_at
        intended_s, since_s = (intent.stamp >> 16) / 1000, self._unknown_since(run)
        return Settle(intent.body, intended_s if since_s is None else min(intended_s, since_s), quiet_from)

    def _unknown_since(self, run: Run) -> float | None:
        return self._guards.of(run.spec.kind).unknown_since(run)

    def leaving(self, run: Run, key: str) -> None:
        """The effect is past the gate: from here on its outcome is unknown until the sink answers."""
        self._sweep()
        self._tried[key, run.epoch] += 1
        self._guards.of(run.spec.kind).leaving(run)

    def _sweep(self) -> None:
        """An effect that was given up, or taken over, leaves notes: until it is forgotten itself. Looked through when
        there are twice as many as after the last time, so that it costs little."""
        if self._notes() > max(SWEEP_MIN, 2 * self._swept):
            effects = self._ledger.state.effects
            for kept in (self._tried, self._adopted, self._words):
                for name in [name for name in kept if name[0] not in effects]:
                    kept.pop(name)
            self._swept = self._notes()

    def _notes(self) -> int:
        return len(self._tried) + len(self._adopted) + len(self._words)

    def refused(self, run: Run, key: str) -> None:
        """The sink surely did not do what left last. What left before that, and is unknown, stays so."""
        self._tried[key, run.epoch] -= 1

    def done(self, run: Run, key: str, receipt: bytes, settled: str | None, reply: Callable[[], None]) -> None:
        """The sink did it. `settled` says how a doubt ended, if it was one. `reply` comes when that is on disk."""
        self._forget(run, key)
        if settled is not None:
            self._doubt(run, key, settled)
        me = self._membership.me.name
        self._ledger.write(Receipt(key, self._ledger.stamp(), me, run.epoch, receipt))
        self._ledger.when_durable(reply)

    def skipped(self, run: Run, key: str, reply: Callable[[], None]) -> None:
        """A doubt that will not be sent again, by rule."""
        self._forget(run, key)
        self._doubt(run, key, "skipped")
        self._ledger.when_durable(reply)

    def given_up(self, run: Run, key: str, *, in_doubt: bool, reply: Callable[[], None]) -> None:
        """No further try in this attempt of the handler. If nothing of it is in doubt, it was surely not done."""
        self._doubt(run, key, "open" if in_doubt or self._tried[key, run.epoch] > 0 else "refused")
        self._ledger.when_durable(reply)

    def opened(self, run: Run, key: str) -> None:
        """Neither the sink nor a rule settles it: a person is asked."""
        if not is_open(self._ledger.state.effects.get(key)):
            self._doubt(run, key, "open")

    def _forget(self, run: Run, key: str) -> None:
        for kept in (self._tried, self._adopted, self._words):
            kept.pop((key, run.epoch), None)

    def _doubt(self, run: Run, key: str, settled: str, again: int = 0) -> int:
        """A word of the present round, or the first of the next one. None about what is settled, and forgotten."""
        effect = self._ledger.state.effects.get(key)
        if effect is None:
            return self._ledger.next_clock
        known = effect.doubt
        if settled == "open" and known is not None and known.settled == "refused":
            again = 1  # the refusal was of one side of a cut only
        count = (known.round if known is not None else 0) + again
        me, stamp = self._membership.me.name, self._ledger.stamp()
        return self._ledger.write(Doubt(key, stamp, me, run.epoch, settled, count))

    def when_open(self, run: Run, reply: Callable[[], None]) -> None:
        """Reply when the gate is open for this run, or will never be."""
        self._at_gate.append((run, reply))
        self.pump()

    def when_safe(self, run: Run, reply: Callable[[], None]) -> None:
        """Reply once all that we wrote is on disk and read by every member in play, or the run is revoked.

        Where the kind has a guard: and once whoever may be given the task next will find it.
        """
        self._wait(_Pending(self._ledger.next_clock, run, _NOTHING, lambda plan: reply()))

    def when_all_read(self, run: Run, reply: Callable[[], None]) -> None:
        """The same for all that we know, whoever wrote it."""
        known = dict(self._ledger.state_vector())
        known.pop(self._ledger.client_id, None)
        self._wait(_Pending(self._ledger.next_clock, run, _NOTHING, lambda plan: reply(), known))

    def _wait(self, pending: _Pending) -> None:
        self._pending.append(pending)
        self.pump()

    def pump(self) -> None:
        """Contact, acknowledgement or disk made progress: release what waited for it."""
        if self._pending:
            # Lingering members too: one that comes back within its grace may take over from us at once if we die.
            members = self._membership.in_play() - {self._membership.me}
            safe = self._safe_clock(members)
            ready = [
                pending
                for pending in self._pending
                if pending.run.revoked or self._is_safe(pending, safe, members)
            ]
            if ready:
                self._pending = [pending for pending in self._pending if pending not in ready]
                for pending in ready:
                    pending.reply(pending.plan)
        if self._at_gate:
            passed = [(run, reply) for run, reply in self._at_gate if self._gate.is_open(run) or run.revoked]
            if passed:
                self._at_gate = [waiting for waiting in self._at_gate if waiting not in passed]
                for _, reply in passed:
                    reply()

    def _is_safe(self, pending: _Pending, safe: int, members: frozenset[Member]) -> bool:
        if pending.clock > safe or not self._have_read(members, pending.also):
            return False
        return self._guards.of(pending.run.spec.kind).kept(pending.run, pending.clock, pending.also)

    def _safe_clock(self, members: frozenset[Member]) -> int:
        """Our entries below this clock are on disk here and read by every member in play."""
        safe = self._ledger.durable_clock
        for member in members:
            peer = self._membership.peers.get(member.name)
            known = peer is not None and peer.member == member
            safe = min(safe, peer.read.get(self._ledger.client_id, 0) if peer is not None and known else 0)
        return safe

    def _have_read(self, members: frozenset[Member], clocks: Mapping[int, int]) -> bool:
        """Whether every one of these members has read these clocks."""
        if not clocks:
            return True
        peers = [self._membership.peers.get(member.name) for member in members]
        return all(peer is not None and peer.covers(clocks) for peer in peers)



def is_open(effect: EffectState | None) -> bool:
    """Whether nobody knows, or has said, how a doubt about it ends. Of what is forgotten that was known."""
    doubt = effect.doubt if effect is not None and effect.receipt is None else None
    return doubt is not None and doubt.settled == "open"
