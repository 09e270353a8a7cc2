"""`actonce dead`: tasks that failed, were set aside or called off, and what to do with them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import limit_option, print_json, print_rows

all_option = click.option("--all", "everything", is_flag=True, help="All of `actonce dead list`.")
tasks_argument = click.argument("tasks", nargs=-1, metavar="[TASK]...")


@click.group(epilog="Example: actonce dead list")
def dead() -> None:
    """Tasks that failed, were set aside or called off: list them, try them again, forget them.

    The same list on every replica; an order given at one reaches all.
    """


@dead.command("list", epilog="Example: actonce dead list --json")
@limit_option
@asking
def list_dead(limit: int, at: str, secret_file: Path | None, as_json: bool) -> None:
    """List dead tasks, newest first: why they ended, and which of their effects were not posted."""
    rows = Client(at, secret_file).get("/dead", {"limit": str(limit)})
    print_rows(rows, ("task", "state", "ended", "retries", "deaths", "error", "not_posted"), as_json)


@dead.command(epilog="Example: actonce dead retry reply/message-1")
@tasks_argument
@all_option
@asking
def retry(tasks: tuple[str, ...], everything: bool, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Give each TASK all its attempts again. What it posted is not posted again."""
    _order("retry", tasks, everything, Client(at, secret_file), as_json)


@dead.command(epilog="Example: actonce dead drop reply/message-1")
@tasks_argument
@all_option
@asking
def drop(tasks: tuple[str, ...], everything: bool, at: str, secret_file: Path | None, as_json: bool) -> None:
    """List each TASK no longer. It stays what it is: failed; `actonce dead retry` still works."""
    _order("drop", tasks, everything, Client(at, secret_file), as_json)


def _order(order: str, tasks: tuple[str, ...], everything: bool, client: Client, as_json: bool) -> None:
    if bool(tasks) == everything:
        raise click.UsageError("name tasks, or say --all")
    if everything:
        tasks = tuple(row["task"] for row in client.get("/dead", {"limit": "10000"}))
    answers = []
    for task in tasks:
        answers.append(client.post(f"/{order}/{quote(task, safe='')}", {}))
        if not as_json:
            click.echo(f"{answers[-1]['task']} was {answers[-1]['state']}")
    if as_json:
        print_json(answers)
