"""`actonce status`, `tasks`, `posts` and `explain`: what one replica knows. Tables on a terminal, else plain lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.reporting import TASK_STATES

NOTES = 5
"""Of a replica's notes, the last so many are shown."""
STATES = TASK_STATES

limit_option = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, metavar="N", help="At most so many rows."
)


@click.command(epilog="Example: actonce status --at 127.0.0.1:7421")
@asking
def status(at: str, secret_file: Path | None, as_json: bool) -> None:
    """Show the replicas, their views, the tasks by state, and whatever is degraded."""
    facts = Client(at, secret_file).get("/status")
    if as_json:
        print_json(facts)
    else:
        print_rendered(status_page(facts)) if on_terminal() else print_lines(status_lines(facts))


@click.command(epilog="Example: actonce tasks --state running --limit 20")
@click.option(
    "--state",
    type=click.Choice(STATES),
    help="Only these. Open tasks are claimed by nobody yet; held ones wait for a time or for other tasks; waiting ones "
    "failed, and will be tried again; those set aside ended the process that ran them, again and again.",
)
@limit_option
@asking
def tasks(state: str | None, limit: int, at: str, secret_file: Path | None, as_json: bool) -> None:
    """List tasks, newest first: their state, who claimed them, how often they were tried again, what they returned."""
    query = {"limit": str(limit)} if state is None else {"limit": str(limit), "state": state}
    rows = Client(at, secret_file).get("/tasks", query)
    columns = ("task", "state", "submitted", "claimed_by", "epoch", "retries", "deaths", "result", "waits")
    print_rows(rows, columns, as_json)


@click.command(epilog="Example: actonce posts --json | head")
@limit_option
@asking
def posts(limit: int, at: str, secret_file: Path | None, as_json: bool) -> None:
    """List effects, newest first: what was posted where, by whom, with which receipt, and which were in doubt."""
    rows = Client(at, secret_file).get("/posts", {"limit": str(limit)})
    print_rows(rows, ("effect", "state", "doubt", "sink", "by", "body", "receipt"), as_json)


@click.command(epilog="Example: actonce schedules")
@asking
def schedules(at: str, secret_file: Path | None, as_json: bool) -> None:
    """List schedules: when they are due, their rules, their next slot, up to where all slots are settled."""
    rows = Client(at, secret_file).get("/schedules")
    print_rows(rows, ("schedule", "when", "missed", "overlap", "next", "settled_up_to", "kept_by"), as_json)


@click.command(epilog="Example: actonce explain reply/message-1")
@click.argument("task")
@asking
def explain(task: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Tell the story of a task: who took it in, who claimed what, when, and why it is theirs."""
    facts = Client(at, secret_file).explain(task)
    if as_json:
        print_json(facts)
        return
    print_lines(
        [
            f"{facts['task']} is {facts['state']}",
            f"payload  {cell(facts['payload'])}",
            f"result   {cell(facts['result'])}",
            f"rank     {' > '.join(facts['rank'])} (the first that is live and can, owns it; now {facts['owner_now']})",
            *([f"held     it {facts['held']}"] if facts["held"] else []),
            *([f"waits    {facts['waits']}"] if facts["waits"] else []),
            *(f"view     {view}" for view in facts["views"]),
            *facts["guard"],
            "",
            *facts["story"],
            *([""] if facts["notes"] else []),
            *(f"{note} (noted here)" for note in facts["notes"]),
        ]
    )


def on_terminal() -> bool:
    """Whether a person looks at the output right now."""
    return sys.stdout.isatty()


def print_json(value: object) -> None:
    """One line of JSON on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_lines(lines: Iterable[str]) -> None:
    """Text on stdout, line by line."""
    for line in lines:
        click.echo(line)


def print_rendered(page: RenderableType) -> None:
    """A page for a terminal."""
    Console().print(page)


def print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """A list: JSON, a table, or lines of tab-separated fields under a head."""
    if as_json:
        print_json(rows)
    elif on_terminal():
        print_rendered(table(columns, [[row[name] for name in columns] for row in rows]))
    else:
        print_lines(["\t".join(columns), *("\t".join(cell(row[name]) for name in columns) for row in rows)])


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table of plain cells, with a head unless all columns are nameless."""
    names = list(columns)
    made = Table(box=None, header_style="bold", pad_edge=False, show_header=any(names))
    for name in names:
        made.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell(value)) for value in row))
    return made


def cell(value: object) -> str:
    """One value on one line, without control characters."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else " " for char in text)


def status_page(facts: dict[str, Any]) -> RenderableType:
    """The facts of `/status` as tables."""
    counts = Text("  ".join(f"{name} {count}" for name, count in _task_counts(facts)))
    effects = Text(
        "  ".join(f"{name} {count}" for name, count in facts["effects"].items()) + f"  doubts {facts['doubts']}"
    )
    parts: list[RenderableType] = [
        Text(_head(facts), style="bold"),
        Text(),
        table(
            ("replica", "state", "incarnation", "contact", "its view"),
            [_replica_row(r, facts) for r in facts["replicas"]],
        ),
        Text(),
        Text.assemble(("tasks    ", "bold"), counts),
        Text.assemble(("effects  ", "bold"), effects),
    ]
    parts += [Text(f"degraded: {fact}", style="yellow") for fact in facts["degraded"]]
    return Group(*parts, Text(), *(Text(note, style="dim") for note in facts["notes"][-NOTES:]))


def status_lines(facts: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    return [
        _head(facts),
        *(_replica_line(_replica_row(row, facts)) for row in facts["replicas"]),
        "tasks " + ", ".join(f"{count} {name}" for name, count in _task_counts(facts)),
        "effects " + ", ".join(f"{count} {name}" for name, count in facts["effects"].items()),
        f"doubts {facts['doubts']}",
        *(f"degraded: {fact}" for fact in facts["degraded"]),
        *(f"note: {note}" for note in facts["notes"][-NOTES:]),
    ]


def _replica_line(row: list[object]) -> str:
    name, state, incarnation, contact, seen = (cell(value) for value in row)
    heard = f", heard {contact}" if contact.endswith("ago") else ""
    return f"replica {name}: {state}{heard}, view {seen}, incarnation {incarnation}"


def _task_counts(facts: dict[str, Any]) -> list[tuple[str, int]]:
    """The usual states, and of the others those in which there are tasks."""
    usual = ("open", "running", "waiting", "done", "failed")
    rest = [name for name in STATES if name not in usual and facts["tasks"][name]]
    return [(name, facts["tasks"][name]) for name in (*usual, *rest)]


def _head(facts: dict[str, Any]) -> str:
    state = "acts" if facts["acting"] else "does not act"
    why = facts["settled"] or "not settled"
    slots = f"{facts['slots']['free']} of {facts['slots']['all']} slots free"
    return f"agent {facts['agent']}, replica {facts['replica']}: {state} ({why}); {slots}"


def _replica_row(replica: dict[str, Any], facts: dict[str, Any]) -> list[object]:
    view = facts["view"] if replica["name"] == facts["replica"] else replica.get("view")
    age_s = replica.get("contact_age_s")
    contact = "" if replica["state"].startswith("self") else "none" if age_s is None else f"{age_s:.2f} s ago"
    seen = f"{view['number']}: {', '.join(view['members'])}" if view else "-"
    if view and view["lingering"]:
        seen += f" (silent: {', '.join(view['lingering'])})"
    linked = replica["state"] if replica.get("linked", True) else f"{replica['state']}, no link"
    return [replica["name"], linked, replica["incarnation"], contact, seen]
