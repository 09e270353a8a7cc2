"""`actonce bench`: measurements that can be repeated anywhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import anyio
import click

from actonce.bench.failover import Faults, run_failover
from actonce.bench.figures import Figures, machine
from actonce.cli.demo import make_narrator, read_rate
from actonce.cli.failure import Commands, Failure
from actonce.cli.show import on_terminal, print_json, print_lines, print_rendered, table
from actonce.cli.stopping import INTERRUPTED
from actonce.demo.driver import fresh_seed

DIARIES_KEPT = "journals, logs and the handlers' diary are in"


@click.group(cls=Commands, epilog="Example: actonce bench failover --kills 20")
def bench() -> None:
    """Measure this version on this machine."""


@bench.command(epilog="Example, about four minutes: actonce bench failover --kills 100 --stops 10 --vanishes 10 --json")
@click.option("--kills", type=click.IntRange(0, 10_000), default=10, show_default=True, metavar="N", help="By SIGKILL.")
@click.option("--stops", type=click.IntRange(0, 1_000), default=3, show_default=True, metavar="N", help="By SIGSTOP.")
@click.option(
    "--vanishes",
    type=click.IntRange(0, 1_000),
    default=3,
    show_default=True,
    metavar="N",
    help="By a black hole in the network and SIGKILL at once, as when a machine loses its power.",
)
@click.option("--rate", default="20/s", show_default=True, metavar="N/s", help="Messages a second, each to all.")
@click.option(
    "--work",
    "work_s",
    type=click.FloatRange(0.01, 30),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="How long a task takes before it posts.",
)
@click.option("--seed", type=int, metavar="N", help="Repeat the choices of a run: who falls, and when.")
@click.option("--keep", is_flag=True, help="Keep journals and logs, and say where. They are kept, too, when it fails.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout; the story goes to stderr.")
def failover(
    kills: int, stops: int, vanishes: int, rate: str, work_s: float, seed: int | None, keep: bool, as_json: bool
) -> None:
    """Let replicas die at work, and measure how long their tasks wait.

    Three replicas work under steady load. One that runs tasks is killed (death is certain), stopped, or made to
    vanish (death by silence), again and again; the time runs from the fault until a survivor's handler begins the
    task, and until its effect arrives. The feed throws no duplicate away. As it stands this takes about forty
    seconds; each further kill adds 1.5, each further silent fault 4.

    Exit status 1 if a message was lost or answered twice, a task never taken over, or the replicas do not agree.
    """
    per_s, seed = read_rate(rate), fresh_seed() if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="actonce-bench-"))
    faults, figures, before = Faults(kills, stops, vanishes), None, machine()

    async def main() -> Figures:
        with make_narrator(as_json, "faults") as narrator:
            return await run_failover(folder, faults, rate=per_s, work_s=work_s, seed=seed, narrator=narrator)

    try:
        figures = anyio.run(main)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    finally:
        if keep or figures is None or not figures.ok:
            click.echo(f"{DIARIES_KEPT} {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    settings = {"kills": kills, "stops": stops, "vanishes": vanishes, "rate": per_s, "work_s": work_s, "seed": seed}
    if as_json:
        print_json({**figures.as_json(), **settings, "machine": before})
    elif on_terminal():
        print_rendered(table(("", ""), figures.rows()))
    else:
        print_lines(f"{name}: {value}" for name, value in figures.rows())
    if not figures.ok:
        raise Failure(f"not every message was answered once and in time: seed {seed}, see {folder}")
