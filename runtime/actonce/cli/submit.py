"""`actonce submit`: hand one task to the mesh."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from actonce.cli.client import Client
from actonce.cli.failure import Failure
from actonce.cli.options import asking
from actonce.cli.show import print_json

ONE_WAIT_S = 30.0
"""How long one question for the outcome stays open; longer waits are several questions."""


@click.command(
    epilog="""Example: actonce submit reply '{"text": "hello"}' --key message-1 --wait 10""",
)
@click.argument("kind")
@click.argument("payload", metavar="PAYLOAD_JSON|-")
@click.option(
    "--key",
    metavar="KEY",
    help="What makes two submissions one task: a message id, an order number. Equal kind and key are done once, on "
    "whichever replicas they come in, however often. Without a key every submission is a new task.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait for the outcome and print it, wherever the task runs.",
)
@click.option("--priority", type=int, help="From -1000 to 1000: of the tasks of one replica the highest goes first.")
@click.option("--delay", metavar="DURATION", help="Begin so much later, as 30s or 2h.")
@click.option("--not-before", metavar="TIME", help="Not before this time, as 2026-11-21T09:00:00+01:00.")
@click.option("--after", multiple=True, metavar="TASK", help="Only once this task has a result; may be repeated.")
@asking
def submit(
    kind: str,
    payload: str,
    key: str | None,
    wait_s: float,
    at: str,
    secret_file: Path | None,
    as_json: bool,
    **terms: Any,
) -> None:
    """Hand a task of KIND to the mesh, with any JSON as payload ("-" reads it from standard input).

    Returns once the task is on disk and, where there is another live replica, read by it too: from then on the death
    of any one replica cannot lose it.
    """
    client = Client(at, secret_file)
    wanted = {name: value for name, value in terms.items() if value is not None and value != ()}
    submitted = client.post("/submit", {"kind": kind, "payload": _parsed(payload), "key": key, **wanted})
    task = submitted["task"]
    if not as_json:
        click.echo(f"{task} {'accepted' if submitted['new'] else 'was known already'}")
    outcome = _outcome(client, task, wait_s) if wait_s else None
    if as_json:
        print_json(submitted if outcome is None else {**submitted, **outcome})
    if outcome is not None and not outcome["ok"]:
        raise Failure(f"task {task} failed: {outcome['result']}")
    if outcome is not None and not as_json:
        click.echo(f"{task} is done: {json.dumps(outcome['result'], ensure_ascii=False)}")
    if wait_s and outcome is None:
        raise Failure(f"task {task} has no outcome after {wait_s:g} s; it goes on, and `actonce explain {task}` tells")


def _parsed(payload: str) -> Any:
    text = sys.stdin.read() if payload == "-" else payload
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        cure = """write it like '{"text": "hello"}', in single quotes"""
        raise Failure(f"the payload is not JSON: {error}; {cure}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _outcome(client: Client, task: str, wait_s: float) -> Any:
    while wait_s > 0:
        outcome = client.outcome(task, min(wait_s, ONE_WAIT_S))
        if outcome is not None:
            return outcome
        wait_s -= ONE_WAIT_S
    return None
