"""Tells a damaged SQLite write-ahead log from one that merely ends in a torn write.

SQLite replays its WAL up to the first frame whose checksum fails and forgets the rest in silence, which is right for a
torn tail (nobody was told that it is on disk) and wrong for a flipped bit in the middle. With `synchronous=FULL` a
transaction is synced before the next is written: a second commit at or after the first bad frame proves that the first
had been on disk. Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log

Not found: damage within the last transaction, and a log cut off at the end. Both look like a torn write.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint number, salt (2), checksum (2)
FRAME = struct.Struct(">6I")  # page number, pages in the database after a commit or 0, salt (2), checksum (2)
MAGIC = 0x377F0682  # its last bit tells the byte order in which checksums are computed
VERSION = 3007000
PAGE_BYTES_MIN = 512
PAGE_BYTES_MAX = 65536


def wal_is_damaged(data: bytes) -> bool:
    """Whether transactions that were on disk are lost from this WAL file. An empty file holds none."""
    if len(data) <= HEADER.size:  # a header is written before the first frame, and synced
        return False
    magic, version, page_bytes, _, *salt_and_sum = HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    salt, stated = salt_and_sum[:2], tuple(salt_and_sum[2:])
    sums = _checksum(order, data[: HEADER.size - 8], (0, 0))
    if magic & ~1 != MAGIC or version != VERSION or sums != stated or not _is_page_size(page_bytes):
        return True
    commits_lost = 0
    intact = True
    for start in range(HEADER.size, len(data) - FRAME.size - page_bytes + 1, FRAME.size + page_bytes):
        _, pages, *rest = FRAME.unpack_from(data, start)
        same_salt = rest[:2] == salt  # frames of an earlier round stay in the file, with another salt
        if intact:
            page = data[start + FRAME.size : start + FRAME.size + page_bytes]
            sums = _checksum(order, page, _checksum(order, data[start : start + 8], sums))
            intact = same_salt and sums == tuple(rest[2:])
        if not intact and same_salt and pages:
            commits_lost += 1
    return commits_lost > 1


def _is_page_size(page_bytes: int) -> bool:
    return PAGE_BYTES_MIN <= page_bytes <= PAGE_BYTES_MAX and page_bytes & (page_bytes - 1) == 0


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
