"""Updates of the texts' document: the Yjs v1 format, for strings in root texts and nothing else.

As with the logs (see `updates`), bytes from a peer never reach the CRDT library: they are parsed into typed blocks,
checked against what is known, and written again. Here blocks have origins in other chains, so more has to be known of
each chain: to which text each of its units belongs, which units are halves of a character, which are deleted.

A unit is one UTF-16 code unit; a client's units are its clocks 0, 1, 2 ...

    block     = info [left] [right] [parent] content
    info      = content kind: 1 deleted, 4 string; plus 0x80 with a left, 0x40 with a right origin
    left      = varint(client) varint(clock)      right the same
    parent    = 01 string("text/<name>")          only without origins
    content   = varint(n) | string

Refused (UpdateInvalid): everything else of the format; origins in another text, in the middle of a character, or in a
circle; deleted blocks that are not among the deletions. Refused as UpdateGap: what builds on units that are not here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Final

from .errors import UpdateGap, UpdateInvalid
from .ranges import Ranges
from .wire import CLIENT_MAX, CLOCK_MAX, Cursor, Malformed, varint

ROOT_PREFIX: Final = "text/"
TEXT_NAME_BYTES_MAX: Final = 256
UPDATE_BYTES_MAX: Final = 64 * 1024 * 1024
CLIENTS_MAX: Final = 60_000
"""Process runs that ever wrote to a text. They stay in the document for ever."""
BLOCKS_MAX: Final = 1_000_000

_DELETED: Final = 1
_STRING: Final = 4
_LEFT: Final = 0x80
_RIGHT: Final = 0x40

UnitId = tuple[int, int]
"""(client, clock)."""


@dataclass(frozen=True, slots=True)
class Block:
    """Units that one client wrote one after the other. `text` is None for deleted ones."""

    client: int
    clock: int
    length: int
    left: UnitId | None
    right: UnitId | None
    root: str | None
    text: str | None

    @property
    def end(self) -> int:
        """Clock after its last unit."""
        return self.clock + self.length


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The part of an update that is new: blocks, each after what it builds on, and newly deleted units."""

    blocks: tuple[Block, ...]
    deleted: Mapping[int, Ranges]
    update: bytes
    """Exactly that, in one form: journal it, push it."""

    def __bool__(self) -> bool:
        """Whether anything is new."""
        return bool(self.blocks or self.deleted)

    @property
    def added(self) -> int:
        """Characters that came and were not deleted before they did."""
        return sum(len(block.text) for block in self.blocks if block.text is not None)

    @property
    def taken(self) -> int:
        """Units that were deleted: characters, those beyond the basic plane counted twice."""
        return sum(end - start for ranges in self.deleted.values() for start, end in ranges)


class Chains:
    """What is known of each client's units."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        """Client -> next clock."""
        self.deleted: dict[int, Ranges] = {}
        self._roots: dict[int, list[tuple[int, str]]] = {}
        self._halves: dict[int, set[int]] = {}

    def root(self, unit: UnitId) -> str:
        """The text that a known unit belongs to."""
        runs = self._roots[unit[0]]
        low, high = 0, len(runs)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if runs[middle][0] <= unit[1] else (low, middle)
        return runs[low][1]

    def splits(self, client: int, clock: int) -> bool:
        """Whether a character of this client lies across that clock: its first half is the unit before."""
        return clock - 1 in self._halves.get(client, ())

    def add(self, block: Block, root: str) -> None:
        """Units that come next of their client."""
        self.known[block.client] = block.end
        runs = self._roots.setdefault(block.client, [])
        if not runs or runs[-1][1] != root:
            runs.append((block.clock, root))
        if block.text is not None and len(block.text) < block.length:
            halves, clock = self._halves.setdefault(block.client, set()), block.clock
            for character in block.text:
                if character > "\uffff":
                    halves.add(clock)
                    clock += 1
                clock += 1


class TextUpdates:
    """Reads updates against what is known of the document, and takes in what they say."""

    def __init__(self) -> None:
        self.chains = Chains()

    def parse(self, data: bytes) -> TextDelta:
        """What is new in an update; nothing is taken in yet.

        Raises UpdateInvalid for bytes that no correct replica produces, UpdateGap for what builds on something missing.
        """
        pending, removed = _read(data)
        return self._check(pending, removed)

    def take(self, delta: TextDelta) -> None:
        """What `parse` found is part of the document now."""
        for block in delta.blocks:
            self.chains.add(block, self.root_of(block))
        for client, ranges in delta.deleted.items():
            self.chains.deleted[client] = self.chains.deleted.get(client, Ranges()) | ranges

    def root_of(self, block: Block) -> str:
        """The text that a block belongs to; what it builds on was taken in."""
        origin = block.left or block.right
        if origin is None:
            assert block.root is not None
            return block.root
        return self.chains.root(origin)

    def _check(self, pending: dict[int, list[Block]], removed: dict[int, Ranges]) -> TextDelta:
        known, missing = self.chains.known, ""
        heads: dict[int, list[Block]] = {}
        for client, blocks in pending.items():
            if blocks[0].clock > known.get(client, 0):
                missing = f"units of client {client} start at clock {blocks[0].clock}"
            heads[client] = [self._cut(block) for block in blocks if block.end > known.get(client, 0)]
        if len(known) + sum(client not in known for client in pending) > CLIENTS_MAX:
            raise UpdateInvalid(f"text update: more than {CLIENTS_MAX} process runs wrote to texts")
        if missing:
            raise UpdateGap(missing)
        trial = _Trial(self.chains, heads)
        fresh_blocks = tuple(trial.order())
        deleted = {}
        for client, ranges in removed.items():
            fresh = ranges - self.chains.deleted.get(client, Ranges())
            for start, end in fresh:
                if end > trial.end(client):
                    raise UpdateGap(f"deletions of client {client} end at clock {end}, beyond what is known")
                if trial.splits(client, start) or trial.splits(client, end):
                    raise UpdateInvalid(f"text update: deletes half a character of client {client}")
            if fresh:
                deleted[client] = fresh
        for block in fresh_blocks:
            gone = deleted.get(block.client, Ranges()) | self.chains.deleted.get(block.client, Ranges())
            if block.text is None and not gone.covers(block.clock, block.end):
                raise UpdateInvalid(f"text update: deleted units of client {block.client} outside its deletions")
        return TextDelta(fresh_blocks, deleted, encode_text_update(fresh_blocks, deleted))

    def _cut(self, block: Block) -> Block:
        """Without the units that are known already."""
        skip = self.chains.known.get(block.client, 0) - block.clock
        if skip <= 0:
            return block
        left, text = (block.client, block.clock + skip - 1), block.text
        if text is not None:
            rest = text.encode("utf-16-le")[2 * skip :]
            try:
                text = rest.decode("utf-16-le")
            except UnicodeDecodeError:
                raise UpdateInvalid("text update: begins with half a character") from None
        return replace(block, clock=block.clock + skip, length=block.length - skip, left=left, root=None, text=text)


class _Trial:
    """The new blocks of one update, put into an order in which each comes after what it builds on."""

    def __init__(self, chains: Chains, heads: dict[int, list[Block]]) -> None:
        self._base, self._heads = chains, heads
        self._fresh = Chains()
        self._next = dict.fromkeys(heads, 0)
        self._waiting: dict[int, list[tuple[int, int]]] = {}

    def end(self, client: int) -> int:
        """Next clock of a client, with what is new."""
        return self._fresh.known.get(client, self._base.known.get(client, 0))

    def splits(self, client: int, clock: int) -> bool:
        return self._base.splits(client, clock) or self._fresh.splits(client, clock)

    def _root(self, unit: UnitId) -> str:
        is_new = unit[1] >= self._base.known.get(unit[0], 0)
        return (self._fresh if is_new else self._base).root(unit)

    def order(self) -> Iterator[Block]:
        ready = sorted(self._heads, reverse=True)
        while ready:
            client = ready.pop()
            for block in self._heads[client][self._next[client] :]:
                needs = next((one for one in (block.left, block.right) if one and one[1] >= self.end(one[0])), None)
                if needs is not None:
                    heappush(self._waiting.setdefault(needs[0], []), (needs[1], client))
                    break
                self._fresh.add(block, self._check(block))
                self._next[client] += 1
                yield block
            waiting = self._waiting.get(client, [])
            while waiting and waiting[0][0] < self.end(client):
                ready.append(heappop(waiting)[1])
        for client, blocks in sorted(self._heads.items()):
            if self._next[client] < len(blocks):
                self._explain(blocks[self._next[client]])

    def _explain(self, block: Block) -> None:
        for origin in (block.left, block.right):
            if origin is not None and origin[1] >= self.end(origin[0]):
                rest = self._heads.get(origin[0])
                if not rest or origin[1] >= rest[-1].end:
                    raise UpdateGap(f"client {block.client} builds on clock {origin[1]} of client {origin[0]}")
        raise UpdateInvalid(f"text update: blocks of client {block.client} build on each other in a circle")

    def _check(self, block: Block) -> str:
        """The text of a block whose origins are known."""
        left, right = block.left, block.right
        if left is None and right is None:
            assert block.root is not None
            return block.root
        if left is not None and self.splits(left[0], left[1] + 1):
            raise UpdateInvalid("text update: an origin in the middle of a character")
        if right is not None and self.splits(*right):
            raise UpdateInvalid("text update: an origin in the middle of a character")
        roots = {self._root(one) for one in (left, right) if one is not None}
        if len(roots) > 1:
            raise UpdateInvalid("text update: a block between two texts")
        return roots.pop()


def canonical_text_update(data: bytes) -> bytes:
    """The same update in one form: the library's own order of clients differs from process to process."""
    chains, removed = _read(data)
    return encode_text_update(tuple(block for blocks in chains.values() for block in blocks), removed)


def _read(data: bytes) -> tuple[dict[int, list[Block]], dict[int, Ranges]]:
    if len(data) > UPDATE_BYTES_MAX:
        raise UpdateInvalid(f"text update of {len(data)} bytes: the limit is {UPDATE_BYTES_MAX}")
    cursor = Cursor(data)
    try:
        found = _read_blocks(cursor), _read_deletes(cursor)
        cursor.finish()
        return found
    except IndexError:
        raise UpdateInvalid("text update: cut off") from None
    except Malformed as error:
        raise UpdateInvalid(f"text update: {error} (near byte {cursor.pos})") from None


def _read_blocks(cursor: Cursor) -> dict[int, list[Block]]:
    chains: dict[int, list[Block]] = {}
    budget = BLOCKS_MAX
    for _ in range(cursor.varint(CLIENTS_MAX)):
        count = cursor.varint(budget)
        budget -= count
        client, clock = cursor.varint(CLIENT_MAX), cursor.varint(CLOCK_MAX)
        if not count or client in chains:
            raise Malformed(f"client {client}, twice or without blocks")
        blocks: list[Block] = []
        for _ in range(count):
            blocks.append(_read_block(cursor, client, clock))
            clock = blocks[-1].end
        chains[client] = blocks
    return chains


def _read_block(cursor: Cursor, client: int, clock: int) -> Block:
    info = cursor.byte()
    kind = info & ~(_LEFT | _RIGHT)
    if kind not in (_DELETED, _STRING):
        raise Malformed(f"a block of kind {info:#04x}")
    left = (cursor.varint(CLIENT_MAX), cursor.varint(CLOCK_MAX)) if info & _LEFT else None
    right = (cursor.varint(CLIENT_MAX), cursor.varint(CLOCK_MAX)) if info & _RIGHT else None
    root = None
    if left is None and right is None:
        if cursor.varint(CLIENT_MAX) != 1:
            raise Malformed("a parent other than a root")
        root = _decode(cursor.blob(len(ROOT_PREFIX) + TEXT_NAME_BYTES_MAX))
        if not root.startswith(ROOT_PREFIX) or len(root) == len(ROOT_PREFIX):
            raise Malformed("a root that is not a text")
    if kind == _DELETED:
        text, length = None, cursor.varint(CLOCK_MAX - clock)
    else:
        text = _decode(cursor.blob(UPDATE_BYTES_MAX))
        length = units(text)
    if not length or length > CLOCK_MAX - clock:
        raise Malformed("an empty block, or one beyond the last clock")
    return Block(client, clock, length, left, right, root, text)


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"a text that is not UTF-8: {error.reason}") from None


def _read_deletes(cursor: Cursor) -> dict[int, Ranges]:
    removed: dict[int, Ranges] = {}
    budget = BLOCKS_MAX
    for _ in range(cursor.varint(CLIENTS_MAX)):
        client, count = cursor.varint(CLIENT_MAX), cursor.varint(budget)
        budget -= count
        if not count or client in removed:
            raise Malformed(f"deletions of client {client}, twice or of nothing")
        spans: list[tuple[int, int]] = []
        for _ in range(count):
            start = cursor.varint(CLOCK_MAX)
            length = cursor.varint(CLOCK_MAX - start)
            if not length:
                raise Malformed("an empty deletion")
            spans.append((start, start + length))
        removed[client] = Ranges.of(spans)
    return removed


def units(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text) + sum(character > "\uffff" for character in text) if not text.isascii() else len(text)


def encode_text_update(blocks: tuple[Block, ...], deleted: Mapping[int, Ranges]) -> bytes:
    """The bytes of a change, in one form. The blocks of one client are in the order of their clocks."""
    chains: dict[int, list[Block]] = {}
    for block in blocks:
        chains.setdefault(block.client, []).append(block)
    out = [varint(len(chains))]
    for client in sorted(chains, reverse=True):
        out += (varint(len(chains[client])), varint(client), varint(chains[client][0].clock))
        for block in chains[client]:
            _write_block(out, block)
    out.append(varint(len(deleted)))
    for client in sorted(deleted, reverse=True):
        out += (varint(client), varint(len(deleted[client].spans)))
        for start, end in deleted[client]:
            out += (varint(start), varint(end - start))
    return b"".join(out)


def _write_block(out: list[bytes], block: Block) -> None:
    info = _DELETED if block.text is None else _STRING
    info |= (_LEFT if block.left else 0) | (_RIGHT if block.right else 0)
    out.append(bytes((info,)))
    for origin in (block.left, block.right):
        if origin is not None:
            out += (varint(origin[0]), varint(origin[1]))
    if block.left is None and block.right is None:
        assert block.root is not None
        root = block.root.encode()
        out += (b"\1", varint(len(root)), root)
    if block.text is None:
        out.append(varint(block.length))
    else:
        data = block.text.encode()
        out += (varint(len(data)), data)
