"""What a replica can tell of votes: the roster, whether it is on the side of the majority, what waits for grants."""

from __future__ import annotations

from typing import Any

from actonce import roster
from actonce.engine import Engine
from actonce.ownership import Member
from actonce.voting import holder, requests
from actonce_crdt import Grant, TaskState


def minority(engine: Engine) -> list[str]:
    """Whether this replica is cut off from the majority, as a sentence; empty when it is not, or nobody votes."""
    electorate = engine.electorate
    version = electorate.version
    if version is None or electorate.has_majority:
        return []
    here = len(electorate.in_reach())
    return [f"minority side ({here} of {len(version.voters)} voters in reach)"]


def degraded(engine: Engine) -> list[str]:
    """What is wrong with votes and rosters, each a sentence that says what to do."""
    electorate, facts = engine.electorate, minority(engine)
    version, guarded = electorate.version, _guarded(engine)
    if guarded:
        waiting = _waiting(engine)
        if facts and waiting:
            facts[0] += f": {waiting} {'task waits' if waiting == 1 else 'tasks wait'} for a majority"
        if version is None:
            kinds = ", ".join(guarded)
            facts.append(f"no roster is known, so tasks of {kinds} wait: start the replicas with --roster NAME,...")
    if absent := never_seen(engine):
        facts.append(
            f"never seen: {', '.join(absent)}, named by --roster: start {'it' if len(absent) == 1 else 'them'}, or, if "
            f"that is a mistake, start {engine.me.name} without {'it' if len(absent) == 1 else 'them'} in --roster"
        )
    if version is None:
        return facts
    others = sorted(member.name for member in engine.membership.view.members if member.name not in version.names)
    if guarded and len(version.voters) == 1 and others and not electorate.declared:
        facts.append(
            f"only {version.names[0]} votes, so tasks of {', '.join(guarded)} wait while it is away: "
            f"`actonce roster add {others[0]}`"
        )
    for name, journal in version.voters:
        peer = engine.membership.peers.get(name)
        lost = peer is not None and peer.linked and peer.about is not None and peer.about.journal != journal
        if lost or (name == engine.me.name and journal != electorate.me[1]):
            cure = f"`actonce roster remove {name}`, then `actonce roster add {name}`"
            facts.append(f"{name} lost the journal that it voted with: {cure}")
    founders = roster.founders(engine.ledger.state.rosters)
    if len(founders) > 1:
        facts.append(
            f"{' and '.join(founders)} were both started with --new, each with a mesh of its own: the roster of "
            f"{version.names[0]} counts; start the others on empty data, without --new"
        )
    return facts


def never_seen(engine: Engine) -> list[str]:
    """Names of `--roster` of which nobody has ever read anything, and that were never in any roster: typing errors, or
    replicas that were never started. Empty until this replica has settled: it may not have read who was there."""
    if engine.membership.settled is None:
        return []
    steps = (step for state in engine.ledger.state.rosters.values() for step in state.steps)
    voted = {name for step in steps for name, _ in step.voters}
    seen = {engine.me.name, *engine.membership.peers, *engine.ledger.document.logs(), *voted}
    return sorted(set(engine.electorate.declared) - seen)


def _guarded(engine: Engine) -> list[str]:
    return sorted(kind for kind, spec in engine.agent.tasks.items() if spec.guard == "majority")


def _waiting(engine: Engine) -> int:
    """Open tasks that need a majority and do not run here."""
    tasks, running, guarded = engine.ledger.state.tasks, engine.executor.running, set(_guarded(engine))
    return sum(
        (state := tasks[task].task) is not None and state.kind in guarded and task not in running
        for task in engine.claims.open
    )


def roster_facts(engine: Engine) -> dict[str, Any]:
    """The roster as `actonce roster` shows it."""
    electorate = engine.electorate
    version = electorate.version
    if version is None:
        nobody: dict[str, Any] = {"version": None, "voters": [], "in_reach": 0, "majority": None, "votes": False}
        return nobody | {"never_seen": never_seen(engine)}
    reach = electorate.in_reach()
    rows = [
        {"name": voter[0], "in_reach": voter in reach, "journal": voter[1][:8], "self": voter == electorate.me}
        for voter in version.voters
    ]
    return {
        "version": version.number,
        "voters": rows,
        "in_reach": len(reach),
        "majority": version.majority,
        "votes": electorate.votes,
        "never_seen": never_seen(engine),
    }


def undecided(engine: Engine, state: TaskState) -> bool:
    """Whether this task is open, needs a majority, and nobody has one for it."""
    guarded = state.task is not None and state.task.kind in _guarded(engine)
    return state.done is None and guarded and engine.majority.decided(state) is None


def waits(engine: Engine, task: str, state: TaskState) -> str | None:
    """Why an open task that needs a majority does not run yet; None when it does, or needs none."""
    if not undecided(engine, state):
        return None
    return next(iter(degraded(engine) if not engine.electorate.has_majority else ()), "grants of a majority")


def guard_facts(engine: Engine, task: str, state: TaskState) -> list[str]:
    """For `explain`: who granted what, and who did not, and why."""
    version = engine.electorate.version
    if state.task is None or state.task.kind not in _guarded(engine):
        return []
    asked = sorted(requests(state), reverse=True)
    if version is None or not asked:
        return []
    decided = engine.majority.decided(state)
    epoch, claimant = asked[0]
    lines = [f"majority {version.majority} of {', '.join(version.names)} (roster {version.number})"]
    if decided is not None:
        lines.append(f"held by  {decided[0].name}, epoch {decided[1]}")
    granted = {(grant.author, grant.journal): grant for grant in state.grants}
    for voter in version.voters:
        why = _vote(engine, task, granted.get(voter), voter, epoch, claimant)
        lines.append(f"vote     {voter[0]} {why}")
    return lines


def _vote(
    engine: Engine, task: str, grant: Grant | None, voter: tuple[str, str], epoch: int, claimant: Member
) -> str:
    """What this voter did about the claim of `epoch`."""
    wish = f"epoch {epoch} to {claimant.name}"
    if grant is not None and (grant.epoch, holder(grant)) == (epoch, claimant):
        return f"granted {wish}"
    if voter == engine.electorate.me and task in engine.voting.refused:
        return f"has not granted {wish}: {engine.voting.refused[task]}"
    if grant is not None:
        return f"has not granted {wish}: it granted epoch {grant.epoch} to {grant.claimant}"
    if voter not in engine.electorate.in_reach():
        return f"has not granted {wish}: it is out of reach"
    return f"has not granted {wish} so far"
