"""Updates and state vectors of the Yjs v1 format, for our schema and nothing else.

Bytes from a peer never reach the CRDT library. They are parsed here into typed `Delta`s, checked against what is known
of the document, and written again by `encode_update`: what the library reads is always our own writing. The library
itself must not be trusted with foreign bytes: one zero-length block of 7 bytes crashes or hangs the process later on.

The schema. Each incarnation of a replica is one client id and writes one *chain*: clocks 0, 1, 2 ... with one entry
each. The first item of a chain names its root array ``log/<replica>``; each later one has its predecessor in the same
chain as left origin. Entries are removed only as a prefix of a chain. So what is known of a chain is three values: its
log, its next clock, and the length of its removed prefix.

    update    = varint(#chains) chain* varint(#deletes) delete*
    chain     = varint(#blocks) varint(client) varint(clock) block*
    block     = info [parent | origin] content
    info      = content kind: 1 removed, 8 values; plus 0x80 when an origin follows
    parent    = 01 string("log/<replica>")                    only at clock 0
    origin    = varint(client) varint(clock of this block - 1)  everywhere else
    content   = varint(n)                                      removed entries
              | varint(n) (74 varint(size) bytes){n}           entries
    delete    = varint(client) varint(#ranges) (varint(start) varint(length))*

Everything else of the format is refused: maps, nested types, texts, formats, documents, moves, garbage-collected and
skipped blocks, right origins, other roots, other values than byte strings, empty blocks, repeated clients, long
spellings of numbers, bytes after the end.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .entries import ENTRY_BYTES_MAX
from .errors import StateVectorInvalid, UpdateGap, UpdateInvalid
from .fields import NAME_BYTES_MAX
from .wire import CLIENT_MAX, CLOCK_MAX, Cursor, Malformed, varint

EMPTY_UPDATE: Final = b"\0\0"
ROOT_PREFIX: Final = "log/"

_REMOVED: Final = 1  # ContentDeleted
_VALUES: Final = 8  # ContentAny
_ORIGIN: Final = 0x80  # the block has a left origin
_BUFFER: Final = 0x74  # an Any that is a byte string
_ROOT_BYTES_MAX: Final = len(ROOT_PREFIX) + NAME_BYTES_MAX
_ROOT: Final = re.compile(rb"log/([a-z0-9][a-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one update may ask of us. Work and memory are linear in its bytes whatever these say."""

    update_bytes_max: int = 256 * 1024 * 1024
    """A document has to fit into one: for a replica that joins, and for the snapshot in a journal."""
    clients_max: int = 300_000
    known_clients_max: int = 300_000
    """Client ids in the whole document, one for each process run: three replicas that restart each hour, for eleven
    years. What each costs is measured (README.md)."""
    blocks_max: int = 1_048_576
    entry_bytes_max: int = ENTRY_BYTES_MAX


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Delta:
    """What an update changes in one chain.

    Clocks ``[start, end)`` are new; ``[0, removed)`` is the removed prefix afterwards, ``[0, removed_before)`` was it
    before. `entries` are the new ones that are present: those of clocks ``[max(start, removed), end)``.
    """

    client: int
    log: str
    start: int
    end: int
    removed_before: int
    removed: int
    entries: tuple[bytes, ...]
    body: bytes = field(default=b"", compare=False, repr=False)
    """The entries as they stand in an update, if they came in one: parsing has shown that these are the very bytes that
    we would write. Empty: to be written."""

    @property
    def first(self) -> int:
        """Clock of the first of `entries`."""
        return max(self.start, self.removed)


@dataclass(frozen=True, slots=True)
class ParsedUpdate:
    """The part of an update that is new here: one delta for each chain that it changes."""

    deltas: tuple[Delta, ...]

    @property
    def items(self) -> tuple[tuple[int, int, str, bytes], ...]:
        """(client, clock, log, data) of each new entry that is present."""
        return tuple(
            (delta.client, clock, delta.log, data)
            for delta in self.deltas
            for clock, data in enumerate(delta.entries, delta.first)
        )

    @property
    def deletes(self) -> tuple[tuple[int, int, int], ...]:
        """(client, start, length) of each newly removed range."""
        return tuple(
            (delta.client, delta.removed_before, delta.removed - delta.removed_before)
            for delta in self.deltas
            if delta.removed > delta.removed_before
        )


class _Chain:
    """One chain while its section is read."""

    __slots__ = ("client", "end", "log", "removed_end", "runs", "start")

    def __init__(self, client: int, log: str | None, start: int) -> None:
        self.client = client
        self.log = log
        self.start = start
        self.end = start
        self.removed_end = 0  # end of the last block of removed entries
        self.runs: list[tuple[int, list[bytes], int, int]] = []  # first clock, entries, where they stand in the bytes


def parse_update(
    data: bytes,
    *,
    known: Mapping[int, int],
    logs: Mapping[int, str],
    deleted: Mapping[int, int],
    limits: Limits = DEFAULT_LIMITS,
) -> ParsedUpdate:
    """What an update changes in a document of which this is known.

    Args: `known`: client -> next clock; `logs`: client -> log name; `deleted`: client -> length of the removed prefix.

    Raises UpdateInvalid for bytes that no correct replica produces. Raises UpdateGap for a sound update that builds on
    something missing here: entries that start beyond the known clock of their client (the library would apply them,
    and equal state vectors could then hide different content for ever), or removals beyond it. Malformed bytes are
    never reported as a gap.

    Not checked: that entries which are known already are said the same way again (they are skipped), and that the
    entries decode.
    """
    if len(data) > limits.update_bytes_max:
        raise UpdateInvalid(f"update of {len(data)} bytes: the limit is {limits.update_bytes_max}")
    cursor = Cursor(data)
    try:
        chains = _read_chains(cursor, logs, limits)
        prefixes, gap = _read_deletes(cursor, chains, known, deleted, limits)
        cursor.finish()
    except IndexError:
        raise UpdateInvalid("update: cut off") from None
    except Malformed as error:
        raise UpdateInvalid(f"update: {error} (near byte {cursor.pos})") from None
    for client, chain in chains.items():
        if chain.removed_end > prefixes.get(client, deleted.get(client, 0)):
            raise UpdateInvalid(f"update: removed entries of client {client} outside its removed prefix")
        if chain.start > known.get(client, 0):
            gap = f"entries of client {client} start at clock {chain.start}, known up to {known.get(client, 0)}"
    if gap:
        raise UpdateGap(gap)
    return ParsedUpdate(tuple(_deltas(data, chains, prefixes, known, logs, deleted)))


def read_entries(data: bytes, logs: Mapping[int, str], limits: Limits) -> dict[int, tuple[bytes, ...]]:
    """Client -> its entries in an update of our own, of which nothing else is looked at: no removals, no clocks."""
    chains = _read_chains(Cursor(data), logs, limits)
    return {client: tuple(data for _, run, _, _ in chain.runs for data in run) for client, chain in chains.items()}


def _read_chains(cursor: Cursor, logs: Mapping[int, str], limits: Limits) -> dict[int, _Chain]:
    chains: dict[int, _Chain] = {}
    budget = limits.blocks_max
    for _ in range(cursor.varint(limits.clients_max)):
        blocks = cursor.varint(budget)
        budget -= blocks
        client = cursor.varint(CLIENT_MAX)
        chain = _Chain(client, logs.get(client), cursor.varint(CLOCK_MAX))
        if not blocks:
            raise Malformed("a client without blocks")
        if client in chains:
            raise Malformed(f"client {client} twice")
        chains[client] = chain
        for _ in range(blocks):
            _read_block(cursor, chain, limits.entry_bytes_max)
    return chains


def _read_block(cursor: Cursor, chain: _Chain, entry_bytes_max: int) -> None:
    info = cursor.byte()
    clock = chain.end
    if info & _ORIGIN:
        if cursor.varint(CLIENT_MAX) != chain.client or cursor.varint(CLOCK_MAX) != clock - 1:
            raise Malformed("an origin other than the entry before")
    else:
        if clock or cursor.varint(CLIENT_MAX) != 1:
            raise Malformed("a parent other than a root, or not at clock 0")
        root = _ROOT.fullmatch(cursor.blob(_ROOT_BYTES_MAX))
        if root is None:
            raise Malformed("a root that is not a log")
        log = root[1].decode()
        if chain.log is not None and chain.log != log:
            raise Malformed(f"client {chain.client} writes to {log!r}, not to {chain.log!r}")
        chain.log = log
    kind = info & ~_ORIGIN
    if kind != _VALUES and kind != _REMOVED:
        raise Malformed(f"a block of kind {info:#04x}")
    count = cursor.varint(CLOCK_MAX - clock)
    if not count:
        raise Malformed("an empty block")
    chain.end = clock + count
    if kind == _REMOVED:
        chain.removed_end = chain.end
    else:
        start = cursor.pos
        chain.runs.append((clock, _read_values(cursor, count, entry_bytes_max), start, cursor.pos))


def _read_values(cursor: Cursor, count: int, entry_bytes_max: int) -> list[bytes]:
    """The hot loop: `count` byte strings. A count beyond the data ends in IndexError at the first missing one."""
    data, pos = cursor.data, cursor.pos
    values: list[bytes] = []
    append = values.append
    for _ in range(count):
        if data[pos] != _BUFFER:
            raise Malformed("a value that is not a byte string")
        size = data[pos + 1]
        pos += 2
        if size >= 0x80:
            cursor.pos = pos - 1
            size = cursor.varint(entry_bytes_max)
            pos = cursor.pos
        elif not size or size > entry_bytes_max:
            raise Malformed("an empty entry" if not size else f"an entry of more than {entry_bytes_max} bytes")
        end = pos + size
        append(data[pos:end])
        pos = end
    # A last value that is cut off leaves the position behind the end, where the next read fails: there always is one.
    cursor.pos = pos
    return values


def _read_deletes(
    cursor: Cursor, chains: Mapping[int, _Chain], known: Mapping[int, int], deleted: Mapping[int, int], limits: Limits
) -> tuple[dict[int, int], str]:
    """Client -> length of its removed prefix afterwards, for the clients named here; and what is missing, if any."""
    prefixes: dict[int, int] = {}
    gap = ""
    budget = limits.blocks_max
    for _ in range(cursor.varint(limits.clients_max)):
        client = cursor.varint(CLIENT_MAX)
        ranges = cursor.varint(budget)
        budget -= ranges
        if client in prefixes or not ranges:
            raise Malformed(f"removals of client {client}, twice or of nothing")
        prefix = deleted.get(client, 0)
        end = 0
        for _ in range(ranges):
            start = cursor.varint(CLOCK_MAX)
            length = cursor.varint(CLOCK_MAX - start)
            if not length or start < end:
                raise Malformed(f"removals of client {client}, empty or out of order")
            end = start + length
            if start > prefix:
                gap = f"removals of client {client} start at clock {start}, known up to {prefix}"
            prefix = max(prefix, end)
        chain = chains.get(client)
        top = max(known.get(client, 0), chain.end if chain else 0)
        if end > top:
            gap = f"removals of client {client} end at clock {end}, entries are known up to {top}"
        prefixes[client] = prefix
    return prefixes, gap


def _deltas(
    data: bytes,
    chains: Mapping[int, _Chain],
    prefixes: Mapping[int, int],
    known: Mapping[int, int],
    logs: Mapping[int, str],
    deleted: Mapping[int, int],
) -> list[Delta]:
    """The deltas of all chains that change, in the order in which the update names them."""
    deltas: list[Delta] = []
    for client in (*chains, *(client for client in prefixes if client not in chains)):
        chain = chains.get(client)
        start = known.get(client, 0)
        end = max(start, chain.end) if chain else start
        before = deleted.get(client, 0)
        removed = prefixes.get(client, before)
        if end == start and removed == before:
            continue
        log = chain.log if chain else logs[client]
        assert log is not None  # a chain without a log starts beyond clock 0 and is unknown: that is a gap
        first = max(start, removed)
        entries: list[bytes] = []
        body: list[bytes] = []
        for clock, values, at, until in chain.runs if chain else ():
            if clock >= first:
                entries += values
                body.append(data[at:until])
            elif clock + len(values) > first:
                entries += values[first - clock :]
                body.append(_body(values[first - clock :]))
        deltas.append(Delta(client, log, start, end, before, removed, tuple(entries), b"".join(body)))
    return deltas


def _body(entries: Sequence[bytes]) -> bytes:
    """Entries as they stand in an update."""
    return b"".join(part for data in entries for part in (b"t", varint(len(data)), data))


def encode_update(deltas: tuple[Delta, ...]) -> bytes:
    """The bytes of a change, in one form: the same deltas give the same bytes, whatever their order.

    Removals begin where the removed prefix ended before. A receiver that has missed an earlier removal takes them for a
    gap: what made that one harmless may be in another chain, which it has not read either (see `compaction`).
    """
    written = sorted((delta for delta in deltas if delta.end > delta.start), key=_descending)
    out = [varint(len(written))]
    for delta in written:
        _write_chain(out, delta)
    removals = sorted((delta for delta in deltas if delta.removed > delta.removed_before), key=_descending)
    out.append(varint(len(removals)))
    for delta in removals:
        length = delta.removed - delta.removed_before
        out += (varint(delta.client), b"\1", varint(delta.removed_before), varint(length))
    return b"".join(out)


def _descending(delta: Delta) -> int:
    return -delta.client


def _write_chain(out: list[bytes], delta: Delta) -> None:
    client = varint(delta.client)
    first, blocks = delta.first, 0
    header = len(out)
    out.append(b"")
    for start, end in ((delta.start, min(first, delta.end)), (first, delta.end)):
        if start >= end:
            continue
        blocks += 1
        kind = _VALUES if start == first else _REMOVED
        if start:
            out += (bytes((kind | _ORIGIN,)), client, varint(start - 1))
        else:
            root = (ROOT_PREFIX + delta.log).encode()
            out += (bytes((kind, 1, len(root))), root)
        out.append(varint(end - start))
        if kind == _VALUES:
            out.append(delta.body or _body(delta.entries))
    out[header] = varint(blocks) + client + varint(delta.start)


def parse_state_vector(data: bytes, clients_max: int = DEFAULT_LIMITS.clients_max) -> dict[int, int]:
    """Client -> next clock. Raises StateVectorInvalid; no count in the bytes makes it allocate anything ahead."""
    cursor = Cursor(data)
    vector: dict[int, int] = {}
    try:
        for _ in range(cursor.varint(clients_max)):
            client = cursor.varint(CLIENT_MAX)
            clock = cursor.varint(CLOCK_MAX)
            if client in vector or not clock:
                raise Malformed(f"client {client}, twice or without entries")
            vector[client] = clock
        cursor.finish()
    except IndexError:
        raise StateVectorInvalid("state vector: cut off") from None
    except Malformed as error:
        raise StateVectorInvalid(f"state vector: {error} (near byte {cursor.pos})") from None
    return vector


def encode_state_vector(vector: Mapping[int, int]) -> bytes:
    """The bytes of a state vector, sorted by client: equal vectors give equal bytes (the library's are not)."""
    out = [varint(len(vector))]
    for client in sorted(vector):
        out += (varint(client), varint(vector[client]))
    return b"".join(out)
