"""Puts a new journal in the place of a damaged one, which is kept: no crash leaves a folder that starts empty.

    damaged-1/           the files as they were found, for people
    journal.db.new       the new journal, whole and on disk before anything is replaced
    replacing            says that from here on the new one counts: a start that finds it finishes the replacement

The new journal has an id of its own, begins with what was readable of the old one, and says in its first row what it
came in place of ("after"). See `actonce.recovery` for why.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import Any

from actonce.edge import mark
from actonce.edge.journal_store import CLOSED, FILE_NAME, FORMAT, SCHEMA, connect, log_of, write_head
from actonce.edge.mark import make_mark, sync_folder
from actonce.edge.salvage import Salvage, salvage
from actonce.errors import JournalForeign, JournalUnreadable
from actonce.journal import Row, checksum
from actonce.recovery import SNAPSHOT, salvaged

DRAFT = FILE_NAME + ".new"
REPLACING = "replacing"
ASIDE_MAX = 8
"""Damaged journals that are kept in one folder. A disk that damages more of them is to be replaced."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of a repair. `lost` names rows of the old journal; `kept` counts updates of the document."""

    journal: str
    lost: str
    kept: int
    aside: Path
    damage: str
    """All of it as one sentence."""


def set_aside(folder: Path, why: str, *, agent: str, replica: str, alone: bool = False) -> Repaired:
    """Replace the damaged journal in `folder`, whose lock the caller holds.

    Args:
        why: what is damaged, for people.
        alone: the user's word that there is no other replica, and that what is lost may be done again: then the next
            start may be one with --new. Otherwise the replica waits for one that remembers.

    Raises:
        JournalForeign: the journal is readably another replica's. Nothing changed.
        JournalUnreadable: too many damaged ones are here already. Nothing changed.
    sqlite3.Error and OSError pass through: nothing changed.
    """
    left = salvage(folder)
    names = (left.identity.get("agent", agent), left.identity.get("replica", replica))
    if names != (agent, replica):
        raise JournalForeign(
            f"the journal in {folder} is damaged, and belongs to replica {names[1]!r} of agent {names[0]!r}, "
            f"not to replica {replica!r} of agent {agent!r}"
        )
    aside = _copy_aside(folder)
    rows = salvaged(left.verdict.rows)
    lost = left.verdict.lost or "no row that is known of"
    damage = (
        f"the journal was damaged ({why}): {lost} lost, {len(rows)} updates went into a new journal, the damaged one "
        f"is kept in {aside}"
    )
    journal = secrets.token_hex(16)
    after = {"journal": left.journal, "damage": "" if alone else damage, "new": alone}
    write_draft(folder, agent=agent, replica=replica, journal=journal, rows=[_opened(left), *rows], after=after)
    install(folder)
    return Repaired(journal, lost, len(rows), aside, damage)


def _opened(left: Salvage) -> Row:
    before = [int(row.data) for row in left.verdict.rows if row.kind in ("opened", SNAPSHOT)]
    return Row("opened", str(max([int(time.time() * 1000), *before])).encode())


def _copy_aside(folder: Path) -> Path:
    taken = [number for number in range(1, ASIDE_MAX + 1) if (folder / f"damaged-{number}").exists()]
    if len(taken) == ASIDE_MAX:
        raise JournalUnreadable(
            f"{ASIDE_MAX} damaged journals are kept in {folder}, which is the limit: replace this disk if it goes on "
            "damaging them, or remove those that nobody needs"
        )
    aside = folder / f"damaged-{next(number for number in range(1, ASIDE_MAX + 1) if number not in taken)}"
    draft = folder / "damaged.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        for file in (folder / FILE_NAME, log_of(folder / FILE_NAME), folder / mark.FILE_NAME):
            if file.is_file():
                _copy(file, draft / file.name)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    draft.rename(aside)
    sync_folder(folder)
    return aside


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def write_draft(
    folder: Path, *, agent: str, replica: str, journal: str, rows: Sequence[Row], after: dict[str, Any]
) -> None:
    """A whole journal beside the present one, on disk. It counts once `install` was called."""
    draft = folder / DRAFT
    for suffix in ("-wal", "-shm", ""):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    identity = {"format": FORMAT, "id": journal, "agent": agent, "replica": replica, "after": after}
    rows = [Row("journal", json.dumps(identity, sort_keys=True).encode()), *rows]
    with closing(connect(draft)) as db:
        db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?)",
            [(seq, row.kind, row.data, checksum(seq, row.kind, row.data)) for seq, row in enumerate(rows, 1)],
        )
        write_head(db, len(rows), CLOSED)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with draft.open("rb") as file:
        os.fsync(file.fileno())


def install(folder: Path) -> None:
    """Put the draft in the place of the journal. From the first step on there is no way back, only on: `finish`."""
    replacing = folder / REPLACING
    with replacing.open("wb") as file:
        os.fsync(file.fileno())
    sync_folder(folder)
    finish(folder)


def finish(folder: Path) -> None:
    """Finish a replacement that a crash interrupted. Does nothing when there is none."""
    path, draft = folder / FILE_NAME, folder / DRAFT
    if not (folder / REPLACING).exists():
        return
    if draft.exists():
        # The old log must be gone before the new file has its name: SQLite would replay it into the new one.
        for file in (log_of(path), path.with_name(path.name + "-shm"), folder / mark.FILE_NAME):
            file.unlink(missing_ok=True)
        sync_folder(folder)
        draft.rename(path)
        sync_folder(folder)
    if not path.exists():  # else SQLite would make an empty one
        raise FileNotFoundError(ENOENT, "the journal that was to replace a damaged one is gone", str(path))
    with closing(connect(path)) as db:
        (seq,) = db.execute("SELECT seq FROM head").fetchone()
        (data,) = db.execute("SELECT data FROM rows WHERE seq = 1").fetchone()
    make_mark(folder, json.loads(data)["id"], seq)
    (folder / REPLACING).unlink()
    sync_folder(folder)
