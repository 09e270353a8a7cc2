"""`actonce report`: what was done twice, and what is in doubt, with the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import cell, print_lines
from actonce.heal import SECTIONS, canonical, counts


@click.command(epilog="Example: actonce report --json | sha256sum   # the same on every replica that has synced")
@asking
def report(at: str, secret_file: Path | None, as_json: bool) -> None:
    """Show what was done twice after the mesh was cut for longer than the grace, and what is in doubt.

    Tasks on which two sides worked; effects that both sent, with both receipts; effects of which nobody knows whether
    they were sent, or sent again; places in memory that hold concurrent values. By whom, under which claim (epoch),
    when. It is computed from the document alone: every replica that has synced prints the same bytes with --json. A
    sink that refuses repeated keys has carried out one of two requests; what is listed is what was sent.
    """
    found = Client(at, secret_file).get("/report")
    if as_json:
        click.echo(canonical(found))
    else:
        print_lines(_lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    number = counts(found)
    yield ", ".join(f"{name.replace('_', ' ')} {number[name]}" for name in SECTIONS)
    if found["not_looked_at"]:
        yield f"{found['not_looked_at']} older disputes are left out"
    for row in found["ran_twice"]:
        yield f"ran twice  {row['task']}: {'; '.join(row['evidence'])}"
    for row in found["doubled"]:
        sends = [f"{one['by']} (epoch {one['epoch']}) {one['at']} {cell(one['receipt'])}" for one in row["sends"]]
        yield f"doubled    {row['effect']} at {row['sink']}: {'; '.join(sends)}"
    for row in found["doubts"]:
        said = [f"{one['by']} (epoch {one['epoch']}) {one['settled']}" for one in row["doubts"]]
        said += [f"{one['by']} (epoch {one['epoch']}) may have sent it" for one in row["unknown"]]
        yield f"doubt      {row['effect']} at {row['sink']}: {'; '.join(said)}"
    for row in found["memory"]:
        values = "; ".join(f"{one['by']} {one['at']} {cell(one['value'])}" for one in row["values"])
        yield f"memory     {row['shape']} {row['name']} {row['member']}: {values}"
