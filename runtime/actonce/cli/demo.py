"""`actonce demo`: see it work, on this machine, in less than a minute."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from actonce.cli.failure import Failure
from actonce.cli.show import on_terminal, print_json, print_lines, print_rendered, table
from actonce.cli.stopping import INTERRUPTED
from actonce.demo.driver import Narrator, fresh_seed, run_demo
from actonce.demo.messages import bundled, load
from actonce.demo.report import Report
from actonce.errors import ConfigError

REPLICAS_MAX = 16


@click.command(epilog="Example: actonce demo --messages inbox.jsonl --rate 100/s --keep")
@click.option(
    "--messages",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help='Send these: an object with the texts "id" and "text" on each line.  [default: 150 bundled ones]',
)
@click.option("--rate", default="20/s", show_default=True, metavar="N/s", help="Messages a second.")
@click.option(
    "--replicas", type=click.IntRange(2, REPLICAS_MAX), default=3, show_default=True, metavar="N", help="How many."
)
@click.option("--seed", type=int, metavar="N", help="Repeat the choices of a run: who is killed, and when.")
@click.option("--keep", is_flag=True, help="Keep journals and logs, and say where. They are kept, too, when it fails.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout; the story goes to stderr.")
def demo(file: Path | None, rate: str, replicas: int, seed: int | None, keep: bool, as_json: bool) -> None:
    """Start replicas of one agent as real processes, make their life hard, and count what they did.

    Each message is delivered to all replicas. While they answer, one is killed and restarted, one is stopped for a
    while, and one is cut off from the others. The answers go to a feed that throws no duplicate away. At the end the
    feed is counted: exit status 1 if an answer is missing or came twice.
    """
    per_s, seed = read_rate(rate), fresh_seed() if seed is None else seed
    messages = (
        bundled(seed) if file is None else load(file, lambda sentence: click.echo(f"actonce: {sentence}", err=True))
    )
    folder = Path(tempfile.mkdtemp(prefix="actonce-demo-"))
    report: Report | None = None

    async def main() -> Report:
        with make_narrator(as_json) as narrator:
            return await run_demo(folder, messages, rate=per_s, replicas=replicas, seed=seed, narrator=narrator)

    try:
        report = anyio.run(main)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    finally:
        if keep or report is None or not report.ok:
            click.echo(f"journals and logs are in {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(report.as_json())
    elif on_terminal():
        print_rendered(table(("", ""), report.rows()))
    else:
        print_lines(f"{name}: {value}" for name, value in report.rows())
    if not report.ok:
        what = (
            "the replicas did not come to agree"
            if report.convergence_s is None
            else "not every message was answered once"
        )
        raise Failure(f"{what}: seed {seed}, see {folder}")


def read_rate(text: str) -> float:
    """Messages a second, of the text of --rate. Raises ConfigError."""
    try:
        rate = float(text.strip().removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 100_000:
        raise ConfigError(f"--rate {text}: write messages a second, as 20/s or 300")
    return rate


@contextmanager
def make_narrator(as_json: bool, counted: str = "messages taken in") -> Iterator[Narrator]:
    """Sentences above a progress bar on a terminal, plain lines elsewhere; on stderr when stdout is for JSON.

    `counted` is what the bar counts.
    """
    console = Console(stderr=as_json)
    if not console.is_terminal:
        yield _Lines(as_json)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, counted)


class _Lines:
    def __init__(self, err: bool) -> None:
        self._err = err

    def say(self, sentence: str) -> None:
        click.echo(sentence, err=self._err)

    def progress(self, done: int, of: int) -> None:
        pass


class _Bar:
    def __init__(self, progress: Progress, counted: str) -> None:
        self._progress = progress
        self._task = progress.add_task(counted, total=None)

    def say(self, sentence: str) -> None:
        self._progress.console.print(Text(sentence))

    def progress(self, done: int, of: int) -> None:
        self._progress.update(self._task, completed=done, total=of)
