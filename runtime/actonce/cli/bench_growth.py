"""`actonce bench growth`: what years of work leave behind."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import anyio
import click

from actonce.bench.figures import machine
from actonce.bench.growth import Growth, run_growth
from actonce.bench.lasting import Checked, run_lasting
from actonce.bench.plot import check_plot, plot_growth
from actonce.cli.demo import make_narrator, read_rate
from actonce.cli.failure import Failure
from actonce.cli.show import on_terminal, print_json, print_lines, print_rendered, table
from actonce.cli.stopping import INTERRUPTED

SHOWN = 10
"""Rows, of those that are measured."""
TASKS_SIMULATED, TASKS_REAL = 3_000, 5_000


@click.command(epilog="Example, more than an hour: actonce bench growth --tasks 1000000 --plot growth.png --json")
@click.option(
    "--tasks",
    type=click.IntRange(120, 10_000_000),
    metavar="N",
    help=f"How many.  [default: {TASKS_SIMULATED}; with --real {TASKS_REAL}]",
)
@click.option("--real", is_flag=True, help="Three processes, with journals on this disk, in real time.")
@click.option("--rate", metavar="N/s", help="Tasks a second, with --real.  [default: 300/s]")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw it; needs actonce[bench].")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
def growth(tasks: int | None, real: bool, rate: str | None, plot: Path | None, as_json: bool) -> None:
    """Do many tasks, and see that a mesh does not grow with them.

    Three replicas, which soon forget an outcome, do the tasks, each with one effect: simulated, some hundred tasks a
    second of a core, or with --real as three processes with journals. Measured on the way: the document, the journal,
    the resident memory and the CPU; and, in a process of its own, a shared map with one key for each task, as it is
    usually laid out, which grows for ever. Memory levels off after some ten thousand tasks, once all that lives for a
    while has been made: read its slope from a long run.

    With --real exit status 1 if a task was lost or posted twice, or the replicas do not agree at the end.
    """
    if rate is not None and not real:
        raise click.UsageError("--rate is of real processes: add --real")
    if plot is not None:
        check_plot(plot)
    before, checked, per_s = machine(), None, read_rate(rate or "300/s")
    try:
        if real:
            found, checked = anyio.run(_measure_real, tasks or TASKS_REAL, per_s, as_json)
        else:
            found = run_growth(tasks or TASKS_SIMULATED)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    if plot is not None:
        plot_growth(plot, [asdict(row) for row in found.rows], title(found, real))
    how = {"real": real, **({"rate": per_s} if real else {}), **(asdict(checked) if checked is not None else {})}
    if as_json:
        print_json({**asdict(found), **how, "machine": before})
    else:
        show(found, checked)
    if checked is not None and (checked.lost or checked.doubled):
        raise Failure(f"{checked.lost} tasks lost, {checked.doubled} doubled; {checked.late} were late")


async def _measure_real(tasks: int, rate: float, as_json: bool) -> tuple[Growth, Checked]:
    with make_narrator(as_json, "tasks of each replica") as narrator:
        return await run_lasting(tasks, rate, narrator)


def title(found: Growth, real: bool) -> str:
    return f"{found.tasks:,} tasks through three {'processes' if real else 'simulated replicas'}"


def show(found: Growth, checked: Checked | None) -> None:
    """For people."""
    headings = ("tasks", "document", "entries", "remembered", "journal", "memory", "one key a task", "its memory")
    shown = found.rows[:: -max(1, len(found.rows) // SHOWN)][::-1]
    rows = [
        tuple(
            f"{count:,}"
            for count in (
                *(row.tasks, row.document_bytes, row.entries, row.remembered),
                *(row.journal_bytes, row.rss_bytes, row.naive_bytes, row.naive_rss_bytes),
            )
        )
        for row in shown
    ]
    slope, noise = found.rss_slope_bytes_per_task, found.rss_noise_bytes_per_task
    facts = [
        f"second half: {slope:,.1f} bytes of memory a task (two standard errors: {noise:,.1f}); "
        f"one key a task: {found.naive_rss_slope_bytes_per_task:,.1f}",
        f"CPU a task, first and second half: {found.cpu_ms_per_task[0]:.2f} and {found.cpu_ms_per_task[1]:.2f} ms",
    ]
    if checked is not None:
        facts.append(", ".join(f"{value} {name}" for name, value in asdict(checked).items()))
    if on_terminal():
        print_rendered(table(headings, rows))
        print_lines(facts)
    else:
        print_lines(("  ".join(headings), *("  ".join(row) for row in rows), *facts))
