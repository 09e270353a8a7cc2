"""The replicated state of one replica: document, its fold, and the order "on disk before anyone hears of it".

`write` is visible here at once, on disk a moment later, and on the wire only then: entries written in one turn of
the loop become one document update, one journal row and one push. What others sent is folded as it comes.

Not promised: that a written entry survives a crash before it is durable. Nothing may leave the replica on the
strength of it until then; `when_durable` is the way to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from actonce.errors import ActonceError
from actonce.journal import Row
from actonce.world import World
from actonce_crdt import Change, Document, EntryInvalid, HybridClock, Record, State, decode, encode


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
        self._batch: list[bytes] = []
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self.client_id = client_id

    # Own entries

    def stamp(self) -> int:
        """A fresh stamp for an entry that is about to be written."""
        return self.clock.tick(self._world.wall())

    def write(self, record: Record) -> int:
        """Add an entry of ours. Returns the clock that must be durable, or acknowledged, for it to be so."""
        self.check_writes()
        if not self._batch:
            self._world.call_soon(self._flush)
        self._batch.append(encode(record))
        self.state.add((self.client_id, self.next_clock), record)
        self.next_clock += 1
        self._on_changed([_subject(record)])
        return self.next_clock

    def check_writes(self) -> None:
        """
        Raises:
            NotAMember: this replica writes nothing.
        """
        if self.refuses is not None:
            raise self.refuses()

    def when_durable(self, call: Callable[[], None]) -> None:
        """Run `call` once everything written so far is on disk; at once when it is."""
        if self.durable_clock >= self.next_clock:
            call()
        else:
            self._waiting.append((self.next_clock, call))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        change = self.document.append(batch)
        clock = self.next_clock
        self._world.journal.append([Row("update", change.update)], lambda: self._durable(clock, change.update))

    def _durable(self, clock: int, update: bytes) -> None:
        self.durable_clock = clock
        self._on_durable(update)
        while self._waiting and self._waiting[0][0] <= clock:
            self._waiting.popleft()[1]()

    # Others' entries

    def recover(self, updates: Iterable[bytes]) -> None:
        """Take the journal's updates, in order, before anything else. They pass the same checks as a peer's."""
        for update in updates:
            self._fold(self.document.integrate(update))

    def integrate(self, update: bytes) -> None:
        """Take an update of a peer.

        Raises:
            UpdateInvalid: hostile or malformed; nothing changed.
            UpdateGap: it starts beyond what we know of its author; nothing changed; ask the sender for the rest.
            DocumentPoisoned: the library failed inside; the document must be thrown away.
        """
        change = self.document.integrate(update)
        if not change:
            return
        self._world.journal.append([Row("update", change.update)], _nothing)
        keys = self._fold(change)
        self.forgotten += sum(entry.log == self.name for entry in change.added)
        clients = tuple(sorted({entry.id[0] for entry in change.added}))
        self.on_fresh(change.update, clients)
        self._on_integrated(clients)
        self._on_changed(keys)

    def _fold(self, change: Change) -> list[str]:
        keys: dict[str, None] = {}
        wall = self._world.wall()
        for entry in change.added:
            try:
                record = decode(entry.data)
            except EntryInvalid:
                continue  # it stays in the document, so that digests agree; it means nothing to any replica
            if not self.clock.observe(record.stamp, wall):
                self.drifted[record.author] = max(record.stamp, self.drifted.get(record.author, 0))
            self.state.add(entry.id, record)
            keys[_subject(record)] = None
        for entry_id in change.removed:
            self.state.remove(entry_id)
        return list(keys)

    def state_vector(self) -> dict[int, int]:
        """What we have integrated, as others may know it: of our own entries only those on disk."""
        vector = dict(self.document.state_vector())
        if self.durable_clock:
            vector[self.client_id] = self.durable_clock
        else:
            vector.pop(self.client_id, None)
        return vector


def _subject(record: Record) -> str:
    """The task or effect that an entry is about."""
    return record.key


def _nothing() -> None:
    pass


def _nothing_of(update: bytes, clients: tuple[int, ...]) -> None:
    pass
