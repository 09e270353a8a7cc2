"""The command `actonce` and its subcommands."""

from __future__ import annotations

import click

from actonce import __version__
from actonce.cli import (
    bench,
    bench_convergence,
    bench_growth,
    bench_speed,
    control,
    dead,
    demo,
    doubts,
    feed,
    healthcheck,
    hook,
    journal,
    memory,
    order,
    quota,
    report,
    roster,
    run,
    scale,
    show,
    simulate,
    submit,
)
from actonce.cli.failure import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="actonce %(version)s")
def commands() -> None:
    """Run your agent many times; it acts once.

    Any number of replicas of one agent gossip with each other, agree on who does what, and carry on where a dead one
    stopped. See it with `actonce demo`; start your own with `actonce run`.
    """


for command in (
    run.run,
    submit.submit,
    show.status,
    show.tasks,
    show.posts,
    show.schedules,
    show.explain,
    report.report,
    roster.roster,
    control.pause,
    control.resume,
    control.drain,
    control.stop,
    order.cancel,
    dead.dead,
    doubts.doubts,
    quota.quota,
    journal.journal,
    memory.memory,
    hook.hook,
    healthcheck.healthcheck,
    demo.demo,
    bench.bench,
    simulate.simulate,
    feed.feed,
):
    commands.add_command(command)
bench.bench.add_command(scale.scale)

measures = (bench_convergence.convergence, bench_growth.growth, bench_speed.throughput, bench_speed.latency)
for command in measures:
    bench.bench.add_command(command)


def main() -> None:
    """The entry point. Exit status: 0 done, 1 it could not be done (one sentence on stderr says why), 2 wrong usage,
    130 Ctrl-C."""
    commands(prog_name="actonce")
