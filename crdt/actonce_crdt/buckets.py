"""Where two tables of chains differ, found in a few kilobytes however many chains there are. Pure.

A *row* is what is known of one chain: its next clock, and the length of its removed prefix. Chains are spread over
`width` buckets by client id (ids are random). A bucket's fingerprint is the sum, modulo 2**64, of the BLAKE2b-64 hashes
of its rows: it is kept while rows change, in any order (Bellare and Micciancio: "A new paradigm for collision-free
hashing", 1997), and half the width is the sum of two halves. Equal tables have equal fingerprints; for buckets that
differ, rows are compared. That is the one level of a hash tree that pays (Demers et al. 1987; Dynamo has more of them):
the rows of a bucket are twice as long as its fingerprint times the number of its chains, which is some tens.

Not guaranteed: anything against somebody who picks client ids so that sums collide. By accident, two different buckets
pass for equal once in 2**64 comparisons; the digest of the document, which is compared as well, shows it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress
from operator import ne
from struct import Struct, pack, unpack
from typing import Final

from .errors import StateVectorInvalid
from .wire import CLIENT_MAX, CLOCK_MAX

WIDTH_MIN: Final = 8
WIDTH_MAX: Final = 1024
"""Buckets, a power of two. More would make the fingerprints longer than the rows that they save."""
CHAINS_A_BUCKET: Final = 32
SUM_BYTES: Final = 8

Row = tuple[int, int]
"""Next clock, removed prefix; (0, 0) for a chain that is not known."""
UNKNOWN: Final[Row] = (0, 0)

_ROW: Final = Struct(">QII")
_COUNT: Final = Struct(">I")
_MODULUS: Final = 1 << 8 * SUM_BYTES


def width_for(chains: int) -> int:
    """How many buckets for a table of so many chains."""
    width = WIDTH_MIN
    while width < WIDTH_MAX and width * CHAINS_A_BUCKET < chains:
        width *= 2
    return width


def bucket_of(client: int, width: int) -> int:
    """The bucket of a client id."""
    return client & (width - 1)


def row_hash(client: int, row: Row) -> int:
    """What a row adds to the sum of its bucket."""
    return int.from_bytes(blake2b(_ROW.pack(client, *row), digest_size=SUM_BYTES).digest(), "big")


class Buckets:
    """The fingerprints of one table that changes, and which clients are in which bucket.

    The table is two mappings that somebody else keeps: client -> next clock, and client -> removed prefix. `touch` is
    called with a client *before* its row changes. Hashing is put off until somebody asks: it costs nothing to append.
    """

    __slots__ = ("_clients", "_deleted", "_folded", "_known", "_stale", "_sums")

    def __init__(self, known: Mapping[int, int], deleted: Mapping[int, int]) -> None:
        self._known, self._deleted = known, deleted
        self._sums = [0] * WIDTH_MAX
        self._folded = [0] * WIDTH_MIN  # the same at the width that was asked for last
        self._clients: list[list[int]] = [[] for _ in range(WIDTH_MAX)]
        self._stale: dict[int, Row] = {}  # client -> the row that its bucket's sum still holds

    def touch(self, client: int) -> None:
        """The row of this client is about to change."""
        if client not in self._stale:
            row = self._known.get(client, 0), self._deleted.get(client, 0)
            if row == UNKNOWN:
                self._clients[bucket_of(client, WIDTH_MAX)].append(client)
            self._stale[client] = row

    def sums(self, width: int) -> tuple[int, ...]:
        """The fingerprints of all buckets at this width, as they are now."""
        for client, before in self._stale.items():
            after = self._known[client], self._deleted[client]
            change = row_hash(client, after) - (row_hash(client, before) if before != UNKNOWN else 0)
            for sums in (self._sums, self._folded):
                place = bucket_of(client, len(sums))
                sums[place] = (sums[place] + change) % _MODULUS
        self._stale.clear()
        if len(self._folded) != width:
            self._folded = _fold(self._sums, width)
        return tuple(self._folded)

    def clients(self, width: int, buckets: Iterable[int]) -> list[int]:
        """All clients in these buckets, sorted."""
        places = (place for bucket in buckets for place in range(bucket, WIDTH_MAX, width))
        return sorted(client for place in places for client in self._clients[place])


def _fold(sums: list[int], width: int) -> list[int]:
    """A copy at another width, not a larger one."""
    sums = list(sums)
    while len(sums) > width:
        half = len(sums) // 2
        sums = [(one + other) % _MODULUS for one, other in zip(sums[:half], sums[half:], strict=True)]
    return sums


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a document at one moment. Shared: never changed by anybody."""

    version: int
    """Of the document: what it changed later has a higher one."""
    known: Mapping[int, int]
    deleted: Mapping[int, int]

    def row(self, client: int) -> Row:
        """What was known of a chain."""
        return self.known.get(client, 0), self.deleted.get(client, 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """All that another document held at one moment: in some buckets what it says, in all others what `base` says."""

    base: Table
    """A table of ours, with whose fingerprints the other one compared its own."""
    width: int
    buckets: frozenset[int]
    """Those in which its fingerprint was another."""
    rows: Mapping[int, Row] = field(default_factory=dict)
    """All rows of it in these."""

    def row(self, client: int) -> Row:
        """What it knew of a chain."""
        if bucket_of(client, self.width) in self.buckets:
            return self.rows.get(client, UNKNOWN)
        return self.base.row(client)


def differing(ours: Sequence[int], theirs: Sequence[int]) -> frozenset[int]:
    """The buckets whose fingerprints differ. Both are at one width."""
    return frozenset(compress(range(len(ours)), map(ne, ours, theirs)))


def encode_sums(sums: Sequence[int]) -> bytes:
    """Fingerprints as bytes."""
    return pack(f">{len(sums)}Q", *sums)


def parse_sums(data: bytes) -> tuple[int, ...]:
    """
    Raises:
        StateVectorInvalid: not the fingerprints of a power of two of buckets, within the bounds.
    """
    width, rest = divmod(len(data), SUM_BYTES)
    if rest or not is_width(width):
        raise StateVectorInvalid(f"{len(data)} bytes are not the fingerprints of {WIDTH_MIN} to {WIDTH_MAX} buckets")
    return unpack(f">{width}Q", data)


def is_width(width: int) -> bool:
    """Whether buckets may be so many."""
    return WIDTH_MIN <= width <= WIDTH_MAX and width & (width - 1) == 0


def encode_rows(width: int, buckets: Iterable[int], rows: Mapping[int, Row]) -> bytes:
    """Some buckets, and all the rows in them, as bytes: the same in one form only. A bit for each bucket, the number of
    rows, and 16 bytes a row: more than varints, and a fifth of their time."""
    named = sum(1 << bucket for bucket in buckets)
    packed = b"".join(_ROW.pack(client, *rows[client]) for client in sorted(rows))
    return named.to_bytes(width // 8, "big") + _COUNT.pack(len(rows)) + packed


def parse_rows(data: bytes, width: int, rows_max: int) -> tuple[frozenset[int], dict[int, Row]]:
    """The buckets and rows that `encode_rows` wrote at this width, which is a sound one.

    Raises:
        StateVectorInvalid: a row outside the buckets, twice, out of order or impossible; more than `rows_max`. No count
            in the bytes makes it allocate anything ahead.
    """
    bits, head = width // 8, width // 8 + _COUNT.size
    if len(data) < head:
        raise StateVectorInvalid("rows: cut off")
    named = f"{int.from_bytes(data[:bits], 'big'):b}"
    buckets = frozenset(bucket for bucket, bit in enumerate(reversed(named)) if bit == "1")
    (count,) = _COUNT.unpack_from(data, bits)
    if count > rows_max:
        raise StateVectorInvalid(f"rows: {count}, and at most {rows_max} are known")
    if len(data) != head + count * _ROW.size:
        raise StateVectorInvalid(f"rows: {len(data)} bytes are not {count} rows")
    rows: dict[int, Row] = {}
    last = -1
    for client, clock, removed in _ROW.iter_unpack(data[head:]):
        if not last < client <= CLIENT_MAX or bucket_of(client, width) not in buckets:
            raise StateVectorInvalid(f"rows: client {client} twice, out of order, in another bucket or no client")
        if not removed <= clock <= CLOCK_MAX or not clock:
            raise StateVectorInvalid(f"rows: {removed} of {clock} entries of client {client} removed")
        rows[client], last = (clock, removed), client
    return buckets, rows
