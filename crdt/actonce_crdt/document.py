"""The replicated document: append-only logs, one for each replica, over pycrdt (Yjs).

Each log is a root array ``log/<replica>``. Only its replica appends to it; each process run of the replica is a new
client id with a chain of its own (see `updates`). Entries are opaque bytes here.

What is needed to judge an update without asking the library is kept beside it, in plain Python (`chains`). Library and
bookkeeping always agree; `entries` reads back from the library, so that the agreement can be checked at any time.

Positions in an array are never used: which entries a removal means is said by client and clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pycrdt import Doc

from .buckets import Row, Standing, Table
from .chains import Chains, Entry
from .entries import ENTRY_BYTES_MAX
from .errors import DocumentPoisoned, EntryInvalid, EntryTooLarge, UpdateInvalid
from .fields import name_is_valid
from .shelves import EntryId
from .updates import (
    DEFAULT_LIMITS,
    EMPTY_UPDATE,
    Delta,
    Limits,
    encode_state_vector,
    encode_update,
    parse_update,
    read_entries,
)
from .wire import CLIENT_MAX, CLOCK_MAX


@dataclass(frozen=True, slots=True)
class Change:
    """What a call changed. `update` carries exactly that, nothing the document held before: journal it, push it.

    `update` is `EMPTY_UPDATE` when nothing changed. Entries that came and were removed in one update are in neither
    list.
    """

    update: bytes
    added: tuple[Entry, ...]
    removed: tuple[EntryId, ...]
    advanced: tuple[int, ...] = ()
    """Clients of which more is known now, sorted: also where all that is new was removed before it came here."""

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return self.update != EMPTY_UPDATE


NO_CHANGE = Change(EMPTY_UPDATE, (), ())


class Document:
    """One replica's copy of the document. Synchronous, single-threaded, no I/O, no callbacks.

    `client_id` must never have been used before, by any incarnation of any replica: after a crash, a reused id would
    name different entries on different replicas, for ever. After the library panicked, every method that touches it
    raises DocumentPoisoned.
    """

    def __init__(self, replica: str, client_id: int, *, limits: Limits = DEFAULT_LIMITS) -> None:
        if not name_is_valid(replica):
            raise ValueError(f"{replica!r} is not a replica name")
        if not 0 < client_id <= CLIENT_MAX:
            raise ValueError(f"a client id is between 1 and {CLIENT_MAX}")
        self.replica = replica
        self.client_id = client_id
        self.limits = limits
        self._doc: Doc[Any] = Doc(client_id=client_id)
        self._poison = ""
        self._chains = Chains()

    @property
    def next_clock(self) -> int:
        """Clock of the next entry of our own client."""
        return self._chains.known.get(self.client_id, 0)

    @property
    def entry_count(self) -> int:
        """Number of entries present."""
        return self._chains.count

    @property
    def digest(self) -> bytes:
        """Fingerprint of the entries present, as a multiset of (log, data): equal content gives equal digests.

        The sum of BLAKE2b-128 hashes modulo 2**128 (Bellare and Micciancio: "A new paradigm for collision-free
        hashing", 1997). It finds accidents; it is not a defence against someone who picks entries so that sums collide.
        """
        return self._chains.digest

    def logs(self) -> list[str]:
        """Names of all logs that were ever written to, sorted."""
        return sorted(self._chains.live)

    @property
    def client_count(self) -> int:
        """Number of client ids that ever wrote here."""
        return len(self._chains.known)

    @property
    def version(self) -> int:
        """Grows with every chain that changes."""
        return self._chains.version

    def clock_of(self, client: int) -> int:
        """The next clock of a client; 0 for one that is not known."""
        return self._chains.known.get(client, 0)

    def state_vector(self) -> dict[int, int]:
        """Client -> next clock: a copy."""
        return dict(self._chains.known)

    def has_vector(self, vector: Mapping[int, int]) -> bool:
        """Whether this is the state vector."""
        return self._chains.known == vector

    def encoded_state_vector(self) -> bytes:
        """The state vector as bytes; equal vectors give equal bytes. Says nothing of removals: compare digests too."""
        return encode_state_vector(self._chains.known)

    def append(self, entries: Sequence[bytes]) -> Change:
        """Append to our own log, all or nothing.

        Raises EntryInvalid or EntryTooLarge for data that no replica would accept.
        """
        self._check_sound()
        return self._apply((self._append_delta(entries, None),)) if entries else NO_CHANGE

    def _append_delta(self, entries: Sequence[bytes], prefix: int | None) -> Delta:
        for data in entries:
            if type(data) is not bytes or not data:
                raise EntryInvalid("an entry is a byte string that is not empty")
            if len(data) > min(ENTRY_BYTES_MAX, self.limits.entry_bytes_max):
                raise EntryTooLarge(f"entry of {len(data)} bytes: the limit is {self.limits.entry_bytes_max}")
        start, removed = self.next_clock, self._chains.deleted.get(self.client_id, 0)
        end = start + len(entries)
        if end > CLOCK_MAX:
            raise EntryInvalid("this incarnation has used up its clocks: start a new one")
        after = removed if prefix is None else prefix
        return Delta(self.client_id, self.replica, start, end, removed, after, tuple(entries))

    def integrate(self, update: bytes) -> Change:
        """Take in an update from a peer or the journal: all of it, or nothing and an error.

        Raises UpdateInvalid, UpdateGap (see `parse_update`) or DocumentPoisoned. What is known already is ignored, so
        that updates may come twice and, between clients, in any order. The entries themselves are not decoded: an entry
        that does not decode stays in the document, the same everywhere, and out of the view.
        """
        self._check_sound()
        chains = self._chains
        parsed = parse_update(update, known=chains.known, logs=chains.logs, deleted=chains.deleted, limits=self.limits)
        for delta in parsed.deltas:
            if delta.client == self.client_id and delta.end > delta.start:
                raise UpdateInvalid(f"entries of our own client {self.client_id} that we did not write")
        clients = self.client_count + sum(delta.client not in chains.known for delta in parsed.deltas)
        if clients > self.limits.known_clients_max:
            raise UpdateInvalid(f"{clients} client ids in one document; the limit is {self.limits.known_clients_max}")
        return self._apply(parsed.deltas)

    def front(self, log: str, count: int) -> list[EntryId]:
        """The first `count` present entries of a log, or all if it has fewer: by client in order of arrival, and clock.

        The order of clients differs between replicas; so the front is ours, and `compact` names what it removes.
        """
        return self._chains.front(log, count)

    def count(self, log: str) -> int:
        """Number of entries of a log that are present."""
        return self._chains.count_of(log)

    def log_of(self, client: int) -> str | None:
        """The log that a client writes to; None for a client that is not known."""
        return self._chains.logs.get(client)

    def compact(self, log: str, count: int, entries: Sequence[bytes]) -> Change:
        """Append `entries` to our own log and remove the `front` of a log, in one change.

        Whoever integrates the update has all that we had written before: it starts at our clock, and is refused as a
        gap where that is not reached. That is what makes removals safe to hear of in any order (see `compaction`), so
        there must be something to append.

        Raises ValueError when there is nothing to append, or the log has fewer than `count` entries.
        """
        self._check_sound()
        if not entries:
            raise ValueError("a removal needs an entry that it comes with")
        front = self.front(log, count)
        if len(front) < count or count < 0:
            raise ValueError(f"cannot remove {count} entries of log {log!r}: it has {len(front)}")
        removed: dict[int, int] = {}
        for client, clock in front:
            removed[client] = clock + 1
        own = self._append_delta(entries, removed.pop(self.client_id, None))
        known, deleted = self._chains.known, self._chains.deleted
        others = (
            Delta(client, log, known[client], known[client], deleted[client], prefix, ())
            for client, prefix in removed.items()
        )
        return self._apply((own, *others))

    def diff(self, their: Mapping[int, int]) -> bytes:
        """An update with all that a document of this state vector lacks.

        It always carries all removals, as they have no clock: `EMPTY_UPDATE` means that nothing is missing *and*
        nothing was ever removed. Clients that we do not know are ignored.
        """
        self._check_sound()
        known = self._chains.known
        vector = {client: min(clock, known[client]) for client, clock in their.items() if client in known}
        data: bytes = self._doc.get_update(encode_state_vector(vector))
        return data

    # Where there are many chains: what differs, without naming them all

    def warm(self) -> None:
        """Do now what the first comparison would have to do: it is linear in the chains, later ones are not."""
        self._chains.warm()

    def sums(self, width: int) -> tuple[int, ...]:
        """The fingerprints of all chains, in so many buckets: see `buckets`."""
        return self._chains.buckets.sums(width)

    def table(self) -> Table:
        """The rows of all chains as they are now."""
        return self._chains.table()

    def rows(self, width: int, buckets: frozenset[int]) -> dict[int, Row]:
        """The rows of all chains in these buckets."""
        known, deleted = self._chains.known, self._chains.deleted
        return {client: (known[client], deleted[client]) for client in self._chains.buckets.clients(width, buckets)}

    def changed_since(self, version: int) -> list[int]:
        """Clients whose row changed after this version, sorted."""
        return self._chains.changed_since(version)

    def equal_part(self, standing: Standing) -> dict[int, int]:
        """Client -> next clock of what another document, which stands like this, holds as our table did: a copy."""
        found = dict(standing.base.known)
        for client in self._chains.buckets.clients(standing.width, standing.buckets):
            found.pop(client, None)
        return found

    def lacking(self, standing: Standing) -> bytes:
        """An update with all that a document which stands like this lacks: its removals too, and no others.

        `standing.base` is a table of ours. The update is as good as `diff`: since the standing says all that the other
        one held at one moment, a removal never goes out without what it rests on, unless that is there already. It
        costs what differs, not what there is, but for one look of the library at all chains where many entries, or
        long ones, are missing.
        """
        self._check_sound()
        chains = self._chains
        clients = {*chains.buckets.clients(standing.width, standing.buckets)}
        clients.update(chains.changed_since(standing.base.version))
        wanted: dict[int, int] = {}
        missing: list[tuple[int, Row]] = []
        for client in sorted(clients):
            clock, removed = standing.row(client)
            end, gone = chains.known[client], chains.deleted[client]
            if end > clock or gone > removed:
                missing.append((client, (clock, removed)))
                if end > max(clock, gone):
                    wanted[client] = max(clock, gone)
        entries = self._entries_from(wanted) if wanted else {}
        return encode_update(tuple(self._delta(client, row, entries) for client, row in missing))

    def _delta(self, client: int, row: Row, entries: Mapping[int, tuple[bytes, ...]]) -> Delta:
        chains, (clock, removed) = self._chains, row
        end, gone = chains.known[client], chains.deleted[client]
        before = 0 if gone > removed else gone  # from its beginning: never a gap, whatever the other one did meanwhile
        return Delta(client, chains.logs[client], min(clock, end), end, before, gone, entries.get(client, ()))

    def _entries_from(self, clocks: dict[int, int]) -> dict[int, tuple[bytes, ...]]:
        """Client -> its entries from this clock on, which are all present."""
        tails = {client: self._chains.tail(client, clock) for client, clock in clocks.items()}
        kept = {client: entries for client, entries in tails.items() if entries is not None}
        if len(kept) == len(clocks):
            return kept
        data: bytes = self._doc.get_update(self._chains.vector_but(clocks))
        return read_entries(data, self._chains.logs, self._own_limits(data))

    def _own_limits(self, data: bytes) -> Limits:
        return Limits(len(data), self.client_count, self.client_count, len(data), self.limits.entry_bytes_max)

    def entries(self) -> Iterator[Entry]:
        """All entries present, read back from the library: by log, then client in order of arrival, then clock."""
        self._check_sound()
        data: bytes = self._doc.get_update()
        limits = self._own_limits(data)
        deltas = {
            delta.client: delta for delta in parse_update(data, known={}, logs={}, deleted={}, limits=limits).deltas
        }
        for log in self.logs():
            for client in self._chains.live[log]:
                delta = deltas[client]
                for clock, entry in enumerate(delta.entries, delta.first):
                    yield Entry((client, clock), delta.log, entry)

    def _check_sound(self) -> None:
        if self._poison:
            raise DocumentPoisoned(self._poison)

    def _apply(self, deltas: tuple[Delta, ...]) -> Change:
        """Hand a checked change to the library, then keep the books."""
        if not deltas:
            return NO_CHANGE
        update = encode_update(deltas)
        try:
            self._doc.apply_update(update)
        except BaseException as error:
            # A Rust panic is a BaseException of a class that cannot be imported. Whatever it was, the document may have
            # taken a part of the update: it is not used again.
            self._poison = f"the CRDT library failed on an update of {len(update)} bytes: {error!r}"
            if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
                raise DocumentPoisoned(self._poison) from error
            raise
        added: list[Entry] = []
        removed: list[EntryId] = []
        for delta in deltas:
            self._chains.account(delta, added, removed)
        advanced = sorted(delta.client for delta in deltas if delta.end > delta.start)
        return Change(update, tuple(added), tuple(removed), tuple(advanced))
