"""Update bytes put together by hand, sound or not."""

from actonce_crdt.wire import varint

ROOT = b"log/a"


def text(data: bytes) -> bytes:
    return varint(len(data)) + data


def values(*entries: bytes) -> bytes:
    return varint(len(entries)) + b"".join(b"t" + text(entry) for entry in entries)


def first(*entries: bytes, root: bytes = ROOT, info: int = 0x08) -> bytes:
    """The first block of a chain."""
    return bytes((info, 1)) + text(root) + values(*entries)


def later(client: int, clock: int, *entries: bytes, info: int = 0x88) -> bytes:
    """A block after the entry `clock` of `client`."""
    return bytes((info,)) + varint(client) + varint(clock) + values(*entries)


def removed(length: int, client: int = 0, clock: int = -1, root: bytes = ROOT) -> bytes:
    """A block of removed entries: the first of a chain, or after the entry `clock` of `client`."""
    if clock < 0:
        return b"\x01\x01" + text(root) + varint(length)
    return b"\x81" + varint(client) + varint(clock) + varint(length)


def chain(client: int, clock: int, *blocks: bytes) -> bytes:
    return varint(len(blocks)) + varint(client) + varint(clock) + b"".join(blocks)


def deletes(client: int, *ranges: tuple[int, int]) -> bytes:
    return varint(client) + varint(len(ranges)) + b"".join(varint(start) + varint(length) for start, length in ranges)


def update(*chains: bytes, deleted: tuple[bytes, ...] = ()) -> bytes:
    return varint(len(chains)) + b"".join(chains) + varint(len(deleted)) + b"".join(deleted)
