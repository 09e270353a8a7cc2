"""`actonce cancel`: what a person orders for one task that is not over."""

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
    answer = Client(at, secret_file).post(f"/cancel/{quote(task, safe='')}", {})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['task']} is {answer['state']}")
