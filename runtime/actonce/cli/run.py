"""`actonce run`: one replica, until Ctrl-C."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace
from pathlib import Path

import anyio
import click

from actonce.agent import Agent
from actonce.cli.options import read_secret, secret_option
from actonce.cli.screen import Screen, make_screen
from actonce.cli.stopping import Stop
from actonce.cli.watching import watch, watch_leaving
from actonce.errors import ActonceError
from actonce.loading import load_agent
from actonce.placement import Traits
from actonce.replica import DEFAULT_LISTEN, Replica
from actonce.settings import LAN, PRESETS


@click.command(
    epilog="""Example, each in a terminal of its own:

    \b
    actonce run bot:agent --name a --new
    actonce run bot:agent --name b --listen 127.0.0.1:7421 --join 127.0.0.1:7420
    actonce run bot:agent --name c --listen 127.0.0.1:7422 --join 127.0.0.1:7420"""
)
@click.argument("target", metavar="MODULE:AGENT|FILE.py:AGENT")
@click.option(
    "--name",
    required=True,
    metavar="NAME",
    help="Of this replica: unique among the replicas of the agent, and always the same for the same --data.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the journal, on this replica's own disk.  [default: actonce-data/NAME]",
)
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where peers, the other commands and HTTP clients reach this replica. What other hosts can reach needs a "
    "secret.",
)
@click.option(
    "--join",
    multiple=True,
    metavar="HOST:PORT",
    help="Another replica of the agent; may be given several times. One that can be reached is enough: it tells of the "
    "rest.",
)
@click.option(
    "--advertise",
    metavar="HOST:PORT",
    help='The address under which others reach this replica, where that is not --listen; "" to be dialed by nobody.',
)
@secret_option
@click.option(
    "--new",
    is_flag=True,
    help="No replica of this agent has ever run: act without waiting for one. For the first start of one replica; it "
    "counts only with an empty journal, so it may stay in a script.",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    default=LAN.slots,
    show_default=True,
    metavar="N",
    help="Handlers that run at once on this replica.",
)
@click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    default="lan",
    show_default=True,
    help="How fast replicas talk and give each other up, the same for all: lan, within a site; wan, round trips up to "
    "a second; laptop, machines that sleep.",
)
@click.option(
    "--weight",
    default=1,
    show_default=True,
    metavar="N",
    help="Share of the tasks: a replica with 2 takes twice as many as one with 1.",
)
@click.option(
    "--priority",
    default=0,
    show_default=True,
    metavar="N",
    help="For kinds with placement 'primary': the replica with the highest takes them all, the others stand by.",
)
@click.option("--region", default="", metavar="NAME", help="For kinds with placement 'region=NAME': where this one is.")
@click.option(
    "--roster",
    metavar="NAME,NAME,...",
    help='The replicas that vote on tasks with guard="majority": the same on all of them. They are added by themselves '
    "once they are there; see `actonce roster`.",
)
@click.option("--witness", is_flag=True, help="Only vote: run no handlers. For a third vote on a small machine.")
@click.option(
    "--follow",
    is_flag=True,
    help="Only hold the document, for status, explain, report and memory; take no tasks, no orders, no part in what "
    "others decide. For as many replicas as you like: each is linked with about five others.",
)
@click.option(
    "--lock",
    metavar="URL",
    help="The lock service of fenced kinds, instead of what the agent declares: nats://HOST:4222/BUCKET or "
    "etcd://HOST:2379/PREFIX. Credentials from ACTONCE_LOCK_USER and ACTONCE_LOCK_PASSWORD.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each event, for programs.")
def run(
    target: str,
    name: str,
    data: Path | None,
    listen: str,
    join: tuple[str, ...],
    advertise: str | None,
    secret_file: Path | None,
    new: bool,
    slots: int,
    preset: str,
    weight: int,
    priority: int,
    region: str,
    roster: str | None,
    witness: bool,
    follow: bool,
    lock: str | None,
    as_json: bool,
) -> None:
    """Run one replica of an agent until Ctrl-C.

    The target names the Agent in your code: bot:agent is `agent` in the module bot, in this folder or installed, and
    path/bot.py:agent is the same for a file.

    Ctrl-C (or SIGTERM) drains: the replica takes no new work, finishes what runs, and says goodbye, so that the others
    take over at once. A second Ctrl-C leaves at once; nothing that was acknowledged is lost by it.
    """
    agent, secret = load_agent(target), read_secret(secret_file)
    if lock is not None:
        agent.lock(lock)
    replica = Replica(
        agent,
        name=name,
        data=data if data is not None else Path("actonce-data") / name,
        listen=listen,
        join=join,
        advertise=advertise,
        secret=secret,
        new=new,
        settings=replace(PRESETS[preset], slots=slots),
        traits=Traits(weight, priority, region),
        roster=[voter.strip() for voter in roster.split(",")] if roster else [],
        witness=witness,
        follow=follow,
    )
    with make_screen(name, as_json) as screen, Stop(at_once=screen.restore) as stop:
        logging.basicConfig(level=logging.WARNING, handlers=[screen.log_handler()])
        anyio.run(_run, agent, replica, screen, stop, join, secret is None)


async def _run(
    agent: Agent, replica: Replica, screen: Screen, stop: Stop, join: tuple[str, ...], no_secret: bool
) -> None:
    failure: ActonceError | None = None
    async with anyio.create_task_group() as group:
        try:
            async with replica:
                gc.freeze()  # what was imported and recovered stays: a full collection that looks at it takes 0.1 s
                screen.event(
                    "listening", f"agent {agent.name}: listening on {replica.address}", address=replica.address
                )
                if no_secret:
                    screen.event("no-secret", "no secret: only programs on this host can connect")
                await watch(replica, screen, stop, join)
                group.start_soon(watch_leaving, replica, screen)
            screen.event("left", "left")
        except ActonceError as error:  # not through the group, which would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
