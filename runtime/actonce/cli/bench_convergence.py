"""`actonce bench convergence`: how long a mesh needs to agree again."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import anyio
import click
from click.core import ParameterSource

from actonce.agent import parse_duration_s
from actonce.bench.convergence import Setup, own_agent, run_trial
from actonce.bench.figures import machine
from actonce.bench.healing import Healed, rows, summary
from actonce.bench.partition import Real, run_real
from actonce.bench.plot import check_plot, plot_convergence
from actonce.bench.shapes import SHAPES, make_cut
from actonce.cli.demo import make_narrator, read_rate
from actonce.cli.failure import Failure
from actonce.cli.show import on_terminal, print_json, print_lines, print_rendered, table
from actonce.cli.simulate import parse_payload
from actonce.cli.stopping import INTERRUPTED
from actonce.errors import ConfigError
from actonce.loading import load_agent
from actonce.sim.adopt import Adopted, work_of
from actonce.sim.run import MakeAgent

REPLICAS_MAX = 100
REAL_MAX = 16
SHOWN_MAX = 5
SIMULATED_ONLY = ("shape", "delay", "loss", "deliver", "first", "target", "payloads")


@click.command(epilog="Example: actonce bench convergence --replicas 2,3,5,10 --partition 10s --plot heal.png")
@click.option(
    "--replicas", default="3", show_default=True, metavar="N[,N...]", help="From 2 to 100; several to compare."
)
@click.option("--partition", default="8s", show_default=True, metavar="DURATION", help="How long the mesh is cut.")
@click.option(
    "--shape",
    type=click.Choice(SHAPES),
    default="halves",
    show_default=True,
    help="Halves; one replica off; everybody alone; nothing arrives from the second half at the first; halves with one "
    "replica that reaches both.",
)
@click.option(
    "--delay", default="2ms", show_default=True, metavar="DURATION", help="One way at most; drawn from half of it up."
)
@click.option("--loss", type=click.FloatRange(0, 0.5), default=0.0, help="Share of packets lost, which come late.")
@click.option("--load", default="20/s", show_default=True, metavar="N/s", help="Tasks a second, whole and cut.")
@click.option(
    "--deliver", type=click.Choice(["all", "one"]), default="all", show_default=True, help="Each task to whom."
)
@click.option(
    "--entries", type=click.IntRange(0, 1_000_000), default=0, help="More entries that each side writes while cut."
)
@click.option(
    "--seeds", type=click.IntRange(1, 10_000), default=12, show_default=True, help="Heals for each number of replicas."
)
@click.option("--first", type=int, default=1, show_default=True, help="The first seed.")
@click.option("--agent", "target", metavar="MODULE:AGENT", help="Your own handlers; their sinks only record.")
@click.option("--payload", "payloads", multiple=True, metavar="KIND=JSON", help="What to submit for a kind of it.")
@click.option("--real", is_flag=True, help="Real processes; the last one is cut off. --seeds is how many heals.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw it; needs actonce[bench].")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
@click.pass_context
def convergence(
    context: click.Context,
    /,
    replicas: str,
    target: str | None,
    payloads: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
    real: bool,
    seeds: int,
    first: int,
    **options: Any,
) -> None:
    """Cut a mesh, let its parts work alone, heal it, and measure until all replicas hold the same document.

    The unchanged runtime runs in virtual time, on simulated links; the CPU seconds of the busiest replica, measured
    here, are added. The limit beside it is the least that it could take: one and a half round trips, the missing bytes
    on the wire (1 Gbit/s), and pycrdt's bare apply of them. A task's bytes are those beyond the idle traffic.

    A cut that outlasts the takeover grace (1.6 s, less what is needed to be sure: 1.36 s) lets each side act once,
    unless a guard forbids it: "doubled" counts the posts beyond the first, and the bound says how many that allows.

    With --real: processes with journals on this host, the last one behind proxies that hold all bytes while it is cut.
    Then the heal is real time, the round trip one through a proxy, and the transfer counts as nothing. A heal takes
    about 20 s.

    Exit status 1 if something was lost, doubled beyond the bound, or never healed.
    """
    sizes = parse_sizes(replicas)
    setup, make_agent = make_setup(target, payloads, options)
    for size in sizes:
        make_cut(setup.shape, replace(setup, replicas=size).names)
    if plot is not None:
        check_plot(plot)
    if real:
        check_real(context, sizes)

    def heal(size: int, seed: int) -> Healed:
        if not real:
            return run_trial(seed, replace(setup, replicas=size), make_agent)
        return anyio.run(run_real, seed, Real(size, setup.partition_s, setup.rate, setup.entries))

    before, trials = machine(), {size: list[Healed]() for size in sizes}
    try:
        with make_narrator(as_json, "heals") as narrator:
            for done, (size, seed) in enumerate((size, seed) for size in sizes for seed in range(first, first + seeds)):
                narrator.progress(done, len(sizes) * seeds)
                trials[size].append(heal(size, seed))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    sweep = [{"replicas": size, **summary(found)} for size, found in trials.items()]
    _print(sweep, {**described(setup, real), "seeds": seeds, "first": first, "machine": before}, as_json)
    if plot is not None:
        where = "real processes" if real else f"{setup.shape}, {setup.delay_s[1] * 1000:g} ms one way"
        title = f"a cut of {setup.partition_s:g} s ({where}), {setup.rate:g} tasks/s"
        plot_convergence(plot, sweep, [trial.heal_s for trial in trials[sizes[-1]]], title)
    _judge(trials)


def _print(sweep: list[dict[str, Any]], settings: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({**sweep[-1], "sweep": sweep, **settings})
        return
    heads = [name for name, _ in rows(sweep[0])]
    columns = [[value for _, value in rows(row)] for row in sweep]
    if on_terminal() and len(sweep) > 1:
        names = ("", *(f"{row['replicas']} replicas" for row in sweep))
        print_rendered(table(names, zip(heads, *columns, strict=True)))
    elif on_terminal():
        print_rendered(table(("", ""), rows(sweep[0])))
    else:
        for row, column in zip(sweep, columns, strict=True):
            print_lines([f"replicas: {row['replicas']}", *(f"{a}: {b}" for a, b in zip(heads, column, strict=True))])


def _judge(trials: dict[int, list[Healed]]) -> None:
    wrong = [(size, trial) for size, found in trials.items() for trial in found if not trial.ok]
    for size, trial in wrong[:SHOWN_MAX]:
        counts = f"{trial.lost} lost, {trial.doubled} doubled of {trial.doubled_bound} allowed"
        what = "; ".join((*trial.problems, counts))
        click.echo(f"{size} replicas, --first {trial.seed} --seeds 1: {what}", err=True)
    if wrong:
        raise Failure(f"{len(wrong)} of {sum(map(len, trials.values()))} heals went wrong; see above")


def make_setup(target: str | None, payloads: tuple[str, ...], options: dict[str, Any]) -> tuple[Setup, MakeAgent]:
    """The options as a setup of trials, and what makes the agent.

    Raises:
        ConfigError: one of them makes no sense; the message says which.
    """
    delay_s, partition_s = parse_duration_s(options["delay"]), parse_duration_s(options["partition"])
    if not 0 < delay_s <= 1 or not 0 < partition_s <= 3_600:
        raise ConfigError("--delay is above 0 and at most 1s, --partition above 0 and at most 1h")
    setup = Setup(
        shape=options["shape"],
        partition_s=partition_s,
        delay_s=(delay_s / 2, delay_s),
        loss=options["loss"],
        rate=read_rate(options["load"]),
        to_all=options["deliver"] == "all",
        entries=options["entries"],
    )
    if target is None:
        if payloads:
            raise ConfigError("--payload is for --agent MODULE:AGENT")
        return setup, own_agent
    agent = load_agent(target)
    work = work_of(agent, dict(parse_payload(text) for text in payloads))
    if not work:
        raise ConfigError(f"agent {agent.name!r} has no task to submit: give one with --payload KIND=JSON")
    voting = any(spec.guard == "majority" for spec in agent.tasks.values())
    return replace(setup, work=work, voting=voting), Adopted(agent)


def check_real(context: click.Context, sizes: list[int]) -> None:
    """
    Raises:
        ConfigError: options that only the simulation has, or too many processes.
    """
    given = [name for name in SIMULATED_ONLY if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        names = {"target": "agent", "payloads": "payload"}
        raise ConfigError(f"--{names.get(given[0], given[0])} is for the simulation: leave it out, or --real")
    if sizes[-1] > REAL_MAX:
        raise ConfigError(f"--replicas {sizes[-1]}: at most {REAL_MAX} real processes")


def described(setup: Setup, real: bool) -> dict[str, Any]:
    """A setup for JSON."""
    if real:
        return {"real": True, "partition_s": setup.partition_s, "rate": setup.rate, "entries": setup.entries}
    fields = asdict(replace(setup, work=()))
    names = ("shape", "partition_s", "loss", "rate", "to_all", "entries")
    return {"real": False, **{name: fields[name] for name in names}, "delay_s": setup.delay_s[1]}


def parse_sizes(text: str) -> list[int]:
    """[3] of "3", [2, 3, 10] of "2,3,10".

    Raises:
        ConfigError: not that, or not from 2 to 100.
    """
    parts = [part.strip() for part in text.split(",")]
    if all(part.isdecimal() and 2 <= int(part) <= REPLICAS_MAX for part in parts):
        return sorted({int(part) for part in parts})
    raise ConfigError(f"--replicas {text}: numbers from 2 to {REPLICAS_MAX}, as 3 or 2,3,10")
