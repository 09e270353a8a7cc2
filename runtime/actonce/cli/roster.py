"""`actonce roster`: which replicas vote on tasks that need a majority."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import print_json, print_lines


@click.group(invoke_without_command=True, epilog="Example: actonce roster add d --at 127.0.0.1:7421")
@asking
@click.pass_context
def roster(context: click.Context, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Show the replicas that vote on tasks with guard="majority", or change them, one at a time.

    A task of such a kind runs only where a majority of the voters agrees, so three voters survive the loss of one and
    five that of two. A voter that lost its data must be removed and added again.
    """
    if context.invoked_subcommand is None:
        _show(Client(at, secret_file).get("/roster"), as_json)


@roster.command(epilog="Example: actonce roster add d")
@click.argument("name")
@asking
def add(name: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Let the replica NAME vote. It must be up and linked to the replica that is asked."""
    _show(Client(at, secret_file).post("/roster", {"add": name}), as_json)


@roster.command(epilog="Example: actonce roster remove d")
@click.argument("name")
@asking
def remove(name: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Let the replica NAME vote no longer. It may be dead; a majority of the others must be in reach."""
    _show(Client(at, secret_file).post("/roster", {"remove": name}), as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    absent = [f"{name}  never seen: start it, or leave it out of --roster" for name in facts["never_seen"]]
    if facts["version"] is None:
        print_lines(["no roster: start the replicas with --roster NAME,NAME,...", *absent])
    else:
        head = f"roster {facts['version']}: {facts['in_reach']} of {len(facts['voters'])} voters in reach"
        rows = (f"{row['name']}  {'in reach' if row['in_reach'] else 'out of reach'}" for row in facts["voters"])
        print_lines([f"{head}, {facts['majority']} are a majority", *rows, *absent])
