"""`actonce pause`, `resume`, `drain`, `stop`: orders for the whole agent, one kind of task, or one replica."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from actonce.cli.client import Client, Refused
from actonce.cli.options import asking
from actonce.cli.show import print_json, print_lines
from actonce.control_report import CONFIRM_S, CONFIRM_S_MAX

WORDS = {"run": "goes on", "drain": "drains", "pause": "is paused", "stop": "stops", "halt": "has stopped"}


def ordering(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all orders have."""
    options = (
        click.option("--kind", metavar="KIND", help="Only tasks of this kind."),
        click.option("--replica", metavar="NAME", help="Only this replica; the others do what it would do."),
        click.option("--reason", default="", metavar="TEXT", help="Shown to whoever asks why."),
        asking,
    )
    return reduce(lambda made, option: option(made), reversed(options), command)


@click.command(epilog='Example: actonce pause --kind reply --reason "wrong prompt"')
@ordering
def pause(kind: str | None, replica: str | None, reason: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Begin no task; what runs goes on to its end.

    New tasks are accepted and wait, also for another attempt; slots of schedules count as missed. The order goes to
    every replica, on whichever of them it is given, and to those that come back later. `actonce resume` ends it.
    """
    _order("pause", kind, replica, reason, at, secret_file, as_json)


@click.command(epilog="Example: actonce resume --kind reply")
@ordering
def resume(
    kind: str | None, replica: str | None, reason: str, at: str, secret_file: Path | None, as_json: bool
) -> None:
    """End a pause, a drain or a stop of the same target: what waited begins, what was stopped goes on where it was.

    It ends the orders that the asked replica knows of. One that was given at the same time on the other side of a cut
    stands, and is shown; ask again once the mesh is whole.
    """
    _order("run", kind, replica, reason, at, secret_file, as_json)


@click.command(epilog="Example: actonce drain --replica b")
@ordering
def drain(kind: str | None, replica: str | None, reason: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Take nothing new, and finish what there is.

    Of the agent or a kind: new tasks are refused, schedules begin no slot, all tasks that were accepted are done. Of a
    replica: it begins nothing, others do its tasks, and what runs there goes on to its end. "open" in the answer is
    what is left to do; `actonce tasks` shows it.
    """
    _order("drain", kind, replica, reason, at, secret_file, as_json)


@click.command(epilog='Example: actonce stop --now --reason "posts nonsense"')
@click.option(
    "--now", is_flag=True, help="The emergency stop: cancel at once, let no effect out, and wait until all confirm."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, CONFIRM_S_MAX),
    default=CONFIRM_S,
    show_default=True,
    metavar="SECONDS",
    help="How long --now waits for the confirmations.",
)
@ordering
def stop(
    now: bool,
    timeout_s: float,
    kind: str | None,
    replica: str | None,
    reason: str,
    at: str,
    secret_file: Path | None,
    as_json: bool,
) -> None:
    """Begin no task, and cancel what runs: after its time to end (30 s), or --now.

    Nothing is given up: tasks go on where they were after `actonce resume`. With --now each replica shuts the gate
    through which effects leave, and confirms. Status 0 says that every replica in play has confirmed: no effect leaves
    any of them until a resume. Status 1 names those that have not confirmed in time; the order stands, and they obey
    it once they read it. A replica that is cut off acts on until then, and is named.
    """
    _order("halt" if now else "stop", kind, replica, reason, at, secret_file, as_json, timeout_s)


def _order(
    mode: str,
    kind: str | None,
    replica: str | None,
    reason: str,
    at: str,
    secret_file: Path | None,
    as_json: bool,
    timeout_s: float = CONFIRM_S,
) -> None:
    if kind is not None and replica is not None:
        raise click.UsageError("an order is for a kind or for a replica: give --kind or --replica, not both")
    body = {"mode": mode, "kind": kind, "replica": replica, "reason": reason, "timeout_s": timeout_s}
    try:
        answer = Client(at, secret_file).post("/control", body, wait_s=timeout_s)
    except Refused as refused:
        if as_json and "missing" in refused.answer:
            print_json(refused.answer)
        raise
    if as_json:
        print_json(answer)
        return
    sort, _, name = str(answer["target"]).partition(":")
    lines = [f"{f'{sort} {name}' if name else 'the agent'} {WORDS[mode]}"]
    if mode == "halt":
        lines[0] += f": confirmed by {', '.join(answer['confirmed']) or 'nobody, for nobody is concerned'}"
    if mode == "drain":
        lines[0] += f": {answer['open']} open"
    lines += [f"not reached: {one} is cut off or dead; if it lives, it acts until it is" for one in answer["beyond"]]
    lines += [f"also: {sentence}" for sentence in answer["also"]]
    print_lines(lines)
