"""`actonce quota`: rights, use, waiting, transfers, cool-downs, as one replica knows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import cell, on_terminal, print_json, print_lines, print_rendered, table

COLUMNS = ("limit", "units", "per", "held", "free", "in_use", "waiting", "transfers")


@click.command(epilog="Example: actonce quota --at 127.0.0.1:7421")
@click.option(
    "--found",
    is_flag=True,
    help="This replica makes the rights of a mesh that was made before its agent had quotas. Once, on one, while "
    "all are connected.",
)
@asking
def quota(found: bool, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Show the limits: the rights that this replica holds, what is used and waited for, who holds the rest.

    "free" and "in_use" are rights held here: one that was used is in use for a whole window. "waiting" are units that
    calls wait for. Why a call of a task waits, `actonce explain TASK` tells, on the replica that runs it.
    """
    if found:
        Client(at, secret_file).post("/quota/found", {})
    facts = Client(at, secret_file).get("/quota")
    if as_json:
        print_json(facts)
        return
    rows = [[*(limit[name] for name in COLUMNS), _holders(limit)] for limit in facts["limits"]]
    columns = (*COLUMNS, "holders")
    if on_terminal():
        print_rendered(table(columns, rows))
    else:
        print_lines(["\t".join(columns), *("\t".join(cell(value) for value in row) for row in rows)])
    print_lines(_remarks(facts))


def _holders(limit: dict[str, Any]) -> str:
    here = [f"{name} {count} (needs {limit['needs'].get(name, 0)})" for name, count in limit["holders"].items()]
    return ", ".join(here + [f"{name} {count} (gone)" for name, count in limit["gone"].items()])


def _remarks(facts: dict[str, Any]) -> Iterator[str]:
    for limit in facts["limits"]:
        if limit["spent"] is not None:
            yield f"{limit['limit']}: {limit['spent']} of {limit['units']} spent this {limit['per']}, by all replicas"
    for name, pool in facts["quotas"].items():
        for scope, seconds in pool["cooling_s"].items():
            yield f"{name}: the provider asked for a pause ({scope}): {seconds:g} s left"
        if pool["adaptive_factor"] < 1:
            yield f"{name}: used at {pool['adaptive_factor']:.0%} of the limit since the provider complained"
    yield from (f"degraded: {warning}" for warning in facts["warnings"])
