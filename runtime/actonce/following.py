"""Following a file of JSON lines as a polled source: a plain function, run in a worker thread.

The cursor is the offset behind the last line that was read, and a digest of what the file begins with. A file that is
shorter than the offset, or begins otherwise, is another one: the old one was rotated away or truncated. Then the rest
of it is looked for in its siblings (`orders.jsonl.1`, `orders.jsonl-20261121`, ...: names that begin with the same
name), and they are read up to the newest before the file itself.

All replicas have to see the same file; where only some do, let `placement` say which of them poll. Lost, with a warning
in the log: lines that are no JSON or too large; what was not read before its file was deleted or compressed. Lost
without a word: lines that are still appended to a rotated file once its successor was read.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from actonce.settings import KEY_BYTES_MAX, PAYLOAD_BYTES_MAX
from actonce.sources import Item, Polled
from actonce_crdt import Json, ValueInvalid, pack_value

log = logging.getLogger("actonce.sources")

CHUNK_BYTES = 1 << 20
"""Read at once. A line that is longer is skipped."""
LINES_MAX = 500
"""Read in one call; more follow at once."""
HEAD_BYTES = 4096
"""Of the beginning of a file tell it from others."""


def follow_jsonl(path: str | os.PathLike[str], id_field: str | None = None) -> Callable[[Any, Any], Polled]:
    """A poll function that reads the lines of `path`, each the payload of one task.

    Args:
        id_field: the field that names a line: text or a whole number. Without it a line is named by its place and
            content, so two rotated files that hold the same line at the same place name it once.
    """
    file = Path(path)

    def follow(ctx: Any, cursor: Any) -> Polled:
        return read_on(file, id_field, cursor)

    return follow


def read_on(path: Path, id_field: str | None, cursor: Any) -> Polled:
    """What follows the cursor.

    Raises:
        OSError: it cannot be read; a file that is not there yet has no lines.
    """
    files = [path, *_siblings(path)]
    index, offset = _find(files, cursor)
    while index >= 0:
        lines, end, more = _lines(files[index], offset)
        if end > offset:
            items = [item for at, line in lines if (item := _item(path, id_field, at, line)) is not None]
            head = _head(files[index], end)
            return Polled(items, {"offset": end, "head": head}, more or index > 0)
        index, offset = index - 1, 0
    return Polled([], cursor)


def _find(files: list[Path], cursor: Any) -> tuple[int, int]:
    """Where the cursor stands: which of the files, and the offset in it."""
    if not isinstance(cursor, dict):
        return 0, 0
    offset, head = int(cursor["offset"]), cursor["head"]
    for index, file in enumerate(files):
        if _head(file, offset) == head:
            return index, offset
    if files[0].exists():
        log.warning("%s is another file than before: what was not read of the old one is lost", files[0])
    return 0, 0


def _siblings(path: Path) -> list[Path]:
    """Rotated files, newest first."""
    aged: list[tuple[float, str]] = []
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if entry.name.startswith(path.name) and entry.name != path.name and entry.is_file():
                aged += [(-entry.stat().st_mtime, entry.name)]
    return [path.parent / name for _, name in sorted(aged)]


def _head(path: Path, offset: int) -> str | None:
    """A digest of the beginning of a file, as far as `offset`; None for a file that is shorter."""
    size = min(offset, HEAD_BYTES)
    with suppress(FileNotFoundError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size >= offset:
            return blake2b(file.read(size), digest_size=12).hexdigest()
    return None


def _lines(path: Path, offset: int) -> tuple[list[tuple[int, bytes]], int, bool]:
    """Whole lines from `offset` with their offsets, where the last of them ends, and whether more follow."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(offset)
        chunk = file.read(CHUNK_BYTES)
        if b"\n" not in chunk:
            return _skip(path, file, offset, len(chunk))
        found = list(_split(chunk, offset))
        taken = found[:LINES_MAX]
        end = taken[-1][0] + len(taken[-1][1])
        return taken, end, len(found) > LINES_MAX or len(chunk) == CHUNK_BYTES
    return [], offset, False


def _split(chunk: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    for line in chunk.split(b"\n")[:-1]:
        yield offset, line + b"\n"
        offset += len(line) + 1


def _skip(path: Path, file: BinaryIO, offset: int, size: int) -> tuple[list[tuple[int, bytes]], int, bool]:
    """A line that has no end yet is waited for, one that is too long left out."""
    end = offset + size
    while size == CHUNK_BYTES and (chunk := file.read(CHUNK_BYTES)):
        place = chunk.find(b"\n")
        if place >= 0:
            log.warning("%s: the line at byte %d has more than %d bytes, and is left out", path, offset, CHUNK_BYTES)
            return [], end + place + 1, True
        end += len(chunk)
    return [], offset, False


def _item(path: Path, id_field: str | None, offset: int, line: bytes) -> Item | None:
    if not line.strip():
        return None
    try:
        payload: Json = json.loads(line)
        size, why = len(pack_value(payload)), ""
    except (ValueError, RecursionError):
        why = "is no JSON"
    except ValueInvalid as error:
        why = f"cannot be stored ({error})"
    else:
        key = _key(payload, id_field, offset, line)
        if size <= PAYLOAD_BYTES_MAX and key is not None:
            return Item(key, payload)
        why = f"has no {id_field!r} that is text or a whole number" if key is None else f"has {size:,} bytes"
    log.warning("%s: the line at byte %d %s, and is left out", path, offset, why)
    return None


def _key(payload: Json, id_field: str | None, offset: int, line: bytes) -> str | None:
    if id_field is None:
        return blake2b(b"%d\n%b" % (offset, line), digest_size=16).hexdigest()
    value = payload.get(id_field) if isinstance(payload, dict) else None
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        return None
    key, data = str(value), str(value).encode()
    return key if key.isprintable() and len(data) <= KEY_BYTES_MAX else blake2b(data, digest_size=24).hexdigest()
