"""`actonce journal`: look after the journal of one replica, on its own disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from actonce.cli.options import json_option
from actonce.cli.show import print_json, print_lines
from actonce.edge import care
from actonce.edge.care import Facts

FILE = click.Path(path_type=Path)

data_option = click.option(
    "--data",
    required=True,
    type=FILE,
    metavar="DIR",
    help="Folder of the journal, as given to `actonce run`; without --data that was actonce-data/NAME.",
)


@click.group(epilog="Example: actonce journal check --data actonce-data/a")
def journal() -> None:
    """Look after the journal of a replica: the folder on its own disk in which it keeps what it knows.

    A replica verifies its journal whenever it starts. If it is damaged and there are others (--join), it sets it aside,
    takes what is readable into a new one, and acts again once it has read the rest from a replica that remembers.
    Nothing of this needs you. These commands are for looking, for backups, and for when there is no other replica.
    """


def _show(facts: Facts, as_json: bool, sentences: Sequence[str], status: int = 0) -> None:
    if as_json:
        print_json(facts)
    else:
        print_lines(sentences)
    if status:
        raise click.exceptions.Exit(status)


@journal.command(epilog="Example: actonce journal check --data actonce-data/a")
@data_option
@json_option
def check(data: Path, as_json: bool) -> None:
    """Verify every row of a journal. Changes nothing.

    Exit status 0: all is as it was written, to the last row that was on the disk. 1: it is not, and what is damaged is
    named. The replica must not run meanwhile; of one that runs, `actonce journal backup` verifies every row.
    """
    facts = care.check(data)
    if facts["damage"]:
        lines = [
            f"the journal in {data} is damaged: {facts['damage']}",
            f"lost: {facts['lost'] or 'no row that is known of'}; {facts['updates']} updates are readable",
            "start the replica with --join to let it refetch the rest; without another one: actonce journal repair",
        ]
    else:
        lines = [
            f"the journal in {data} is whole: {facts['rows']} rows, {facts['bytes']} bytes",
            f"replica {facts['replica']} of agent {facts['agent']}, journal {facts['journal']}, "
            f"{facts['entries']} entries, digest {facts['digest']}",
        ]
    lines += [f"a damaged journal is kept in {folder}" for folder in facts["set_aside"]]
    _show(facts, as_json, lines, 1 if facts["damage"] else 0)


@journal.command(epilog="Example: actonce journal repair --data actonce-data/a")
@data_option
@click.option("--agent", metavar="NAME", help="Name of the agent; only where damage hides it.")
@click.option("--name", metavar="NAME", help="Name of the replica; only where damage hides it.")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="There is no other replica that remembers: the next start may be one with --new. What only the lost rows told "
    "is forgotten; tasks that were done by them are done again.",
)
@json_option
def repair(data: Path, agent: str | None, name: str | None, accept_loss: bool, as_json: bool) -> None:
    """Make a new journal of what is readable of a damaged one, which is kept beside it.

    The new journal has another id, since this replica may have forgotten what it promised: where it voted, it is to be
    added as a new voter (`actonce roster`), and rights of quotas that it held stay with the old id. It does not act
    before it has synced with a replica that remembers. `actonce run --join ...` does the same by itself.

    A journal that is whole is left as it is.
    """
    facts = care.repair(data, agent=agent, replica=name, alone=accept_loss)
    if not facts["damage"]:
        lines = [f"the journal in {data} is whole: nothing was changed"]
    else:
        then = (
            "start the replica with --new"
            if accept_loss
            else "start the replica with --join and the address of another one; it acts once it has synced"
        )
        lines = [f"repaired: {facts['damage']}", then]
    _show(facts, as_json, lines)


@journal.command(epilog="Example: actonce journal export state.actonce --data actonce-data/a")
@click.argument("file", type=FILE)
@data_option
@json_option
def export(file: Path, data: Path, as_json: bool) -> None:
    """Write the whole state of the agent, as this replica knows it, into one file. The replica must not run.

    The file holds what all replicas share: tasks, effects, steps, quotas. To move a single replica to another disk,
    stop it and move its folder instead: then it keeps its votes and rights.
    """
    _exported(care.export, file, data, as_json)


@journal.command(epilog="Example: actonce journal backup nightly.actonce --data actonce-data/a")
@click.argument("file", type=FILE)
@data_option
@json_option
def backup(file: Path, data: Path, as_json: bool) -> None:
    """Write the same file as `export` while the replica runs: the state of one moment, every row verified.

    Backups are for the loss of all replicas at once; against the loss of some the others are there. What happened after
    the backup is forgotten by an import: effects that left after it leave again, unless their sink refuses the key.
    """
    _exported(care.backup, file, data, as_json)


def _exported(make: Callable[[Path, Path], Facts], file: Path, data: Path, as_json: bool) -> None:
    facts = make(data, file)
    line = f"{facts['entries']} entries of agent {facts['agent']} are in {file}, digest {facts['digest']}"
    _show(facts, as_json, [line])


@journal.command(
    name="import", epilog="Example: actonce journal import state.actonce --data disk/a --agent bot --name a"
)
@click.argument("file", type=FILE)
@data_option
@click.option("--agent", required=True, metavar="NAME", help="Name of the agent, as in Agent(NAME).")
@click.option("--name", required=True, metavar="NAME", help="Of the replica that is to use this folder.")
@click.option(
    "--renew",
    is_flag=True,
    help="Keep every entry, and none of the ids of the processes that wrote them: for a mesh that has used up its ids.",
)
@json_option
def import_(file: Path, data: Path, agent: str, name: str, renew: bool, as_json: bool) -> None:
    """Start anew from a file of `export` or `backup`, after all replicas are lost.

    Import it on one replica and start that one with --new; start the others with --join, on empty folders. The file is
    verified first; one of another agent, of another version or with a wrong byte is refused, and nothing changes. A
    folder that holds a journal is refused too.

    Votes of the roster and rights of quotas belong to the journals that are lost: they do not come back.
    """
    facts: dict[str, Any] = care.import_(data, file, agent=agent, replica=name, renew=renew)
    lines = [
        f"{facts['entries']} entries of agent {facts['agent']} are in {data}, digest {facts['digest']}",
        f"start it: actonce run ... --name {name} --data {data} --new, and all others with --join",
    ]
    _show(facts, as_json, lines)
