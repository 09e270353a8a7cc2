"""`actonce memory`: what the agent remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import print_json, print_rows
from actonce.errors import ConfigError
from actonce.reporting import moment


@click.group(epilog="Example: actonce memory ls; actonce memory get mood; actonce memory history mood")
def memory() -> None:
    """Look at, and change, what the agent remembers: what its handlers write with `ctx.memory`."""


@memory.command(epilog="Example: actonce memory ls users/ --json")
@click.argument("prefix", default="")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="At most so many names.")
@asking
def ls(prefix: str, limit: int, at: str, secret_file: Path | None, as_json: bool) -> None:
    """List the names in memory that begin with PREFIX."""
    rows = Client(at, secret_file).get("/memory", {"prefix": prefix, "limit": str(limit)})
    print_rows(rows, ("name", "shape", "values", "conflicts"), as_json)


@memory.command(epilog="Example: actonce memory get mood")
@click.argument("name")
@asking
def get(name: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Print the value under NAME as JSON, a text as it is; with --json also by whom, when, and what conflicts."""
    found = Client(at, secret_file).get(f"/memory/{quote(name, safe='')}")
    if as_json:
        print_json(found)
        return
    click.echo(found["value"] if found["shape"] == "text" else json.dumps(found["value"], ensure_ascii=False))
    for clash in found.get("conflicts", ()):
        where = f"{name}[{clash['member']}]" if clash["member"] else name
        click.echo(f"conflict: {where} was written on two replicas at once; the first of these is read:", err=True)
        for value in clash["values"]:
            text = json.dumps(value["value"], ensure_ascii=False)
            click.echo(f"  {text} by {value['replica']}, {value['task'] or 'a person'}", err=True)


@memory.command("set", epilog="""Example: actonce memory set mood '"good"' --ttl 1h""")
@click.argument("name")
@click.argument("value")
@click.option("--field", default="", help="A field of the map NAME instead of the register NAME.")
@click.option("--ttl", default=None, help="Forget it after so long: 90s, 1h, 7d.")
@click.option("--text", is_flag=True, help="NAME is a text that is edited together, and VALUE is what it is to be.")
@asking
def set_(
    name: str,
    value: str,
    field: str,
    ttl: str | None,
    text: bool,
    at: str,
    secret_file: Path | None,
    as_json: bool,
) -> None:
    """Remember VALUE, which is JSON, under NAME. It replaces what this replica knows there, conflicts included.

    With --text VALUE is plain text, and only what differs is edited: what others write elsewhere in it meanwhile stays.
    """
    if text and (field or ttl):
        raise ConfigError("a text has neither fields nor an end: leave out --field and --ttl")
    if text:
        _tell(name, {"value": value, "text": True}, at, secret_file, as_json)
        return
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"VALUE is not JSON ({error}); a text needs its own quotes") from None
    body: dict[str, Any] = {"value": parsed, **({"ttl": ttl} if ttl else {}), **({"field": field} if field else {})}
    _tell(name, body, at, secret_file, as_json)


@memory.command(epilog="Example: actonce memory rm mood")
@click.argument("name")
@click.option("--field", default="", help="A field of the map, or a member of the set NAME.")
@asking
def rm(name: str, field: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Forget what is under NAME. What another replica writes there at the same time stays."""
    _tell(name, {"remove": True, **({"field": field} if field else {})}, at, secret_file, as_json)


@memory.command(epilog="Example: actonce memory history mood")
@click.argument("name")
@asking
def history(name: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Every write to NAME that is still kept, the oldest first: by whom, for which task, and whether it counts.

    What was replaced is kept until the log that holds it is shortened.
    """
    rows = Client(at, secret_file).get(f"/memory/{quote(name, safe='')}", {"history": "1"})
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            **row,
            "at": moment(row["at"]),
            "task": row["task"] or None,
            "member": row["member"] or None,
            "what": _what(row),
            "counts": "yes" if row["counts"] else "replaced",
        }
        for row in rows
    ]
    print_rows(shown, ("at", "replica", "task", "member", "what", "counts"), as_json=False)


def _what(row: dict[str, Any]) -> str:
    if "added" in row:
        return f"+{row['added']} -{row['taken_off']} in all"
    return json.dumps(row["value"], ensure_ascii=False) if "value" in row else "(taken away)"


def _tell(name: str, body: dict[str, Any], at: str, secret_file: Path | None, as_json: bool) -> None:
    answer = Client(at, secret_file).post(f"/memory/{quote(name, safe='')}", body)
    print_json(answer) if as_json else click.echo(f"{name} is {answer['state']}")
