"""The replicated document: append-only logs, one for each replica, over pycrdt (Yjs).

Each log is a root array ``log/<replica>``. Only its replica appends to it; each process run of the replica is a new
client id with a chain of its own (see `updates`). Entries are opaque bytes here.

The document keeps, in plain Python, what is needed to judge an update without asking the library: for each client
its log, next clock, removed prefix, and the hashes of its entries. Library and bookkeeping always agree; `entries`
reads back from the library, so that the agreement can be checked at any time.

Positions in an array are never used: which entries a removal means is said by client and clock.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

from msgspec import Struct
from pycrdt import Doc

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
)
from .wire import CLIENT_MAX, CLOCK_MAX

DIGEST_BYTES = 16
_DIGEST_MODULUS = 1 << 8 * DIGEST_BYTES


class Entry(Struct, frozen=True, gc=False):
    """One entry that is present."""

    id: EntryId
    log: str
    data: bytes


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
        self._known: dict[int, int] = {}  # client -> next clock
        self._logs: dict[int, str] = {}  # client -> log name; in order of arrival, which is the order of truncation
        self._deleted: dict[int, int] = {}  # client -> length of the removed prefix
        self._hashes: dict[int, deque[int]] = {}  # client -> hashes of its entries present, by clock
        self._sum = 0
        self._count = 0

    @property
    def next_clock(self) -> int:
        """Clock of the next entry of our own client."""
        return self._known.get(self.client_id, 0)

    @property
    def entry_count(self) -> int:
        """Number of entries present."""
        return self._count

    @property
    def digest(self) -> bytes:
        """Fingerprint of the entries present, as a multiset of (log, data): equal content gives equal digests.

        The sum of BLAKE2b-128 hashes modulo 2**128 (Bellare and Micciancio: "A new paradigm for collision-free
        hashing", 1997). It finds accidents; it is not a defence against someone who picks entries so that sums collide.
        """
        return self._sum.to_bytes(DIGEST_BYTES, "big")

    def logs(self) -> list[str]:
        """Names of all logs that were ever written to, sorted."""
        return sorted(set(self._logs.values()))

    def state_vector(self) -> dict[int, int]:
        """Client -> next clock: a copy."""
        return dict(self._known)

    def encoded_state_vector(self) -> bytes:
        """The state vector as bytes; equal vectors give equal bytes. Says nothing of removals: compare digests too."""
        return encode_state_vector(self._known)

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
        start, removed = self.next_clock, self._deleted.get(self.client_id, 0)
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
        parsed = parse_update(update, known=self._known, logs=self._logs, deleted=self._deleted, limits=self.limits)
        for delta in parsed.deltas:
            if delta.client == self.client_id and delta.end > delta.start:
                raise UpdateInvalid(f"entries of our own client {self.client_id} that we did not write")
        clients = len(self._known) + sum(delta.client not in self._known for delta in parsed.deltas)
        if clients > self.limits.known_clients_max:
            raise UpdateInvalid(f"{clients} client ids in one document; the limit is {self.limits.known_clients_max}")
        return self._apply(parsed.deltas)

    def front(self, log: str, count: int) -> list[EntryId]:
        """The first `count` present entries of a log, or all if it has fewer: by client in order of arrival, and clock.

        The order of clients differs between replicas; so the front is ours, and `compact` names what it removes.
        """
        found: list[EntryId] = []
        for client, name in self._logs.items():
            if name == log and len(found) < count:
                start = self._deleted[client]
                take = min(count - len(found), len(self._hashes[client]))
                found.extend((client, clock) for clock in range(start, start + take))
        return found

    def count(self, log: str) -> int:
        """Number of entries of a log that are present."""
        return sum(len(self._hashes[client]) for client, name in self._logs.items() if name == log)

    def log_of(self, client: int) -> str | None:
        """The log that a client writes to; None for a client that is not known."""
        return self._logs.get(client)

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
        others = (
            Delta(client, log, self._known[client], self._known[client], self._deleted[client], prefix, ())
            for client, prefix in removed.items()
        )
        return self._apply((own, *others))

    def diff(self, their: Mapping[int, int]) -> bytes:
        """An update with all that a document of this state vector lacks.

        It always carries all removals, as they have no clock: `EMPTY_UPDATE` means that nothing is missing *and*
        nothing was ever removed. Clients that we do not know are ignored.
        """
        self._check_sound()
        vector = {client: min(clock, self._known[client]) for client, clock in their.items() if client in self._known}
        data: bytes = self._doc.get_update(encode_state_vector(vector))
        return data

    def entries(self) -> Iterator[Entry]:
        """All entries present, read back from the library: by log, then client in order of arrival, then clock."""
        self._check_sound()
        data: bytes = self._doc.get_update()
        limits = Limits(len(data), len(self._known), len(data), self.limits.entry_bytes_max)
        deltas = {
            delta.client: delta for delta in parse_update(data, known={}, logs={}, deleted={}, limits=limits).deltas
        }
        for log in self.logs():
            for client in [client for client, name in self._logs.items() if name == log]:
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
            self._account(delta, added, removed)
        advanced = sorted(delta.client for delta in deltas if delta.end > delta.start)
        return Change(update, tuple(added), tuple(removed), tuple(advanced))

    def _account(self, delta: Delta, added: list[Entry], removed: list[EntryId]) -> None:
        client, log = delta.client, delta.log
        hashes = self._hashes.setdefault(client, deque())
        gone = min(delta.removed, delta.start) - delta.removed_before  # what came and went in one update was never here
        if gone > 0:
            removed.extend((client, clock) for clock in range(delta.removed_before, delta.removed_before + gone))
            self._sum -= sum(islice(hashes, gone))
            for _ in range(gone):
                hashes.popleft()
            self._count -= gone
        fresh = _entry_hashes(log, delta.entries)
        hashes.extend(fresh)
        added += [Entry((client, clock), log, data) for clock, data in enumerate(delta.entries, delta.first)]
        self._sum = (self._sum + sum(fresh)) % _DIGEST_MODULUS
        self._count += len(fresh)
        self._known[client] = delta.end
        self._logs.setdefault(client, log)
        self._deleted[client] = delta.removed


def _entry_hashes(log: str, entries: Iterable[bytes]) -> list[int]:
    # A log name holds no NUL, so that the pair is read in one way only.
    begun = blake2b(log.encode() + b"\0", digest_size=DIGEST_BYTES)
    found: list[int] = []
    for data in entries:
        hashed = begun.copy()
        hashed.update(data)
        found.append(int.from_bytes(hashed.digest(), "big"))
    return found
