"""Measure everything, and write the tables of `benchmarks/README.md`.

    python -m benchmarks [--only NAME]... [--runs 3] [--rivals KEY,KEY] [--print]
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from benchmarks.parts import PARTS, NotMeasured, Options
from benchmarks.rivals.catalog import RIVALS
from benchmarks.tables import insert

README = Path(__file__).with_name("README.md")


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Only this; may be given several times.")
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True, help="Of what is repeated.")
@click.option("--rivals", metavar="KEY,KEY", help=f"Only these: {', '.join(rival.key for rival in RIVALS)}.")
@click.option("--tasks", type=click.IntRange(120), metavar="N", help="Of growth: a million take hours.")
@click.option("--print", "only_print", is_flag=True, help="Print the tables; leave the README as it is.")
def main(only: tuple[str, ...], runs: int, rivals: str | None, tasks: int | None, only_print: bool) -> None:
    """Measure everything on this machine, about ten minutes, and write the tables of benchmarks/README.md.

    A rival that is not installed is named in its row: pip install 'actonce[rivals]'; apt-get install redis-server
    postgresql etcd-server. What a part says depends on whatever else the machine does: leave it alone meanwhile.
    """
    keys = [rival.key for rival in RIVALS] if rivals is None else [key.strip() for key in rivals.split(",")]
    unknown = sorted(set(keys) - {rival.key for rival in RIVALS})
    if unknown:
        raise click.UsageError(f"there is no rival {unknown[0]!r}")
    began = time.monotonic()
    chosen = [rival for rival in RIVALS if rival.key in keys]
    growth = () if tasks is None else ("--tasks", str(tasks))
    options = Options(runs, README.parent, lambda sentence: _say(began, sentence), chosen, growth)
    for name, part in PARTS.items():
        if only and name not in only:
            continue
        try:
            lines = part(options)
        except NotMeasured as error:
            options.say(f"{name} is left as it was: {error}")
            continue
        if only_print:
            click.echo("\n".join((f"## {name}", "", *lines, "")))
        else:
            README.write_text(insert(README.read_text(encoding="utf-8"), name, lines), encoding="utf-8")
    options.say("done")


def _say(began: float, sentence: str) -> None:
    click.echo(f"{time.monotonic() - began:6.1f} s  {sentence}", err=True)


if __name__ == "__main__":
    main()
