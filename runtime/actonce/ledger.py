"""The replicated state of one replica: document, its fold, and the order "on disk before anyone hears of it".

`write` is visible here at once, on disk a moment later, and on the wire only then: entries written in one turn of
the loop become one document update, one journal row and one push. What others sent is folded as it comes.

Not promised: that a written entry survives a crash before it is durable. Nothing may leave the replica on the
strength of it until then; `when_durable` is the way to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from actonce import garbage
from actonce.errors import ActonceError, PayloadInvalid
from actonce.journal import Row
from actonce.world import World
from actonce_crdt import (
    EMPTY_UPDATE,
    Change,
    Cut,
    Document,
    EntryId,
    EntryInvalid,
    HybridClock,
    Record,
    Rules,
    State,
    TaskState,
    decode,
    encode,
    rewrite,
)
from actonce_crdt.buckets import Standing

_NO_STATE = TaskState()


class Ledger:
    """Document, state and journal of one replica, kept in step."""

    def __init__(
        self,
        world: World,
        name: str,
        client_id: int,
        *,
        on_changed: Callable[[list[str]], None],
        on_integrated: Callable[[tuple[int, ...]], None],
        on_durable: Callable[[bytes], None],
    ) -> None:
        """
        Args:
            client_id: a fresh random client id, never used before, 53 bits.
            on_changed: called with the entry keys that changed, after each local write or integrated update.
            on_integrated: called with the client ids of which an update of a peer brought entries.
            on_durable: called with each local update once it is on disk: the moment to gossip it.
        """
        self._world = world
        self._on_changed, self._on_integrated, self._on_durable = on_changed, on_integrated, on_durable
        self.name = name
        self.document = Document(name, client_id)
        self.reach = Reach(self)
        self.state = State()
        self.clock = HybridClock()
        self.next_clock = 0
        """Clock of our next entry; entries below it are written."""
        self.durable_clock = 0
        """Entries of ours below it are on disk."""
        self.drifted: dict[str, int] = {}
        """Author -> the largest stamp of it that was too far ahead of our clock, and was clamped."""
        self.forgotten = 0
        """Entries of our own log that others had and our journal had not. An entry is on disk before anybody hears of
        it: so our journal is not the one that it was."""
        self.on_fresh: Callable[[bytes, tuple[int, ...]], None] = _nothing_of
        """Called with each update of a peer that brought something, and whose entries it brought."""
        self.refuses: Callable[[], ActonceError] | None = None
        """Makes the error that a replica which only follows raises in place of a write."""
        self.journal_bytes = 0
        """Of the updates in the journal, since its last snapshot."""
        self.snapshot_bytes = 0
        """Of the last snapshot."""
        self._unread: dict[EntryId, bytes] = {}
        self._batch: list[bytes] = []
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self.client_id = client_id
        self.beside: Callable[[bytes], list[Row]] = lambda update: []
        """Rows that go to the disk together with an update of ours: with it, or not at all."""
        self.whole: Callable[[], list[Row]] = list
        """Rows that take the place of all that ever went to the disk beside updates."""

    # Own entries

    def stamp(self) -> int:
        """A fresh stamp for an entry that is about to be written."""
        return self.clock.tick(self._world.wall())

    def write(self, record: Record) -> int:
        """Add an entry of ours. Returns the clock that must be durable, or acknowledged, for it to be so.

        Raises:
            NotAMember: this replica only follows.
            PayloadInvalid: it cannot be stored, as what a caller gave for it is too long; nothing has changed.
        """
        self.check_writes()
        try:
            data = encode(record)
        except EntryInvalid as error:
            raise PayloadInvalid(f"this cannot be stored: {error}") from None
        if not self._batch:
            self._world.call_soon(self._flush)
        self._batch.append(data)
        self.state.add((self.client_id, self.next_clock), record)
        self.next_clock += 1
        self._on_changed([record.key, *self.state.take_flipped()])
        return self.next_clock

    def check_writes(self) -> None:
        """
        Raises:
            NotAMember: this replica writes nothing.
        """
        if self.refuses is not None:
            raise self.refuses()

    def task(self, task: str) -> TaskState:
        """What is known of a task: nothing, of one that was forgotten while we thought that it is open."""
        return self.state.tasks.get(task, _NO_STATE)

    def when_durable(self, call: Callable[[], None]) -> None:
        """Run `call` once everything written so far is on disk; at once when it is."""
        if self.durable_clock >= self.next_clock:
            call()
        else:
            self._waiting.append((self.next_clock, call))

    def difference(self, theirs: Mapping[int, int], reply: Callable[[bytes], object]) -> None:
        """Reply what a replica with this state vector lacks, if anything, once what it holds of ours is on disk."""
        self._reply(self.document.diff(theirs), reply)

    def lacking(self, standing: Standing, reply: Callable[[bytes], object]) -> None:
        """As `difference`, for a replica of which all is known, removals too."""
        self._reply(self.document.lacking(standing), reply)

    def _reply(self, update: bytes, reply: Callable[[bytes], object]) -> None:
        def go() -> None:
            reply(update)

        if update != EMPTY_UPDATE:
            self.when_durable(go)

    @property
    def unflushed(self) -> list[tuple[EntryId, bytes]]:
        """What was written in this turn of the loop: in the state by now, and not yet in the document."""
        first = self.next_clock - len(self._batch)
        return [((self.client_id, clock), data) for clock, data in enumerate(self._batch, first)]

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            self._keep(self.document.append(batch))

    def _keep(self, change: Change) -> None:
        clock = self.next_clock
        self.journal_bytes += len(change.update)
        rows = [Row("update", change.update), *self.beside(change.update)]
        self.journal_bytes += sum(len(row.data) for row in rows[1:])
        self._world.journal.append(rows, lambda: self._durable(clock, change.update))

    def _durable(self, clock: int, update: bytes) -> None:
        self.durable_clock = clock
        self._on_durable(update)
        while self._waiting and self._waiting[0][0] <= clock:
            self._waiting.popleft()[1]()

    # Staying small

    def compact(self, log: str, count: int, rules: Rules, cut: Cut) -> tuple[str, ...]:
        """Shorten a log by its first `count` entries, after writing down what is still needed of them.

        Returns the tasks that are forgotten by that. The log has so many entries.
        """
        self._flush()
        own = self.client_id if log == self.name else None
        made = rewrite(self.state, self.document.front(log, count), self._unread, own, rules, cut)
        change = self.document.compact(log, count, made.entries)
        self.next_clock += len(made.entries)
        keys = self._fold(change)
        self._keep(change)
        if flipped := [key for key in keys if key not in self.state.tasks]:
            self._on_changed(flipped)
        return made.forgotten

    def snapshot(self) -> None:
        """Let the whole document take the place of all the updates in the journal."""
        self._flush()
        whole = self.document.diff({})
        self.journal_bytes, self.snapshot_bytes = 0, len(whole)
        self._world.journal.snapshot(whole, _nothing, self.whole())

    # Others' entries

    def recover(self, updates: Iterable[bytes]) -> None:
        """Take the journal's updates, in order, before anything else. They pass the same checks as a peer's."""
        updates = list(updates)
        with garbage.put_off(sum(map(len, updates))):
            for update in updates:
                self.journal_bytes += len(update)
                self._fold(self.document.integrate(update))
        self.document.warm()

    def integrate(self, update: bytes, beside: Sequence[Row] = ()) -> None:
        """Take an update of a peer; what came `beside` it goes to the disk together with it.

        Raises:
            UpdateInvalid: hostile or malformed; nothing changed.
            UpdateGap: it starts beyond what we know of its author; nothing changed; ask the sender for the rest.
            DocumentPoisoned: the library failed inside; the document must be thrown away.
        """
        with garbage.put_off(len(update)):
            self._integrate(update, beside)

    def _integrate(self, update: bytes, beside: Sequence[Row]) -> None:
        change = self.document.integrate(update)
        rows = [*([Row("update", change.update)] if change else ()), *beside]
        if rows:
            self._world.journal.append(rows, _nothing)
        self.journal_bytes += sum(len(row.data) for row in beside)
        if not change:
            return
        self.journal_bytes += len(change.update)
        keys = self._fold(change)
        self.forgotten += sum(entry.log == self.name for entry in change.added)
        self.on_fresh(change.update, change.advanced)
        self._on_integrated(change.advanced)
        self._on_changed(keys)

    def _fold(self, change: Change) -> list[str]:
        keys: dict[str, None] = {}
        wall, add, newest = self._world.wall(), self.state.add, 0
        limit = self.clock.limit(wall)
        for entry in change.added:
            try:
                record = decode(entry.data)
            except EntryInvalid:
                self._unread[entry.id] = entry.data
                continue  # it stays in the document, so that digests agree; it means nothing to any replica
            stamp = record.stamp
            if stamp > newest:
                newest = stamp
            if stamp > limit:
                self.drifted[record.author] = max(stamp, self.drifted.get(record.author, 0))
            add(entry.id, record)
            keys[record.key] = None
        self.clock.observe(newest, wall)
        for entry_id in change.removed:
            gone = self.state.get(entry_id)
            if gone is not None:
                self.state.remove(entry_id)
                keys[gone.key] = None
            self._unread.pop(entry_id, None)
        keys.update(dict.fromkeys(self.state.take_flipped()))
        return list(keys)

    def state_vector(self) -> dict[int, int]:
        """What we have integrated, as others may know it: of our own entries only those on disk. A copy."""
        vector = dict(self.document.state_vector())
        if self.durable_clock:
            vector[self.client_id] = self.durable_clock
        else:
            vector.pop(self.client_id, None)
        return vector

    def clock_of(self, client: int) -> int:
        """The same for one client."""
        return self.durable_clock if client == self.client_id else self.document.clock_of(client)


class Reach(Mapping[int, int]):
    """`Ledger.state_vector` without a copy: what it says is what is so when it is asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getitem__(self, client: int) -> int:
        if clock := self._ledger.clock_of(client):
            return clock
        raise KeyError(client)

    def get(self, client: int, default: Any = None) -> Any:
        return self._ledger.clock_of(client) or default

    def __iter__(self) -> Iterator[int]:
        return iter(self._ledger.state_vector())

    def __len__(self) -> int:
        return len(self._ledger.state_vector())


def _nothing() -> None:
    pass


def _nothing_of(update: bytes, clients: tuple[int, ...]) -> None:
    pass
