"""Looking after the journal of a replica that does not run: check, repair, export, import. Backups of one that does.

Each function takes the folder of a journal and returns facts as a JSON-like dictionary.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actonce.agent import check_name
from actonce.edge import aside, journal_store, mark, transfer
from actonce.edge.journal import failed, take_lock
from actonce.edge.journal_store import FILE_NAME, log_of
from actonce.edge.salvage import salvage
from actonce.edge.transfer import Export
from actonce.errors import ConfigError, JournalDamaged, JournalInUse, JournalUnreadable
from actonce.journal import UPDATE, Recovered
from actonce_crdt import CrdtError

Facts = dict[str, Any]


@contextmanager
def held(folder: Path, *, new: bool = False) -> Iterator[None]:
    """Hold the lock of the journal in `folder`, so that no replica runs on it meanwhile.

    Raises:
        JournalInUse, JournalUnreadable
    """
    if not new:
        _there(folder)
    try:
        lock = take_lock(folder)
    except JournalInUse:
        raise JournalInUse(
            f"the journal in {folder} is in use by a running replica: stop it first, or use `actonce journal backup`"
        ) from None
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise failed(folder, error) from None
    finally:
        os.close(lock)


def check(folder: Path) -> Facts:
    """Whether the journal is as it was written. Changes nothing, but for what a crash left to be finished.

    Raises:
        JournalError: there is none, or it cannot be read by this version.
    """
    with held(folder):
        return _check(folder)


def _check(folder: Path) -> Facts:
    aside.finish(folder)
    kept = sorted(str(path) for path in folder.glob("damaged-*"))
    path = folder / FILE_NAME
    files = [file for file in (path, log_of(path)) if file.exists()]
    facts: Facts = {"data": str(folder), "damage": "", "lost": "", "set_aside": kept}
    facts["bytes"] = sum(file.stat().st_size for file in files)
    left = salvage(folder)
    names = {name: left.identity.get(name, "") for name in ("agent", "replica")}
    facts |= names | {"journal": left.journal, "rows": len(left.verdict.rows)}
    facts["updates"] = sum(row.kind == UPDATE for row in left.verdict.rows)
    try:
        recovered = _read(folder, names)
    except JournalDamaged as error:
        return facts | {"damage": error.what, "lost": left.verdict.lost}
    try:
        document = transfer.make_document(recovered.updates)
    except CrdtError as error:
        return facts | {"damage": f"it holds an update that is not valid: {error}"}
    return facts | {"entries": document.entry_count, "digest": document.digest.hex()}


def _there(folder: Path) -> None:
    files = (FILE_NAME, log_of(Path(FILE_NAME)).name, mark.FILE_NAME, aside.REPLACING)
    if not any(os.path.lexists(folder / name) for name in files):
        raise JournalUnreadable(f"there is no journal in {folder}: name the folder that `actonce run` used with --data")


def _read(folder: Path, names: dict[str, str]) -> Recovered:
    path = folder / FILE_NAME
    if not os.path.lexists(path):
        raise journal_store.damaged(path, "it is gone, and what is left beside it says that it was there")
    recovered, _ = journal_store.read(path, agent=names["agent"], replica=names["replica"])
    return recovered


def repair(folder: Path, *, agent: str | None = None, replica: str | None = None, alone: bool = False) -> Facts:
    """Put a new journal in the place of a damaged one; leave one alone that is whole.

    Args:
        agent, replica: names, where damage hides them.
        alone: see `aside.set_aside`.

    Raises:
        ConfigError: the names are hidden, and were not given.
        JournalError: there is none, it cannot be read by this version, or it is another one's than was named.
    """
    with held(folder):
        found = _check(folder)
        if not found["damage"]:
            return found
        names = {"agent": agent or found["agent"], "replica": replica or found["replica"]}
        if not all(names.values()):
            raise ConfigError(f"damage hides whose journal {folder} is: say so with --agent NAME and --name NAME")
        for what, name in names.items():
            check_name(f"the {what}", name)
        made = aside.set_aside(folder, found["damage"], **names, alone=alone)
    facts = {"data": str(folder), "damage": made.damage, "lost": made.lost, **names, "journal": made.journal}
    return facts | {"replaces": found["journal"], "updates": made.kept, "aside": str(made.aside), "alone": alone}


def export(folder: Path, file: Path) -> Facts:
    """Write the document of a stopped replica into `file`.

    Raises:
        JournalError: there is no journal, it is damaged, or a replica runs on it.
        ConfigError: the file is there, or cannot be written.
    """
    with held(folder):
        aside.finish(folder)
        identity = salvage(folder).identity
        recovered = _read(folder, {name: identity.get(name, "") for name in ("agent", "replica")})
        return _facts(folder, file, transfer.write_export(file, identity, recovered.updates, recovered.texts))


def backup(folder: Path, file: Path) -> Facts:
    """The same, whether a replica runs on the journal or not."""
    try:
        return export(folder, file)
    except JournalInUse:
        return _facts(folder, file, transfer.write_export(file, *transfer.read_live(folder)))


def import_(folder: Path, file: Path, *, agent: str, replica: str, renew: bool = False) -> Facts:
    """Make a journal from `file` in a folder that has none. `renew`: without the client ids of the past.

    Raises:
        ConfigError, ExportRefused, JournalError: nothing changed; the message says why.
    """
    check_name("a replica", replica)
    check_name("an agent", agent)
    transfer.read_export(file)  # before any folder is made
    with held(folder, new=True):
        made = transfer.import_journal(folder, file, agent=agent, replica=replica, renew=renew)
    return _facts(folder, file, made) | {"replica": replica}


def _facts(folder: Path, file: Path, made: Export) -> Facts:
    return {"data": str(folder), "file": str(file), **asdict(made)}
