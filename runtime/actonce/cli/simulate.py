"""`actonce simulate`: the user's own handlers through thousands of bad days, in virtual time."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actonce.agent import parse_duration_s
from actonce.errors import ConfigError
from actonce.sim.batch import Order, Summary, run_batch
from actonce.sim.plan import Mix

SHOWN_MAX = 5
FAILED = "failed "
"""Begins the name of what is counted for each kind whose tasks fail."""


@click.command()
@click.argument("target", metavar="MODULE:AGENT")
@click.option("--replicas", default="3", show_default=True, metavar="N|N-M", help="How many replicas, or a range.")
@click.option("--seeds", default=200, show_default=True, help="How many seeds; each is another run of bad luck.")
@click.option("--first", default=1, show_default=True, help="The first seed: with --seeds 1 it repeats just that one.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Virtual seconds with faults, for each seed.",
)
@click.option(
    "--tasks",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Tasks submitted in that time, for each seed; bursts bring more.",
)
@click.option(
    "--partition",
    metavar="DURATION",
    help="Partitions last up to this long, as 10s. The default, 1.3s, stays below the takeover grace, where nothing "
    "may double; in longer ones each side acts once.",
)
@click.option("--loss", default=0.0, help="Share of packets lost, as 0.05; what they carried comes late, as with TCP.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["crash", "pause", "leave", "disk", "partition", "links", "clocks", "bursts", "none"]),
    help="Only these kinds of fault; may be given several times. Default: all of them.",
)
@click.option("--crash", is_flag=True, help="Short for --only crash.")
@click.option(
    "--payload",
    "payloads",
    multiple=True,
    metavar="KIND=JSON",
    help="What to submit for a kind of task, instead of its `example=`. A kind that has neither is not submitted.",
)
@click.option("--plan", metavar="JSON|FILE", help="Run this fault plan, instead of one drawn from each seed.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Worker processes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end.")
def simulate(target: str, payloads: tuple[str, ...], plan: str | None, as_json: bool, **options: Any) -> None:
    """Run the handlers of an agent through simulated faults, and count what happened twice or not at all.

    The unchanged runtime runs in virtual time: minutes pass in milliseconds, and a seed always means the same. Sinks
    are replaced by one that records, and that answers look-ups if yours do. Handlers must use
    nothing that the simulation does not control (real time, threads, sockets, `random`): those that do are named.

    Exit status 1 if any rule was violated, or a handler is not deterministic.

    \b
    Example:
    actonce simulate runtime/examples/reply_agent.py:agent --seeds 1000
    actonce simulate agent.py:agent --replicas 3-7 --partition 10s --loss 0.05
    """
    order = make_order(target, payloads, plan, options)
    seeds = range(options["first"], options["first"] + options["seeds"])
    summary = _run(order, seeds, options["jobs"])
    if as_json:
        click.echo(json.dumps(facts(summary)))
    else:
        _print(summary, repeat_command())
    if summary.failing or summary.nondeterministic:
        sys.exit(1)


def make_order(target: str, payloads: tuple[str, ...], plan: str | None, options: dict[str, Any]) -> Order:
    """The options as an order.

    Raises:
        ConfigError: one of them makes no sense.
    """
    weights = Mix().weights
    only = set(options["only"]) | ({"crash"} if options["crash"] else set())
    if only:
        wanted = {kind for name in only for kind in KINDS_OF[name]}
        weights = tuple((kind, weight if kind in wanted else 0) for kind, weight in weights)
    partition_s = Mix().partition_s
    if options["partition"] is not None:
        longest = parse_duration_s(options["partition"])
        partition_s = (min(0.05, longest), longest)
    if not 0 <= options["loss"] < 1:
        raise ConfigError(f"--loss {options['loss']}: a share of packets, from 0 to below 1")
    if options["seeds"] < 1 or options["jobs"] < 1:
        raise ConfigError("--seeds and --jobs are at least 1")
    if plan is not None and not plan.lstrip().startswith("["):
        plan = _read_plan(Path(plan))
    return Order(
        target=target,
        replicas=parse_replicas(options["replicas"]),
        seconds=options["seconds"],
        tasks=options["tasks"],
        loss=options["loss"],
        weights=weights,
        partition_s=partition_s,
        payloads=dict(parse_payload(text) for text in payloads),
        plan=plan,
    )


KINDS_OF = {
    "crash": ("Crash",),
    "pause": ("Pause", "Suspend"),
    "leave": ("Leave",),
    "disk": ("SlowDisk", "DiskFull"),
    "partition": ("Partition", "OneWay"),
    "links": ("SlowLink", "CutLink", "SlowPeer", "DropLink"),
    "clocks": ("Skew", "Drift"),
    "bursts": ("Burst",),
    "none": (),
}


def parse_replicas(text: str) -> tuple[int, int]:
    """(3, 3) of "3", (3, 7) of "3-7"."""
    low, dash, high = text.partition("-")
    if low.isdigit() and (not dash or high.isdigit()):
        bounds = (int(low), int(high or low))
        if 2 <= bounds[0] <= bounds[1] <= 26:
            return bounds
    raise ConfigError(f"--replicas {text}: a number from 2 to 26, or a range such as 3-7")


def parse_payload(text: str) -> tuple[str, Any]:
    """("reply", {...}) of "reply={...}"."""
    kind, equals, payload = text.partition("=")
    try:
        return kind, json.loads(payload if equals else "not JSON")
    except ValueError as error:
        raise ConfigError(f"--payload {text!r} is not KIND=JSON: {error}") from None


def _read_plan(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"--plan {path}: neither a plan ([...], in JSON) nor a file with one: {why}") from None


def _run(order: Order, seeds: range, jobs: int) -> Summary:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("seeds", total=len(seeds))

        def progress(summary: Summary) -> None:
            found = f", {len(summary.failing)} failing" if summary.failing else ""
            bar.update(task, completed=summary.seeds, description=f"seeds{found}")

        return run_batch(order, seeds, jobs, progress)


def facts(summary: Summary) -> dict[str, Any]:
    """The summary for machines."""
    return {
        "seeds": summary.seeds,
        "violations": sum(map(len, summary.failing.values())),
        "trace": summary.trace,
        "failing": sorted(summary.failing),
        "nondeterministic": {str(seed): text for seed, text in sorted(summary.nondeterministic.items())},
        **{name: summary.totals[name] for name in ("tasks", "acknowledged", "posts", "doubled", "doubts")},
        "sometimes": dict(sorted(summary.sometimes.items())),
        "left_out": summary.left_out,
        "wait_s_max": round(summary.wait_s_max, 3),
        "heal_s_max": round(summary.heal_s_max, 3),
        "simulated_s": round(summary.simulated_s, 1),
        "simulated_s_per_s": round(summary.simulated_s / summary.took_s, 1),
    }


def repeat_command() -> str:
    """This command without the seeds: what repeats one of them is appended."""
    words, skip = ["actonce"], False
    for word in sys.argv[1:]:
        if skip or word.startswith(("--seeds", "--first")):
            skip = not skip and "=" not in word
            continue
        words.append(word if word.isalnum() or word.startswith("-") else f"'{word}'")
    return " ".join(words)


def _print(summary: Summary, repeat: str) -> None:
    shown = facts(summary)
    failed = {name: count for name, count in shown["sometimes"].items() if name.startswith(FAILED)}
    for name in ("seeds", "violations", "tasks", "posts", "doubled", "doubts", "simulated_s", "simulated_s_per_s"):
        click.echo(f"{name:18} {shown[name]:>12,}")
    rare = ", ".join(f"{name} {count:,}" for name, count in shown["sometimes"].items() if count and name not in failed)
    if failed:
        told = ", ".join(f"{name.removeprefix(FAILED)} {count:,}" for name, count in failed.items())
        click.echo(f"failed tasks       {told}: no result after the last attempt; run one for its error")
    click.echo(f"rare branches      {rare or 'none reached'}")
    if summary.left_out:
        cure = "give @agent.task(..., example=...), or --payload KIND=JSON"
        click.echo(f"not submitted      {', '.join(summary.left_out)}: {cure}")
    for seed, difference in sorted(summary.nondeterministic.items()):
        click.echo(f"\nseed {seed} is not deterministic: {difference}")
    for seed in sorted(summary.failing)[:SHOWN_MAX]:
        click.echo(f"\nseed {seed} violates:")
        for text in summary.failing[seed][:SHOWN_MAX]:
            click.echo(f"  {text}")
        click.echo(f"repeat it: {repeat} --first {seed} --seeds 1")
        click.echo(f"its plan:  --plan '{summary.plans[seed]}'")
    if len(summary.failing) > SHOWN_MAX:
        click.echo(f"\nand {len(summary.failing) - SHOWN_MAX} further seeds")
