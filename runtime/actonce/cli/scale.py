"""`actonce bench scale`: what a replica costs where there are many."""

from __future__ import annotations

from pathlib import Path

import click

from actonce.bench import scale as scales
from actonce.bench.scale import Scale
from actonce.cli.failure import Failure
from actonce.cli.show import on_terminal, print_json, print_lines, print_rendered, table


def _read_sizes(context: click.Context, parameter: click.Parameter, text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise click.BadParameter("give numbers with commas between them, such as 10,100,1000") from None
    if not all(scales.MEMBERS < size <= 10_000 for size in sizes):
        raise click.BadParameter(f"from {scales.MEMBERS + 1} (three members, one follower) to 10000 replicas")
    return sizes


@click.command(epilog="Example, some minutes: actonce bench scale --replicas 10,100,1000 --plot scale.png")
@click.option(
    "--replicas",
    "sizes",
    default="10,30,100",
    show_default=True,
    callback=_read_sizes,
    metavar="N,N,...",
    help="Sizes of the mesh: three members, the rest followers. A thousand take about two minutes.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Of all that is drawn.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw it; needs actonce[bench].")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout; the story goes to stderr.")
def scale(sizes: list[int], seed: int, plot: Path | None, as_json: bool) -> None:
    """Measure what many replicas cost each one: messages, bytes, how fast news spread, how crashes heal.

    The unchanged engine in simulation, in virtual time: three members that act, the rest replicas that only follow
    (`actonce run --follow`). No processor is measured, so the figures are the same on every machine.

    Exit status 1 if anything did not reach everybody, or the digests did not agree after a fifth had crashed.
    """
    if plot is not None:
        scales.load_figure()  # before minutes of measuring
    found: list[Scale] = []
    for size in sizes:
        click.echo(f"{size} replicas ...", err=True)
        found.append(scales.measure(size, seed))
    if plot is not None:
        scales.plot(plot, found)
    if as_json:
        print_json({"seed": seed, "scales": [one.as_json() for one in found]})
    elif on_terminal():
        print_rendered(table(scales.HEADS, scales.rows(found)))
    else:
        lines = (zip(scales.HEADS, row, strict=True) for row in scales.rows(found))
        print_lines("  ".join(f"{head} {value}" for head, value in line) for line in lines)
    if not all(one.reached for one in found):
        raise Failure(f"not everything reached everybody: seed {seed}")
