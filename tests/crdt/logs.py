"""Replicas that write, part, forget and compact their logs at any moment, beside shadows that forget nothing.

A shadow is the fold of all that its replica was ever told: of every entry below the clocks that it knows, removed or
not, without floors. Pure function of a seed. Time is a number that grows; stamps are times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from actonce_crdt import (
    Cancel,
    Change,
    Claim,
    Cut,
    Document,
    Done,
    Doubt,
    EntryId,
    Floor,
    Gift,
    Intent,
    Mark,
    Receipt,
    Record,
    Reopen,
    Rules,
    State,
    Step,
    Task,
    TaskState,
    Try,
    Unfinished,
    Unknown,
    UpdateGap,
    decode,
    encode,
    is_settled,
    next_floor,
    rewrite,
    step_key,
)
from actonce_crdt.packing import pack
from actonce_crdt.task import join, lift

from .lasting import LASTING, lasting

RETENTION = 12
FORGET_AFTER = 8
KEYS = 6


@dataclass
class Replica:
    name: str
    document: Document
    state: State = field(default_factory=State)
    shadow: State = field(default_factory=State)
    told: dict[int, int] = field(default_factory=dict)
    journal: list[bytes] = field(default_factory=list)
    last: int = 0
    away_until: int = 0

    def took(self, change: Change) -> None:
        if change:
            self.journal.append(change.update)
        for entry in change.added:
            record = decode(entry.data)
            self.last = max(self.last, record.stamp)
            self.state.add(entry.id, record)
        for entry_id in change.removed:
            self.state.remove(entry_id)


def compact(replica: Replica, log: str, count: int, rules: Rules, stamp: int) -> tuple[Change, ...]:
    """As the runtime does it. A tuple, so that a planted bug may send what belongs together in two."""
    front = replica.document.front(log, count)
    own = replica.document.client_id if log == replica.name else None
    made = rewrite(replica.state, front, {}, own, rules, Cut(log, stamp, replica.name))
    return (replica.document.compact(log, len(front), made.entries),)


def unfinished(state: State) -> list[Unfinished]:
    """What may yet begin or go on, as the runtime counts it."""
    return [
        Unfinished(key, one.task.stamp, max(one.task.stamp, one.reopen.stamp if one.reopen else 0))
        for key, one in state.tasks.items()
        if one.task is not None and one.done is None
    ]


class Logs:
    """`check` raises AssertionError at the first broken invariant. `away`: whether replicas stay away for long."""

    def __init__(self, seed: int, replicas: int = 3, *, away: bool = True) -> None:
        self.random, self.seed, self.away = Random(seed), seed, away
        self.now = 1_000
        self.ids = 0
        self.ever: dict[EntryId, Record] = {}
        self.raw: dict[EntryId, bytes] = {}
        self.compact: Callable[[Replica, str, int, Rules, int], tuple[Change, ...]] = compact
        self.retention = RETENTION
        self.nodes = [Replica(name, self._document(name)) for name in "abcde"[:replicas]]
        self.flying: list[tuple[Replica, bytes]] = []
        self.counts = {"late": 0, "forgotten": 0, "gaps": 0, "floors": 0, "cuts": 0, "resubmitted": 0}

    def run(self, steps: int) -> None:
        actions = (
            *(self._submit, self._submit, self._work, self._finish, self._finish, self._finish),
            *(self._deliver, self._deliver, self._sync, self._floor, self._shorten, self._shorten, self._shorten),
            *(self._other, self._other, self._settle, self._restart),
        )
        for _ in range(steps):
            self.now += self.random.choice((0, 1, 1, 2, 5))
            if self.away and self.random.random() < 0.03:
                self.random.choice(self.nodes).away_until = self.now + self.random.choice((6, 20, 40, 80))
            node = self.random.choice(self.nodes)
            self.random.choice(actions)(node)
            self.check(node)

    def settle(self) -> None:
        """Everybody reads everything."""
        for node in self.nodes:
            node.away_until = 0
        for _ in range(2):
            for node in self.nodes:
                for other in self.nodes:
                    self._pull(node, other)
                self.check(node)
        assert len({node.document.digest for node in self.nodes}) == 1
        assert len({node.state.canonical() for node in self.nodes}) == 1

    # Traffic

    def _document(self, name: str) -> Document:
        self.ids += 1
        return Document(name, 1000 + self.ids)

    def stamp(self, node: Replica) -> int:
        node.last = max(node.last + 1, self.now * 16)
        return node.last

    def write(self, node: Replica, *records: Record) -> None:
        if records:
            self._send(node, node.document.append([encode(record) for record in records]))

    def _send(self, node: Replica, change: Change) -> None:
        self._took(node, change)
        for other in self.nodes:
            if other is not node:
                self.flying += [(other, change.update)] * self.random.choice((0, 1, 1, 2))

    def _took(self, node: Replica, change: Change) -> None:
        for entry in change.added:
            if entry.id not in self.raw:
                self.raw[entry.id] = entry.data
                self.ever[entry.id] = decode(entry.data)
        node.took(change)
        for client, clock in node.document.state_vector().items():
            for at in range(node.told.get(client, 0), clock):
                record = self.ever[client, at]
                if not isinstance(record, Floor | Cut):
                    node.shadow.add((client, at), record)
            node.told[client] = clock

    def _deliver(self, _: Replica) -> None:
        self.random.shuffle(self.flying)
        for _number in range(self.random.randrange(8)):
            if self.flying:
                target, update = self.flying.pop()
                if target.away_until > self.now:
                    continue
                try:
                    self._took(target, target.document.integrate(update))
                except UpdateGap:
                    self.counts["gaps"] += 1
                self.check(target)

    def _sync(self, node: Replica) -> None:
        self._pull(node, self.random.choice(self.nodes))

    def _pull(self, target: Replica, source: Replica) -> None:
        if target is source or max(target.away_until, source.away_until) > self.now:
            return
        self._took(target, target.document.integrate(source.document.diff(target.document.state_vector())))

    def _restart(self, node: Replica) -> None:
        if self.random.random() < 0.7:
            return
        new = Replica(node.name, self._document(node.name), last=node.last, away_until=node.away_until)
        for update in node.journal:
            self._took(new, new.document.integrate(update))
        assert new.state.canonical() == node.state.canonical()
        self.nodes[self.nodes.index(node)] = new
        self.flying = [(new if target is node else target, update) for target, update in self.flying]

    # Work

    def _submit(self, node: Replica) -> None:
        """The same keys again and again: a key that is known, or over, is not written down again."""
        key = f"t{self.random.randrange(KEYS)}" if self.random.random() < 0.8 else f"n{self.now}"
        state = node.state.tasks.get(key)
        if state is None or (state.task is None and state.done is None):
            self.write(node, Task(key, self.stamp(node), node.name, "reply", b"%d" % self.now))

    def _open(self, node: Replica) -> str | None:
        found = [key for key, one in sorted(node.state.tasks.items()) if one.task is not None and one.done is None]
        return self.random.choice(found) if found else None

    def _work(self, node: Replica) -> None:
        key = self._open(node)
        if key is None:
            return
        state, me = node.state.tasks[key], node.name
        epoch = state.epoch + self.random.choice((0, 1))
        match self.random.randrange(7):
            case 0 | 1:
                self.write(node, Claim(key, self.stamp(node), me, epoch, 1))
            case 2:
                self.write(node, Try(key, self.stamp(node), me, epoch, state.attempt + 1, 0, "oh"))
            case 3:
                step = step_key(key, (epoch, me), 1)
                self.write(node, Step(step, self.stamp(node), me, key, epoch, 1, 0, "", 0, "one", "", b"r"))
            case 4:
                self.write(node, Cancel(key, self.stamp(node), me, epoch))
            case _:
                self.write(node, Intent(f"{key}/1", self.stamp(node), me, key, epoch, "room", b"hi"))
                if self.random.random() < 0.8:
                    self.write(node, Receipt(f"{key}/1", self.stamp(node), me, epoch, b"ok"))

    def _finish(self, node: Replica) -> None:
        key = self._open(node)
        if key is not None:
            ok = self.random.random() < 0.8
            self.write(node, Done(key, self.stamp(node), node.name, node.state.tasks[key].epoch, ok, b"r"))

    def _settle(self, node: Replica) -> None:
        """A word about an effect that may have been sent: open, or for good; or it is sent again, in a new round."""
        open_ones = [key for key, one in sorted(node.state.effects.items()) if not is_settled(one)]
        if open_ones:
            key = self.random.choice(open_ones)
            doubt = node.state.effects[key].doubt
            again = doubt is not None and doubt.settled == "resend"
            word = self.random.choice(("sending",) if again else ("open", "resend", "posted", "skipped"))
            count = (doubt.round if doubt is not None else 0) + again
            self.write(node, Doubt(key, self.stamp(node), node.name, 1, word, count))

    def _other(self, node: Replica) -> None:
        if self.random.random() < 0.5:
            self.write(node, lasting(self.random, node.state, self.stamp(node), node.name, self.now))
            return
        match self.random.randrange(4):
            case 0:
                self.write(node, Mark("daily", self.stamp(node), node.name, self.now))
            case 1:
                total = self.now
                self.write(node, Gift("q/requests", self.stamp(node), node.name, node.name, "b", total, 0))
            case 2:
                stamp = self.stamp(node)
                data = pack(("later", "what", stamp, node.name, self.random.randrange(3)))
                self.write(node, Unknown("what", stamp, node.name, "later", data))
            case 3:
                tasks = sorted(node.state.tasks.items())
                failed = [key for key, one in tasks if one.task and one.done and not one.done.ok]
                for key in failed[:1]:
                    done = node.state.tasks[key].done
                    assert done is not None
                    if done.stamp + self.retention * 16 > self.now * 16 or key in node.state.late:
                        self.write(node, Reopen(key, self.stamp(node), node.name, done.epoch + 1, 0, 0))

    # Forgetting

    def _floor(self, node: Replica) -> None:
        if not self.away:  # nobody lags by more than a floor does
            for reader in self.nodes:
                for other in self.nodes:
                    self._pull(reader, other)
        until = max(0, (self.now - FORGET_AFTER) * 16)
        stamp, keeper = self.stamp(node), f"{node.name}/1"
        floor = next_floor(stamp, node.name, keeper, until, unfinished(node.state), node.state.floors)
        if floor is not None:
            self.counts["floors"] += 1
            self.write(node, floor)

    def _shorten(self, node: Replica) -> None:
        log = node.name if self.random.random() < 0.5 else self.random.choice(node.document.logs() or [node.name])
        rules = Rules(lambda task: self.retention * 16, lambda task: False)
        present = node.document.count(log)
        if present:
            before = len(node.state.tasks)
            count = self.random.choice((present, self.random.randint(1, present)))
            for change in self.compact(node, log, count, rules, self.stamp(node)):
                self._send(node, change)
            self.counts["cuts"] += 1
            self.counts["forgotten"] += before - len(node.state.tasks)

    # The laws

    def check(self, node: Replica) -> None:
        view, shadow = node.state, node.shadow
        for key, state in view.tasks.items():
            if state.task is not None and state.done is None:
                self._check_runnable(node, key, state, shadow.tasks[key])
        for key, known in shadow.tasks.items():
            if known.task is not None and known.done is None:
                if key in view.late:
                    self.counts["late"] += 1
                    assert self.away, f"seed {self.seed}: {key} is late at {node.name}, and nobody was away"
                    continue
                joined = view.tasks.get(key, TaskState())
                if joined != known:
                    self._check_second_life(node, key, joined, known)
                for effect in shadow.effects_of(key):
                    assert view.effects.get(effect) == shadow.effects[effect], f"seed {self.seed}: {effect} changed"
                assert view.steps_of(key) == shadow.steps_of(key), f"seed {self.seed}: steps of {key} changed"
        for name in LASTING:
            now, then = dict(getattr(view, name)), dict(getattr(shadow, name))
            assert now == then, f"seed {self.seed}: of {name}, which live for ever, some changed at {node.name}"
        for key, raised in shadow.effects.items():
            if not is_settled(raised):  # of a key that was asked for anew, the older life may be missing
                left = view.effects.get(key)
                assert left is not None, f"seed {self.seed}: {key} is in doubt, and forgotten"
                assert left.doubt == raised.doubt, f"seed {self.seed}: the doubt about {key} changed"
        self._check_evidence(node)
        assert set(map(encode, view.history("what"))) == set(map(encode, shadow.history("what")))

    def _check_evidence(self, node: Replica) -> None:
        """Of all who claimed a task lately, whoever lost, a claim is there."""
        top = max((floor.until for floor in node.state.floors), default=-1)
        for key in node.shadow.tasks:
            entries = node.shadow.entries_of_task(key).values()
            recent = [one for one in entries if one.stamp + self.retention * 16 > top]
            there = {one.author for one in node.state.entries_of_task(key).values() if isinstance(one, Claim)}
            gone = {one.author for one in recent if isinstance(one, Claim)} - there
            assert not gone, f"seed {self.seed}: nothing shows at {node.name} that {gone} claimed {key}"

    def _check_second_life(self, node: Replica, key: str, joined: TaskState, known: TaskState) -> None:
        """Of a key that was forgotten, or late, and asked for anew, what is older may be missing; nothing else."""
        assert known.task is not None
        top = max((floor.until for floor in node.state.floors), default=0)
        why = f"seed {self.seed}: live {key} changed at {node.name}: {joined}, was {known}"
        if joined.task is not None and joined.task != known.task:
            assert known.task.stamp <= top, why
            known = replace(known, task=joined.task)
        entries = node.shadow.entries_of_task(key).values()
        recent = [one for one in entries if one.stamp + self.retention * 16 > top and not isinstance(one, Task)]
        for one in recent:
            assert join(joined, lift(one)) == joined, why  # type: ignore[arg-type]
        assert join(joined, known) == known, why

    def _check_runnable(self, node: Replica, key: str, state: TaskState, known: TaskState) -> None:
        if known.done is None:
            return
        assert state.task is not None
        at = max(state.task.stamp, state.reopen.stamp if state.reopen else 0)
        new = at > known.done.stamp + self.retention * 16
        self.counts["resubmitted"] += new
        assert new, (
            f"seed {self.seed}: {key} is runnable again at {node.name}: done at {known.done.stamp / 16}, "
            f"asked for at {state.task.stamp / 16}, now {self.now}, floors {[f.until / 16 for f in view_floors(node)]}"
        )


def view_floors(node: Replica) -> Sequence[Floor]:
    return node.state.floors
