"""What a mesh would know if it had never forgotten anything: the fold of all entries that ever reached a disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from actonce.engine import Engine
from actonce.sim.cluster import Cluster
from actonce_crdt import (
    Cell,
    Change,
    Cursor,
    Done,
    EntryId,
    EntryInvalid,
    Gift,
    Mark,
    QuotaState,
    Record,
    State,
    Tally,
    Task,
    decode,
)

LIVES = (Cell, Tally, Cursor, Gift, Mark)
"""Of these, a write may be late, and counts all the same."""


class Shadow:
    """Sees each entry when it is on a disk, or came from somebody who had it there; keeps it whoever removes it."""

    def __init__(self) -> None:
        self.state = State()
        self._seen: set[EntryId] = set()
        self.outcomes: dict[Done, None] = {}
        """All that were written: of each side on which a task ran to its end."""
        self.sometimes: Counter[str] = Counter()

    def follow(self, engine: Engine) -> None:
        """Look on while this process lives."""
        ledger, pending = engine.ledger, dict[EntryId, Record]()
        for entry_id, record in ledger.state._present.items():  # from its journal; or written in its first turn
            if entry_id[0] == ledger.client_id:
                pending[entry_id] = record
            else:
                self._add(entry_id, record)
        write, fold, durable = ledger.write, ledger._fold, ledger._durable

        def written(record: Record) -> int:
            pending[ledger.client_id, ledger.next_clock] = record
            return write(record)

        def folded(change: Change) -> list[str]:
            floor = engine.upkeep.until
            for entry in change.added:
                try:
                    record = decode(entry.data)
                except EntryInvalid:
                    continue
                if entry.id[0] == ledger.client_id:
                    pending[entry.id] = record
                else:
                    self._add(entry.id, record)
                    self._count(engine, record, floor)
            return fold(change)

        def synced(clock: int, update: bytes) -> None:
            for entry_id in [one for one in pending if one[1] < clock]:
                self._add(entry_id, pending.pop(entry_id))
            durable(clock, update)

        ledger.write, ledger._fold, ledger._durable = written, folded, synced  # type: ignore[method-assign]

    def _add(self, entry_id: EntryId, record: Record) -> None:
        if entry_id not in self._seen:
            self._seen.add(entry_id)
            self.state.add(entry_id, record)
            if isinstance(record, Done):
                self.outcomes[record] = None

    def _count(self, engine: Engine, record: Record, floor: int) -> None:
        """What is new to a replica whose floor is above it: somebody was away, or alone, for that long."""
        if record.stamp <= floor and record not in engine.ledger.state.beside(record).values():
            self.sometimes[f"late writes: {type(record).__name__}"] += isinstance(record, LIVES)
            self.sometimes["late submits"] += isinstance(record, Task)


LIVE: Mapping[str, Callable[[State], Mapping[str, Any]]] = {
    "memory": lambda state: {key: cell.live for key, cell in state.cells.items()},
    "counter": lambda state: {key: tally.words for key, tally in state.tallies.items()},
    "cursor": lambda state: dict(state.cursors),
    "mark": lambda state: dict(state.marks),
    "rights": lambda state: {key: rights(one) for key, one in state.quotas.items()},
}


def rights(state: QuotaState) -> Any:
    return {holder: (state.held(holder), state.late(holder), state.taken(holder)) for holder in state.holders}


def differences(cluster: Cluster, shadow: Shadow) -> Iterator[str]:
    """Of what lives for ever, nothing is another than if nobody had ever forgotten anything. After convergence."""
    for engine in cluster.live():
        for name, look in LIVE.items():
            found, due = look(engine.ledger.state), look(shadow.state)
            for key in sorted(found.keys() | due.keys()):
                if found.get(key) != due.get(key):
                    yield f"{name} {key!r} on {engine.me.name} is {found.get(key)}, and should be {due.get(key)}"
        asked = {key for key, one in shadow.state.tasks.items() if one.done is None and one.task is not None}
        for task in sorted(set(engine.claims.open) - asked):
            yield f"{task}: open on {engine.me.name}, and it is over"
