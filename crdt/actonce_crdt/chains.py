"""What is known of each chain of the document, in plain Python: no library has to be asked to judge an update.

A chain is what one process run wrote (see `updates`): its log, its next clock, its removed prefix, the hashes of its
entries that are present. Most chains of an old document have none: their process ended long ago, and compaction took
all that they held. Such a chain is *spent*. It is three numbers that have to be known for ever; everything here that is
done often is done for the others only, of which there are about as many as replicas.
"""

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice

from msgspec import Struct

from .buckets import Buckets, Table, width_for
from .shelves import EntryId
from .updates import Delta
from .wire import varint

DIGEST_BYTES = 16
TAIL_ENTRIES, TAIL_ENTRY_BYTES = 256, 1024
"""Of each live chain the last entries are kept here as well, if none of them is long: most differences are no more."""
_DIGEST_MODULUS = 1 << 8 * DIGEST_BYTES


class Entry(Struct, frozen=True, gc=False):
    """One entry that is present."""

    id: EntryId
    log: str
    data: bytes


class Chains:
    """The books of one document. They follow deltas that somebody else has checked."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}  # client -> next clock
        self.logs: dict[int, str] = {}  # client -> log name
        self.deleted: dict[int, int] = {}  # client -> length of the removed prefix
        self.hashes: dict[int, deque[int]] = {}  # client -> hashes of its entries, by clock; none of a spent chain
        self.live: dict[str, dict[int, None]] = {}  # log -> its chains that are not spent, in order of arrival
        self._tails: dict[int, deque[bytes]] = {}  # client -> its last entries, without a gap
        self.sum = 0
        self.count = 0
        self.version = 0
        self.buckets = Buckets(self.known, self.deleted)
        self._changed: dict[int, int] = {}  # client -> version at which its row changed last, the latest at the end
        self._table: Table | None = None
        self._spent: bytearray | None = None  # the spent chains' part of the state vector; None: to be made

    @property
    def digest(self) -> bytes:
        """Of the entries that are present: see `Document.digest`."""
        return self.sum.to_bytes(DIGEST_BYTES, "big")

    def account(self, delta: Delta, added: list[Entry], removed: list[EntryId]) -> None:
        """Follow a change, and say what came and what went."""
        client, log = delta.client, delta.log
        self.buckets.touch(client)
        hashes = self.hashes.get(client)
        gone = min(delta.removed, delta.start) - delta.removed_before  # what came and went in one update was never here
        if gone > 0 and hashes is not None:
            removed.extend((client, clock) for clock in range(delta.removed_before, delta.removed_before + gone))
            self.sum -= sum(islice(hashes, gone))
            for _ in range(gone):
                hashes.popleft()
            self.count -= gone
        fresh = _entry_hashes(log, delta.entries)
        added += [Entry((client, clock), log, data) for clock, data in enumerate(delta.entries, delta.first)]
        self.sum = (self.sum + sum(fresh)) % _DIGEST_MODULUS
        self.count += len(fresh)
        self._file(client, log, hashes, fresh)
        if fresh:
            self._keep_tail(client, delta.entries)
        self.known[client] = delta.end
        self.logs.setdefault(client, log)
        self.deleted[client] = delta.removed
        if self._spent is not None and client not in self.hashes:
            self._spent += _vector_row(client, delta.end)
        self.version += 1
        self._changed.pop(client, None)
        self._changed[client] = self.version

    def _file(self, client: int, log: str, hashes: deque[int] | None, fresh: list[int]) -> None:
        """Keep the hashes, and know the chain as spent or not."""
        live = self.live.setdefault(log, {})
        if hashes is not None:
            hashes.extend(fresh)
            if not hashes:
                del self.hashes[client], live[client]
                self._tails.pop(client, None)
            return
        if client in self.known:
            self._spent = None  # it was spent, and is not any more, or ends elsewhere
        if fresh:
            self.hashes[client] = deque(fresh)
            live[client] = None

    def _keep_tail(self, client: int, entries: tuple[bytes, ...]) -> None:
        tail = self._tails.setdefault(client, deque(maxlen=TAIL_ENTRIES))
        if max(map(len, entries)) <= TAIL_ENTRY_BYTES:
            tail.extend(entries)
        else:
            tail.clear()

    def tail(self, client: int, clock: int) -> tuple[bytes, ...] | None:
        """The entries of a chain from this clock on, which are all present; None if the library has to be asked."""
        kept, count = self._tails.get(client, ()), self.known[client] - clock
        return tuple(islice(kept, len(kept) - count, None)) if len(kept) >= count else None

    def front(self, log: str, count: int) -> list[EntryId]:
        """The first `count` present entries of a log: see `Document.front`."""
        found: list[EntryId] = []
        for client in self.live.get(log, ()):
            if len(found) >= count:
                break
            start = self.deleted[client]
            take = min(count - len(found), len(self.hashes[client]))
            found.extend((client, clock) for clock in range(start, start + take))
        return found

    def count_of(self, log: str) -> int:
        """Number of entries of a log that are present."""
        return sum(len(self.hashes[client]) for client in self.live.get(log, ()))

    def changed_since(self, version: int) -> list[int]:
        """Clients whose row changed after this version, sorted. Costs what changed, not what there is."""
        found = []
        for client in reversed(self._changed):
            if self._changed[client] <= version:
                break
            found.append(client)
        return sorted(found)

    def table(self) -> Table:
        """All rows as they are now; the same object until one changes."""
        if self._table is None or self._table.version != self.version:
            self._table = Table(self.version, dict(self.known), dict(self.deleted))
        return self._table

    def warm(self) -> None:
        """Do now what the first comparison and the first difference would have to do."""
        self.buckets.sums(width_for(len(self.known)))
        self.vector_but({})

    def vector_but(self, clocks: dict[int, int]) -> bytes:
        """The state vector as bytes, in no order, with other clocks for some live chains."""
        if self._spent is None:
            spent = (client for client in self.known if client not in self.hashes)
            self._spent = bytearray().join(_vector_row(client, self.known[client]) for client in spent)
        live = (_vector_row(client, clocks.get(client, self.known[client])) for client in self.hashes)
        return varint(len(self.known)) + self._spent + b"".join(live)


def _vector_row(client: int, clock: int) -> bytes:
    return varint(client) + varint(clock)


def _entry_hashes(log: str, entries: Iterable[bytes]) -> list[int]:
    # A log name holds no NUL, so that the pair is read in one way only.
    begun = blake2b(log.encode() + b"\0", digest_size=DIGEST_BYTES)
    found: list[int] = []
    for data in entries:
        hashed = begun.copy()
        hashed.update(data)
        found.append(int.from_bytes(hashed.digest(), "big"))
    return found
