"""`actonce bench throughput` and `actonce bench latency`: how fast, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import click

from actonce.bench.figures import machine
from actonce.bench.speed import run_latency, run_throughput
from actonce.cli.demo import make_narrator, read_rate
from actonce.cli.show import on_terminal, print_json, print_lines, print_rendered, table
from actonce.cli.stopping import INTERRUPTED
from actonce.demo.driver import Narrator

REPLICAS_MAX = 16

runs_option = click.option(
    "--runs", type=click.IntRange(1, 1_000), default=1, show_default=True, metavar="N", help="Medians over so many."
)
replicas_option = click.option(
    "--replicas", type=click.IntRange(1, REPLICAS_MAX), default=3, show_default=True, metavar="N", help="Processes."
)
json_option = click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")


@click.command(epilog="Example: actonce bench throughput --tasks 30000 --runs 3")
@click.option(
    "--tasks", type=click.IntRange(16, 10_000_000), default=6_000, show_default=True, metavar="N", help="How many."
)
@replicas_option
@runs_option
@json_option
def throughput(tasks: int, replicas: int, runs: int, as_json: bool) -> None:
    """Tasks a second, enqueued while they are drained, and the CPU that they cost.

    Real processes with journals that fsync. Each submits an equal share of the tasks, 64 at once, and waits until each
    submission is on its disk and read by another replica; the handler does nothing. The clock stops when every
    process has seen every outcome. CPU: user and system seconds of all processes. Compare medians of several runs.
    """
    _measure(lambda narrator: run_throughput(tasks, replicas, runs, narrator), throughput_rows, as_json)


@click.command(epilog="Example: actonce bench latency --rate 50/s --tasks 1000 --runs 3")
@click.option(
    "--tasks", type=click.IntRange(10, 1_000_000), default=250, show_default=True, metavar="N", help="How many."
)
@click.option("--rate", default="50/s", show_default=True, metavar="N/s", help="Tasks a second, at one replica.")
@replicas_option
@runs_option
@json_option
def latency(tasks: int, rate: str, replicas: int, runs: int, as_json: bool) -> None:
    """The time from before `submit` to the first line of the handler, whichever replica runs it.

    Real processes with journals that fsync. First tasks that one replica is given; and how long `submit` takes to
    return, by when the task is on its disk and read by another replica. Then tasks that every replica hears of by
    itself, as a bot that is connected in each of them: the one that is to act begins at once, and only what it posts
    waits for disks.
    """
    per_s = read_rate(rate)
    _measure(lambda narrator: run_latency(tasks, per_s, replicas, runs, narrator), latency_rows, as_json)


def _measure(
    run: Callable[[Narrator], Coroutine[Any, Any, dict[str, Any]]],
    rows: Callable[[dict[str, Any]], list[tuple[str, str]]],
    as_json: bool,
) -> None:
    before = machine()

    async def main() -> dict[str, Any]:
        with make_narrator(as_json, "runs") as narrator:
            return await run(narrator)

    try:
        found = anyio.run(main)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        print_json({**found, "machine": before})
    elif on_terminal():
        print_rendered(table(("", ""), rows(found)))
    else:
        print_lines(f"{name}: {value}" for name, value in rows(found))


def throughput_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """For people."""
    return [
        ("tasks/s", _with_spread(found, "tasks_per_s", 0)),
        ("CPU s per 1,000 tasks, all processes", _with_spread(found, "cpu_s_per_1000", 3)),
        ("tasks", f"{found['tasks']:,} by {found['replicas']} replicas"),
    ]


def latency_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """For people."""
    sorts = [("submit to start", "started"), ("submit returns", "returned"), ("heard by all, to start", "heard")]
    parts = [(what, name, part) for what, name in sorts for part in ("p50", "p99")]
    return [
        *((f"{what}, {part}", _with_spread(found, f"{name}_{part}_ms", 2) + " ms") for what, name, part in parts),
        ("tasks", f"{found['tasks']:,} at {found['rate']:g}/s, {found['replicas']} replicas"),
    ]


def _with_spread(found: dict[str, Any], name: str, digits: int) -> str:
    least, most = found["spread"][name]
    spread = f" ({least:,.{digits}f} to {most:,.{digits}f} in {found['runs']} runs)" if found["runs"] > 1 else ""
    return f"{found[name]:,.{digits}f}{spread}"
