"""`actonce cancel`, `retry` and `drop`: what a person orders for one task."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import print_json


@click.command(epilog="Example: actonce cancel reply/message-1")
@click.argument("task")
@asking
def cancel(task: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Call a task off: no further attempt, and none of its effects leaves once its replica has read this."""
    _order("cancel", task, at, secret_file, as_json)


@click.command(epilog="Example: actonce tasks --dead; actonce retry reply/message-1")
@click.argument("task")
@asking
def retry(task: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Try a task again that failed, was set aside or cancelled. What it posted is not posted again."""
    _order("retry", task, at, secret_file, as_json)


@click.command(epilog="Example: actonce drop reply/message-1")
@click.argument("task")
@asking
def drop(task: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """List a task that failed, was set aside or cancelled no longer among the dead."""
    _order("drop", task, at, secret_file, as_json)


def _order(order: str, task: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    answer = Client(at, secret_file).post(f"/{order}/{quote(task, safe='')}", {})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['task']} {'is' if order == 'cancel' else 'was'} {answer['state']}")
