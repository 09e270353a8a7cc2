"""A journal as one file: to keep as a backup, to move to other disks, to start a mesh anew from. Lines of text:

    {"actonce export": 1, "agent": ..., "replica": ..., "journal": ..., "digest": ..., "entries": ..., "made_at": ...}
    base64 of an update                   as many as there are
    "text " and base64                    an update of the texts' document, as many as there are
    {"updates": ..., "texts": ..., "sum": ...}          BLAKE2b-128 of all lines before, as hex

It holds what all replicas share, the document, and nothing of what one replica remembers for itself: an import is a
new journal with a new id and no view. So a backup that is restored is never an old memory that is trusted, and any
replica's file will do for all of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actonce.edge import aside, journal_store
from actonce.edge.journal_store import FILE_NAME
from actonce.edge.mark import read_mark, sync_folder
from actonce.errors import ConfigError, ExportRefused, JournalError, JournalUnreadable
from actonce.journal import TEXT, UPDATE, Row
from actonce_crdt import CrdtError, Document, TextDocument

FORMAT = 1
MAGIC = "actonce export"
TEXT_LINE = b"text "


@dataclass(frozen=True, slots=True)
class Export:
    """What the file says of itself."""

    agent: str
    replica: str
    journal: str
    digest: str
    """Of the document: equal on all replicas that hold the same entries."""
    entries: int
    updates: int
    texts: int
    made_at: float
    """Unix seconds."""


def make_texts(rows: Sequence[bytes]) -> TextDocument:
    """The texts that these rows make.

    Raises:
        CrdtError: they make none.
    """
    texts = TextDocument(1)
    for row in rows:
        texts.take(texts.parse(row))
    return texts


def make_document(updates: Sequence[bytes]) -> Document:
    """The document that these updates make.

    Raises:
        CrdtError: they make none.
    """
    document = Document("export", 1)
    for update in updates:
        document.integrate(update)
    return document


def read_live(folder: Path) -> tuple[dict[str, Any], tuple[bytes, ...], tuple[bytes, ...]]:
    """First row, updates, and updates of texts, of a journal that a running replica goes on writing: all of one moment,
    verified.

    Raises:
        JournalError: damaged, or not there.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise JournalUnreadable(f"there is no journal in {folder}")
    try:
        with closing(sqlite3.connect(path.resolve().as_uri() + "?mode=ro", uri=True)) as db:
            db.execute("BEGIN")
            _, rows = journal_store.read_rows(path, db, True)
    except (sqlite3.Error, UnicodeError, MemoryError) as error:
        raise journal_store.damaged(path, str(error)) from None
    found = (tuple(row.data for row in rows if row.kind == kind) for kind in (UPDATE, TEXT))
    return json.loads(rows[0].data), next(found), next(found)


def write_export(file: Path, identity: dict[str, Any], updates: Sequence[bytes], texts: Sequence[bytes]) -> Export:
    """Make `file`, which must not be there: whole and on disk, or not at all.

    Raises:
        ConfigError: it is there, or cannot be written.
        JournalUnreadable: the updates make no document.
    """
    try:
        document = make_document(updates)
        make_texts(texts)
    except CrdtError as error:
        raise JournalUnreadable(f"the journal holds an update that is not valid: {error}") from None
    names = identity["agent"], identity["replica"], identity["id"]
    made = Export(*names, document.digest.hex(), document.entry_count, len(updates), len(texts), time.time())
    draft = file.with_name(file.name + ".new")
    try:
        if os.path.lexists(file):
            raise ConfigError(f"{file} is there already: name another file, nothing is overwritten")
        with draft.open("wb") as out:
            out.writelines(_lines(made, updates, texts))
            out.flush()
            os.fsync(out.fileno())
        draft.rename(file)
        sync_folder(file.absolute().parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    return made


def _lines(made: Export, updates: Sequence[bytes], texts: Sequence[bytes]) -> Iterator[bytes]:
    facts = asdict(made)
    del facts["updates"], facts["texts"]
    digest = hashlib.blake2b(digest_size=16)
    written = [*map(base64.b64encode, updates), *(TEXT_LINE + base64.b64encode(text) for text in texts)]
    for line in (json.dumps({MAGIC: FORMAT, **facts}).encode(), *written):
        digest.update(line + b"\n")
        yield line + b"\n"
    yield json.dumps({"updates": len(updates), "texts": len(texts), "sum": digest.hexdigest()}).encode() + b"\n"


def read_export(file: Path) -> tuple[Export, tuple[bytes, ...], tuple[bytes, ...]]:
    """What `write_export` wrote, verified to the last byte.

    Raises:
        ConfigError: it cannot be read.
        ExportRefused: it is none, is damaged, or was made by a later version.
    """
    try:
        lines = file.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    try:
        header = json.loads(lines[0])
        version = header.pop(MAGIC)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        raise ExportRefused(f"{file} was not made by `actonce journal export` or `backup`") from None
    if version != FORMAT:
        raise ExportRefused(
            f"{file} was made by another version of Actonce (export format {version}, this one reads {FORMAT}): "
            "import it with that version"
        )
    try:
        footer = json.loads(lines[-1])
        whole = footer["sum"] == hashlib.blake2b(b"".join(lines[:-1]), digest_size=16).hexdigest()
        body = [line[:-1] for line in lines[1:-1]]
        updates = tuple(base64.b64decode(line, validate=True) for line in body if not line.startswith(TEXT_LINE))
        texts = tuple(_read_text(line) for line in body if line.startswith(TEXT_LINE))
        made = Export(**header, updates=footer["updates"], texts=footer["texts"])
        document = make_document(updates)
        make_texts(texts)
    except (ValueError, KeyError, TypeError, binascii.Error, CrdtError):
        whole = False
    if not whole or (document.digest.hex(), len(updates), len(texts)) != (made.digest, made.updates, made.texts):
        raise ExportRefused(f"{file} is damaged or was cut off: make another export, or use an older one")
    return made, updates, texts


def _read_text(line: bytes) -> bytes:
    return base64.b64decode(line.removeprefix(TEXT_LINE), validate=True)


def renewed(updates: Sequence[bytes]) -> list[bytes]:
    """The same entries in the same logs, as if one process had written each log: no client id of the past is kept.

    The digest stays. A replica that has the old ids takes these entries for further ones: both say the same, twice.
    """
    logs: dict[str, list[bytes]] = {}
    for entry in make_document(updates).entries():
        logs.setdefault(entry.log, []).append(entry.data)
    ids = {log: secrets.randbits(53) or 1 for log in logs}
    return [Document(log, ids[log]).append(entries).update for log, entries in logs.items()]


def import_journal(folder: Path, file: Path, *, agent: str, replica: str, renew: bool = False) -> Export:
    """Make the journal in `folder`, whose lock the caller holds, from a file. All or nothing. `renew`: see `renewed`.

    Raises:
        ConfigError, ExportRefused: see `read_export`; or the file is another agent's.
        JournalUnreadable: a journal is there, or was.
        JournalFailed: the disk is full, or failed.
    """
    made, updates, texts = read_export(file)
    updates = tuple(renewed(updates)) if renew else updates
    if made.agent != agent:
        raise ExportRefused(f"{file} holds the journal of agent {made.agent!r}, not of {agent!r}")
    try:
        if os.path.lexists(folder / FILE_NAME) or read_mark(folder) is not None:
            raise JournalUnreadable(f"there is a journal in {folder}: move it aside, nothing is overwritten")
        rows = [Row("opened", b"%d" % int(time.time() * 1000)), *(Row(UPDATE, update) for update in updates)]
        rows += [Row(TEXT, text) for text in texts]
        after = {"imported": made.journal, "made_at": made.made_at, "new": True}
        journal = secrets.token_hex(16)
        aside.write_draft(folder, agent=agent, replica=replica, journal=journal, rows=rows, after=after)
        aside.install(folder)
    except (sqlite3.Error, OSError) as error:
        (folder / aside.DRAFT).unlink(missing_ok=True)
        raise _failed(folder, error) from None
    return made


def _failed(folder: Path, error: Exception) -> JournalError:
    return JournalUnreadable(f"no journal can be made in {folder}: {error}")
