"""What a replica can tell about itself and the mesh, as JSON-like dictionaries. Reads the engine, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from actonce import control_report, election_report, follower_report, obstacles, quota_report
from actonce.engine import Engine
from actonce.ownership import Member, View, owner
from actonce.peers import Peer
from actonce.placement import SPREAD, Placement
from actonce.readiness import Wait, waits
from actonce.schedule import slot_text
from actonce.scheduler import mesh_wall
from actonce.troubles import denials, troubles
from actonce_crdt import (
    Cancel,
    Claim,
    Cool,
    Cursor,
    Done,
    Doubt,
    EffectState,
    Gift,
    Grant,
    Intent,
    Mark,
    Passed,
    Receipt,
    Record,
    Release,
    Reopen,
    Share,
    Shut,
    Step,
    Switch,
    Task,
    TaskState,
    Try,
    Unknown,
    stamp_wall_s,
    unpack_value,
)

Facts = dict[str, Any]
HOWS = {"": "failed", "aside": "set aside", "cancelled": "cancelled", "dropped": "dropped", "skipped": "skipped"}
DEAD = ("failed", "set aside", "cancelled")
TASK_STATES = ("open", "held", "running", "waiting", "done", "skipped", *DEAD, "dropped")
"""Open: claimed by nobody. Held: for a time or other tasks. Waiting: for another attempt. The rest have an outcome."""

EFFECT_WORDS = {"open": "in doubt", "skipped": "skipped", "posted": "posted", "refused": "refused"}
DOUBT_WORDS = {"sending": "was about to send again", "open": "cannot tell about", "refused": "gave up"}
EFFECT_STATES = ("posted", "under way", "skipped", "in doubt", "refused")
"""Skipped: a doubt given up, by rule or by a person. Refused: surely not done, and not tried any more."""


def degraded(engine: Engine) -> list[str]:
    """Reasons why this replica does less than it should, each a sentence; empty when all is well."""
    membership, facts = engine.membership, follower_report.degraded(engine)
    peers = membership.peers
    if engine.follow:
        return [*facts, *troubles(engine)]
    if membership.settled is None:
        last = sorted(m.name for m in membership.view.members | membership.view.lingering if m.name != engine.me.name)
        whom = f"its last view: {', '.join(last)}" if last else "any settled replica"
        refused = [f"{address} refuses us: {reason}" for address, reason in denials(engine)]
        unanswered = engine.front.unanswered()
        found = bool(refused) or 0 < len(engine.front.joins) == len(unanswered)
        first = "" if last or found else "; the first of a mesh needs --new"
        facts += [f"not settled: does not act until it has synced with {whom}{first}", *refused, *unanswered]
    elif membership.settled.name == "ALONE" and not any(p.view and engine.me in p.view.members for p in peers.values()):
        facts.append("acts alone since its start: the replicas of its last view did not come")
    for member in sorted(membership.required()) if membership.settled is not None else []:
        peer = peers.get(member.name)
        if member.name == engine.me.name:
            facts.append(f"waits until {_whom(engine, member)} is given up as dead: it is in a view of before")
        elif peer is None or not peer.linked:
            facts.append(f"no link to {member.name}")
        elif not peer.promises(engine.me):
            facts.append(f"{member.name} does not hold us to be live")
    facts += [f"{_whom(engine, member)} is silent and may be dead" for member in sorted(membership.view.lingering)]
    if membership.settled is not None and engine.world.now() >= membership.act_until():
        facts.append("does not act now: contact with the others is not fresh")
    facts += election_report.degraded(engine)
    if membership.leaving:
        facts.append("leaving: takes no new work")
    if trouble := engine.fenced.trouble():
        facts.append(trouble)
    return [*facts, *control_report.degraded(engine), *quota_report.warnings(engine), *troubles(engine)]


def _whom(engine: Engine, member: Member) -> str:
    own = member.name == engine.me.name
    return f"its own earlier process (incarnation {member.incarnation})" if own else member.name


def status(engine: Engine) -> Facts:
    """Everything on one page. Durations in seconds, ages relative to now."""
    membership, ledger = engine.membership, engine.ledger
    states = [task_state(engine, task, state) for task, state in ledger.state.tasks.items()]
    effects = [effect_state(effect) for effect in ledger.state.effects.values()]
    return {
        "agent": engine.agent.name,
        "replica": engine.me.name,
        "incarnation": engine.me.incarnation,
        "settled": membership.settled.value if membership.settled else None,
        "acting": not engine.gate.shut and engine.world.now() < membership.act_until(),
        "degraded": degraded(engine),
        "view": view_facts(membership.view),
        "replicas": [
            _self_facts(engine),
            *(_peer_facts(engine, peer) for _, peer in sorted(membership.peers.items())),
            *follower_report.neighbours(engine),
        ],
        "overlay": follower_report.facts(engine),
        "tasks": {name: states.count(name) for name in TASK_STATES},
        "effects": {name: effects.count(name) for name in EFFECT_STATES},
        "doubts": sum(was_doubt(effect) for effect in ledger.state.effects.values()),
        "roster": election_report.roster_facts(engine),
        "orders": control_report.orders(engine),
        "slots": {"all": engine.settings.slots, "free": engine.executor.free},
        "quotas": {
            key: {
                "held": slot.account.held,
                "in_use": slot.basin.in_use + slot.basin.busy_total,
                "waiting": slot.basin.queued,
                "taken": slot.basin.taken,
                "transfers": slot.account.transfers,
                "overshoot": slot.basin.overshoot,
            }
            for key, slot in sorted(engine.quotas.slots.items())
        },
        "document": {"entries": ledger.document.entry_count, "digest": ledger.document.digest.hex()},
        "locks": engine.fenced.facts(),
        "sources": engine.listeners.facts() | engine.desk.polls.facts(),
        "gossip": dict(sorted(engine.gossip.counts.items())),
        "notes": [f"{moment(at)} {text}" for at, text in list(engine.notes)[-20:]],
    }


def _self_facts(engine: Engine) -> Facts:
    state = "self" if engine.membership.settled is not None else "self, unsettled"
    state = "self, only follows" if engine.follow else state
    return {"name": engine.me.name, "incarnation": engine.me.incarnation, "state": state}


def _peer_facts(engine: Engine, peer: Peer) -> Facts:
    membership, age = engine.membership, engine.world.now() - peer.contact
    state = "gone"
    if peer.member in membership.view.members:
        state = "member"
    elif peer.member in membership.view.lingering:
        state = "silent"
    elif peer.linked:  # a process that hangs keeps its links
        state = "joining" if age < engine.settings.contact_window_s else "silent"
    return {
        "name": peer.member.name,
        "incarnation": peer.member.incarnation,
        "state": state,
        "linked": peer.linked,
        "contact_age_s": round(age, 3) if age < 1e9 else None,
        "view": view_facts(peer.view) if peer.view else None,
        "address": peer.about.address if peer.about else "",
    }


def view_facts(view: View) -> Facts:
    """A view by names."""
    return {
        "number": view.number,
        "members": sorted(member.name for member in view.members),
        "lingering": sorted(member.name for member in view.lingering),
    }


def task_state(engine: Engine, task: str, state: TaskState) -> str:
    """One of `TASK_STATES`."""
    if state.done is not None:
        return "done" if state.done.ok and not state.done.how else HOWS[state.done.how]
    claim = state.standing
    here = engine.follow or engine.claims.holders(state) & engine.membership.in_play()  # who follows cannot tell
    if claim is None or not here:
        return "held" if _held(engine, state) is not None else "open"
    if _ordered(engine, state) is not None:
        return "held"
    if task not in engine.executor.running and engine.fenced.waiting(task):
        return "waiting"
    if task not in engine.executor.running and election_report.undecided(engine, state):
        return "waiting"
    tried = state.tries is not None and state.tries.epoch == claim.epoch
    return "waiting" if tried and task not in engine.executor.running else "running"


def effect_state(effect: EffectState) -> str:
    """One of `EFFECT_STATES`."""
    word = effect.doubt.settled if effect.doubt is not None else ""
    return "posted" if effect.receipt is not None else EFFECT_WORDS.get(word, "under way")


def was_doubt(effect: EffectState) -> bool:
    """Whether it was ever in doubt. To be tried again after a refusal is no doubt."""
    return effect.doubt is not None and effect.doubt.settled not in ("refused", "sending")


def tasks(engine: Engine, wanted: str | None, limit: int) -> list[Facts]:
    """Tasks, newest first."""
    rows: list[Facts] = []
    for task, state in reversed(list(engine.ledger.state.tasks.items())):
        name = task_state(engine, task, state)
        if len(rows) >= limit:
            break
        if state.task is not None and wanted in (None, name):
            claim = state.claim
            why = _held(engine, state) or election_report.waits(engine, task, state)
            if asked := engine.doubts.of(task):
                why = f"waits for a person: actonce doubts resolve {asked[0]}"
            rows.append(
                {
                    "task": task,
                    "state": name,
                    "submitted": moment(stamp_wall_s(state.task.stamp)),
                    "claimed_by": claim.claimant[0] if claim else None,
                    "epoch": claim.epoch if claim else None,
                    "retries": state.attempts,
                    "deaths": state.deaths,
                    "result": unpack_value(state.done.result) if state.done else None,
                    "waits": why,
                }
            )
    return rows


def posts(engine: Engine, limit: int) -> list[Facts]:
    """Effects, newest first."""
    rows: list[Facts] = []
    for key, effect in reversed(list(engine.ledger.state.effects.items())):
        if len(rows) >= limit:
            break
        intent = effect.intent
        rows.append(
            {
                "effect": key,
                "state": effect_state(effect),
                "doubt": effect.doubt.settled if effect.doubt else None,
                "sink": intent.sink if intent else None,
                "body": unpack_value(intent.body) if intent else None,
                "by": effect.receipt.author if effect.receipt else None,
                "receipt": unpack_value(effect.receipt.receipt) if effect.receipt else None,
            }
        )
    return rows


def schedules(engine: Engine) -> list[Facts]:
    """Schedules by name: rules, next slot, and the mark up to which all slots are settled."""
    rows: list[Facts] = []
    wall = mesh_wall(engine.world, engine.membership)
    for name, schedule in sorted(engine.agent.schedules.items()):
        mark = engine.ledger.state.marks.get(name)
        members, able = engine.membership.in_play(), engine.membership.able(schedule.kind)
        keeper = owner(schedule.kind, members, able)
        rows.append(
            {
                "schedule": name,
                "when": schedule.rhythm.describe(),
                "missed": schedule.missed,
                "overlap": schedule.overlap,
                "next": slot_text(next(schedule.rhythm.slots(int(wall)))),
                "settled_up_to": slot_text(mark.slot) if mark is not None else None,
                "kept_by": keeper.name if keeper else None,
            }
        )
    return rows


def explain(engine: Engine, task: str) -> Facts | None:
    """The story of a task: who claimed what, when, why. None for a task that is not known here."""
    state = engine.ledger.state.tasks.get(task)
    if state is None or state.task is None:
        return None
    members = engine.membership.in_play() if not engine.follow else frozenset()
    able = engine.membership.able(state.task.kind)
    placement = engine.agent.tasks[state.task.kind].placement if state.task.kind in engine.agent.tasks else SPREAD
    ranked = _ranking(task, members, placement)
    first = owner(task, members, able, placement)
    records = engine.ledger.state.history(task)
    notes = {note for note in engine.notes if task in note[1]} | {*obstacles.noted(engine, state, records)}
    return {
        "task": task,
        "state": task_state(engine, task, state),
        "payload": unpack_value(state.task.payload),
        "result": unpack_value(state.done.result) if state.done else None,
        "rank": [f"{member.name}{'' if able(member) else ' (cannot take it)'}" for member in ranked],
        "owner_now": first.name if first else None,
        "guard": election_report.guard_facts(engine, task, state),
        "waits": obstacles.waits(engine, task, state, first) if not engine.follow else follower_report.waits(state),
        "views": obstacles.views(engine) if state.done is None else [],
        "held": _held(engine, state),
        "story": [_sentence(record) for record in records],
        "notes": [f"{moment(at)} {text}" for at, text in sorted([*notes, *quota_report.waits(engine, task)])],
    }


def _wait(engine: Engine, state: TaskState) -> Wait | None:
    """What an open task waits for, before anybody may take it."""
    if state.done is not None or state.task is None or state.standing is not None:
        return None
    return waits(state, engine.ledger.state.tasks, engine.world.wall() * 1000)


def _held(engine: Engine, state: TaskState) -> str | None:
    """What an open task waits for, or why it may not begin by order, as a sentence."""
    tasks, wait = engine.ledger.state.tasks, _wait(engine, state)
    if wait is None:
        return _ordered(engine, state)
    if wait.on:
        known = wait.on in tasks and tasks[wait.on].task is not None
        return f"waits for {wait.on}" + ("" if known else ", which is not known here")
    return f"waits until {moment(wait.until_ms / 1000)}"


def _ordered(engine: Engine, state: TaskState) -> str | None:
    """Why an open task does not go on by order, as far as this replica can tell."""
    if state.task is None or not engine.standing.all:
        return None
    task, kind, members = state.task.key, state.task.kind, engine.membership.in_play()
    holders = engine.claims.holders(state) & members
    if task in engine.executor.running:
        return None
    if holders and engine.me not in holders:
        cut = engine.standing.cut_by(kind, engine.world.wall(), engine.settings.drain_s)
        return control_report.held(engine, state, min(holders).name) if cut else None
    placement = engine.agent.tasks[kind].placement if kind in engine.agent.tasks else SPREAD
    first = engine.me if holders else owner(task, members, engine.membership.able(kind), placement)
    return control_report.held(engine, state, first.name if first is not None else None)


def _ranking(task: str, members: frozenset[Member], placement: Placement) -> list[Member]:
    left, ranked = set(members), []
    while left:
        first = owner(task, left, lambda member: True, placement)
        assert first is not None
        ranked.append(first)
        left.remove(first)
    return ranked


def _sentence(record: Record) -> str:
    return f"{moment(stamp_wall_s(record.stamp))} {record.author} {' '.join(_words(record))}"


def _words(record: Record) -> Iterator[str]:
    match record:
        case Task():
            yield "took it in"
        case Claim():
            name, incarnation = record.claimant
            what = f"delegated it to {name}" if record.holder else "claimed it"
            yield f"{what}: epoch {record.epoch}, incarnation {incarnation}"
        case Try():
            yield f"failed attempt {record.attempt} (epoch {record.epoch}): {record.error}"
        case Done():
            yield f"{'finished it' if record.ok else 'gave it up'} (epoch {record.epoch}) {record.how}".rstrip()
        case Intent():
            yield f"was about to post {record.key} to {record.sink} (epoch {record.epoch})"
        case Receipt():
            yield f"has the receipt of {record.key} (epoch {record.epoch})"
        case Doubt():
            yield f"{DOUBT_WORDS.get(record.settled, 'settled the doubt about')} {record.key}: {record.settled}"
            yield f"(epoch {record.epoch})"
        case Step():
            yield f"finished step {record.name!r} (epoch {record.epoch})" if record.name else "forgot all steps"
        case Passed():
            yield f"saw the process of epoch {record.epoch} end before the task did; deaths so far: {record.deaths}"
        case Cancel():
            yield "called it off"
        case Reopen():
            yield "asked for it to be tried again"
        case Mark():
            yield f"settled all slots up to {slot_text(record.slot)}"
        case Cursor():
            yield f"read source {record.key} up to cursor {record.number} (epoch {record.epoch})"
        case Grant():
            yield f"granted epoch {record.epoch} to {record.claimant}, incarnation {record.incarnation}"
            yield f"(roster {record.roster}{f', over epoch {record.over}' if record.over else ''})"
        case Release():
            yield f"gave up its claims up to epoch {record.epoch}"
        case Gift() | Share() | Cool():
            yield "moved rights of a quota"
        case Switch() | Shut():
            yield "gave or confirmed an order"
        case Unknown():
            yield f"wrote an entry that this version does not know: {record.code}"


def moment(unix_s: float) -> str:
    """UTC with milliseconds, as people read it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
