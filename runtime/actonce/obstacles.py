"""For `explain`: what keeps an open task from going on, the views in play, what became of the replicas that had it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from actonce import election_report
from actonce.engine import Engine
from actonce.ownership import Member, View
from actonce.peers import Peer
from actonce_crdt import Claim, Record, TaskState, stamp_wall_s

AROUND_S = 2.0
"""How long before a task came in, and after it ended, a note may concern it."""
NOTED = (" is gone: ", " is silent: ", " stayed silent ", " answers too late", " knows that it is out", " is a member ")
"""Words of the notes on other replicas; they begin with a name."""
OURS = ("settled: ", "slept for ")


def waits(engine: Engine, task: str, state: TaskState, owner: Member | None) -> str | None:
    """Why an open task does not run, as far as this replica can tell; None when it runs, or is over."""
    if state.done is not None or state.task is None or task in engine.executor.running:
        return None
    guard = engine.fenced.waiting(task) or election_report.waits(engine, task, state)
    if guard:
        return guard
    membership = engine.membership
    holders = engine.claims.holders(state)
    for member in sorted(holders & membership.in_play()):
        if member in membership.view.lingering:
            return f"{member.name} has it and is silent; it is taken over when {member.name} is given up"
        if member != engine.me:
            return None
    if owner is None:
        return "no replica in play can take it"
    if owner != engine.me:
        return f"{owner.name} owns it: its status says why it does not begin"
    if missing := list(_missing(engine)):
        return f"we own it and may not act: {'; '.join(missing)}"
    if not engine.executor.free:
        return f"all {engine.settings.slots} slots are taken here, and nobody else has a free one"
    return None


def _missing(engine: Engine) -> Iterator[str]:
    """What we lack for acting."""
    membership, now = engine.membership, engine.world.now()
    if engine.gate.shut:
        yield "effects are held back here"
    if membership.settled is None:
        yield "we have not settled since our start"
    elif membership.act_until() <= now:
        for member in sorted(membership.required()):
            word = _promise(engine, membership.peers.get(member.name), member)
            if word:
                yield f"{member.name} {word}"


def _promise(engine: Engine, peer: Peer | None, member: Member) -> str:
    """What is wrong with the promise of this member; "" for nothing."""
    if peer is None or peer.member != member or not peer.linked:
        return "is not linked"
    if not peer.promises(engine.me):
        return "does not hold us to be live"
    age_s = engine.world.now() - peer.contact
    if age_s >= engine.settings.contact_window_s:
        return f"has not answered for {age_s:.1f} s" if age_s < 1e6 else "has told what we have not read yet"
    return ""


def views(engine: Engine) -> list[str]:
    """Our view, and those that others in play have announced."""
    membership = engine.membership
    lines = [f"{engine.me.name}: {_view(membership.view)}"]
    for member in sorted(membership.in_play() - {engine.me}):
        peer = membership.peers.get(member.name)
        known = peer is not None and peer.member == member and peer.view is not None
        told = _view(peer.view) if peer is not None and known and peer.view is not None else "none announced so far"
        silent = "; silent, keeps its tasks for a grace" if member in membership.view.lingering else ""
        word = "" if silent else _promise(engine, peer, member)
        lines.append(f"{member.name}: {told}{silent}{f'; {word}' if word else ''}")
    return lines


def _view(view: View) -> str:
    names = ", ".join(sorted(member.name for member in view.members)) or "nobody: it has not settled"
    silent = ", ".join(sorted(member.name for member in view.lingering))
    return f"{view.number}, of {names}" + (f" (silent: {silent})" if silent else "")


def noted(engine: Engine, state: TaskState, records: Iterable[Record]) -> list[tuple[float, str]]:
    """Notes of this replica, while the task was open, on itself and on those that claimed it: at (unix), what."""
    claims = [record for record in records if isinstance(record, Claim)]
    names = {record.author for record in claims} | {record.claimant[0] for record in claims}
    if state.task is None:
        return []
    since = stamp_wall_s(state.task.stamp) - AROUND_S
    until = stamp_wall_s(state.done.stamp) + AROUND_S if state.done is not None else float("inf")
    return [
        (at, text)
        for at, text in engine.notes
        if since <= at <= until and (_of_others(text, names) or text.startswith(OURS))
    ]


def _of_others(text: str, names: set[str]) -> bool:
    name, _, rest = text.partition(" ")
    return name in names and f" {rest}".startswith(NOTED)
