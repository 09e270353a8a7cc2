"""Follows a running replica and tells the screen what changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from actonce import heal, reporting
from actonce.cli.screen import Screen
from actonce.cli.stopping import Stop
from actonce.engine import Engine
from actonce.errors import ConfigError, ReplicaFailed
from actonce.replica import Replica

LOOK_S = 0.5
"""Between two looks at the replica, and two refreshes of the table."""
STOP_LOOK_S = 0.1
"""Between two looks whether a signal came: a signal handler cannot wake the event loop."""
LOOK_SHARE_MAX = 0.05
"""Of the time: a mesh with very many tasks is looked at less often, so that looking does not slow it down."""
NAMED_MAX = 5
"""Tasks that are named while the replica waits for them."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found."""

    settled: str | None
    view: dict[str, Any]
    degraded: list[str]
    linked: bool
    denials: Mapping[str, str]
    patient: bool
    """Whether it is worth to wait until they no longer refuse."""
    status: dict[str, Any] | None
    """Everything, for the table on a terminal."""
    disputed: int
    """Grows with what `heal` may find."""
    report: tuple[str, dict[str, int]] | None
    """What was done twice or is in doubt, in a sentence and in numbers; looked for when there may be more of it."""


async def watch(replica: Replica, screen: Screen, stop: Stop, join: tuple[str, ...]) -> None:
    """Tell what changes until a signal comes.

    Raises:
        ConfigError: every `join` address refuses this replica, and it has not got a mesh otherwise.
    """

    def look(engine: Engine) -> Look:
        membership, disputed = engine.membership, sum(engine.ledger.state.disputes.disputed.values())
        return Look(
            settled=membership.settled.value if membership.settled else None,
            view=reporting.view_facts(membership.view),
            degraded=reporting.degraded(engine),
            linked=bool(engine.gossip.lines or engine.spread.lines),
            denials=dict(engine.views.denials),
            patient=engine.views.patient,
            status=reporting.status(engine) if screen.wants_status else None,
            disputed=disputed,
            report=last.report if last is not None and last.disputed == disputed else _report(engine),
        )

    last: Look | None = None
    told: list[str] = []
    with anyio.move_on_after(LOOK_S):  # a replica that settles at once need not say first that it has not
        await replica.settled()
    while not stop.came():
        began_s = anyio.current_time()
        found = await replica.inspect(look)
        _tell_changes(screen, last, found)
        # What is over by the next look, as whenever a replica joins, would only frighten.
        lasting = found.degraded if last is not None and last.degraded else []
        _tell_degraded(screen, told, lasting)
        told = lasting
        _check_denials(found, join)
        last = found
        looked_s = anyio.current_time() - began_s
        await _pause(max(LOOK_S, looked_s / LOOK_SHARE_MAX), stop)


def _report(engine: Engine) -> tuple[str, dict[str, int]] | None:
    found = heal.report(engine.ledger.state)
    words = heal.summary(found)
    return (words, heal.counts(found)) if words is not None else None


async def _pause(wait_s: float, stop: Stop) -> None:
    for _ in range(math.ceil(wait_s / STOP_LOOK_S)):
        if stop.came():
            break
        await anyio.sleep(STOP_LOOK_S)


def _tell_changes(screen: Screen, last: Look | None, found: Look) -> None:
    if found.status is not None:
        screen.show(found.status)
    if found.settled is not None and (last is None or last.settled is None):
        screen.event("settled", f"settled: {found.settled}", why=found.settled)
    if found.settled is not None and (last is None or found.view != last.view):
        screen.event("view", f"view {found.view['number']}: {_members(found.view)}", **found.view)
    if found.report is not None and (last is None or found.report != last.report):
        screen.event("report", found.report[0], **found.report[1])


def _tell_degraded(screen: Screen, told: list[str], facts: list[str]) -> None:
    for fact in facts:
        if fact not in told:
            screen.event("degraded", f"degraded: {fact}", fact=fact)
    for fact in told:
        if fact not in facts:
            screen.event("recovered", f"no longer: {fact}", fact=fact)


def _members(view: dict[str, Any]) -> str:
    members = ", ".join(view["members"])
    return f"{members} (silent: {', '.join(view['lingering'])})" if view["lingering"] else members


def _check_denials(found: Look, join: tuple[str, ...]) -> None:
    if not join or found.settled is not None or found.linked or not all(address in found.denials for address in join):
        return
    reason = found.denials[join[0]]
    if found.patient and "name taken" in reason:
        return
    advice = "; --secret-file must name the secret of that mesh" if "secret" in reason else ""
    which = join[0] if len(join) == 1 else "every --join address"
    raise ConfigError(f"{which} refuses this replica: {reason}{advice}")


async def watch_leaving(replica: Replica, screen: Screen) -> None:
    """Tell what the replica waits for while it drains. Ends by cancellation, or when there is no replica to look at."""
    last: list[str] | None = None
    while True:
        try:
            running = await replica.inspect(lambda engine: sorted(engine.executor.running))
        except ReplicaFailed:  # it ended while we looked: whether it failed is said where it was entered
            return
        if running != last:
            last = running
            named = ", ".join(running[:NAMED_MAX]) + (", ..." if len(running) > NAMED_MAX else "")
            waits = f"waits for {len(running)} running: {named} (Ctrl-C again: at once)" if running else "says goodbye"
            screen.event("leaving", f"leaving: {waits}", running=running)
        await anyio.sleep(LOOK_S)
