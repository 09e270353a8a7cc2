"""Troubles that a person has to look into: a minority side, two replicas with one name, a clock that is far off.

Each is a sentence that names who, and says what to do. Reads the engine, changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from actonce.engine import Engine
from actonce.standing_in import declared
from actonce_crdt import stamp_wall_s

CLIENTS_SHARE = 0.8
"""Of the client ids that a document may hold. What is left are years of restarts, or a loop of them to be found."""

BYTES_SHARE = 0.5
"""Of the largest document that can be handed over."""

DENIAL_S = 10.0
"""A refusal counts for so long: well over the longest pause between two attempts to dial."""


def troubles(engine: Engine) -> Iterator[str]:
    """All that is the case now."""
    if engine.membership.settled is not None:
        yield from minority(engine)
    yield from journals(engine)
    yield from names(engine)
    yield from doubts(engine)
    yield from engine.desk.lines.resting()
    yield from clocks(engine)
    yield from placements(engine)
    yield from handlers(engine)
    yield from engine.listeners.troubles()
    yield from engine.desk.polls.troubles()
    yield from late(engine)
    yield from ids(engine)
    yield from size(engine)


def minority(engine: Engine) -> Iterator[str]:
    """Half of the replicas that we know, or more, are gone. Not who left on purpose, nor who is silent for a moment."""
    membership = engine.membership
    live, silent = ({member.name for member in side} for side in (membership.view.members, membership.view.lingering))
    gone = sorted(n for n, peer in membership.peers.items() if n not in live | silent and not peer.leaving)
    known = len(live | silent) + len(gone)
    if gone and 2 * len(live) <= known:
        side = "minority side" if 2 * len(live) < known else "half of the mesh"
        yield (
            f"{side} ({len(live)} of {known} replicas): dead or cut off: {', '.join(gone)}; those of them that live do "
            "the same tasks: start them or heal the network"
        )


def journals(engine: Engine) -> Iterator[str]:
    """Our journal was damaged, or is an older copy of itself, which only the others can show."""
    if engine.damage:
        yield engine.damage
    elif engine.ledger.forgotten and not engine.begins and not engine.about.replaces:
        yield (
            f"the others hold {engine.ledger.forgotten} entries of this replica that its journal had lost: its disk "
            "was set back; let it rejoin as a new one: stop it, move its --data folder aside, start it with --join"
        )


def late(engine: Engine) -> Iterator[str]:
    """What a replica brought that was away for longer than outcomes are sure to be remembered: a person decides."""
    tasks = engine.ledger.state.late
    if tasks:
        by = ", ".join(sorted({task.author for task in tasks.values()}))
        yield (
            f"{len(tasks)} tasks came to light too late to be sure that nobody has done them (submitted at {by}, such "
            f"as {min(tasks)}): they do not run; `actonce dead retry` runs one, `actonce dead drop` lets it go"
        )


def ids(engine: Engine) -> Iterator[str]:
    """Every process that ever wrote is an id in the document, which no compaction takes away."""
    document = engine.ledger.document
    known, most = document.client_count, document.limits.known_clients_max
    if known >= CLIENTS_SHARE * most:
        yield (
            f"the document holds the ids of {known:,} processes, and may hold {most:,}; then a restarted replica is "
            "refused: stop all replicas, `actonce journal export` on one, `actonce journal import --renew` into an "
            "empty folder, start it with --new, and the others with --join on empty folders"
        )


def size(engine: Engine) -> Iterator[str]:
    """A document that is too large for one update could neither be given to a replica that joins, nor read back."""
    most = engine.ledger.document.limits.update_bytes_max
    if engine.ledger.snapshot_bytes >= BYTES_SHARE * most:
        yield (
            f"the document has {engine.ledger.snapshot_bytes >> 20} MiB, and may have {most >> 20}: finish or cancel "
            "open tasks, shorten `retention=` of kinds with many or large outcomes, or keep large values elsewhere"
        )


def denials(engine: Engine) -> list[tuple[str, str]]:
    """Who refused us lately, and why."""
    now, at = engine.world.now(), engine.views.denied_at
    return [one for one in sorted(engine.views.denials.items()) if now - at.get(one[0], now) < DENIAL_S]


def names(engine: Engine) -> Iterator[str]:
    """Another live replica has our name, or somebody's whom we are linked with."""
    for address, reason in denials(engine):
        if reason.startswith("name taken"):
            yield f"{address} refuses us: {reason}; stop one of the two, or give it another --name and --data"


def doubts(engine: Engine) -> Iterator[str]:
    """Effects that only a person can tell about."""
    asked = [doubt.key for doubt in engine.doubts.open() if doubt.waits == "person"]
    if asked:
        more = f" and {len(asked) - 1} more" if len(asked) > 1 else ""
        yield f"nobody knows whether {asked[0]} was posted{more}: look, and say so (actonce doubts list)"


def clocks(engine: Engine) -> Iterator[str]:
    """Stamps from a future that has not come yet: one of two clocks is wrong. Safety does not depend on clocks."""
    wall = engine.world.wall()
    for author, stamp in sorted(engine.ledger.drifted.items()):
        ahead_s = stamp_wall_s(stamp) - wall
        if ahead_s * 1000 <= engine.ledger.clock.drift_max_ms:
            continue  # time has caught up with it
        if author == engine.me.name:
            yield f"our clock is {about(ahead_s)} behind the stamps in our own journal: set it right (NTP)"
        else:
            yield (
                f"stamps of {author} are {about(ahead_s)} ahead of our clock: set the clock that is wrong (NTP), and "
                "restart the replica on that host"
            )


def placements(engine: Engine) -> Iterator[str]:
    """A region that nobody is in; a kind that replicas place differently."""
    members = engine.membership.in_play()
    for kind, spec in sorted(engine.agent.tasks.items()):
        found = declared(engine.membership, kind)
        if len(found) > 1:
            ways = " and ".join(map(str, found))
            yield f"replicas place {kind!r} as {ways}: only tasks with one owner by both run; upgrade all of them"
        region = spec.placement.region
        if region and all(member.traits.region != region for member in members):
            yield (
                f"no replica in region {region!r}, home of {kind!r}: others stand in after "
                f"{spec.stand_in_after_s:g} s; start one with --region {region}"
            )


def handlers(engine: Engine) -> Iterator[str]:
    """Open tasks of a kind that no replica in play has a handler for: after a version was rolled back, say."""
    if engine.follow:
        return
    tasks, members = engine.ledger.state.tasks, engine.membership.in_play()
    kinds = Counter(state.task.kind for state in map(tasks.__getitem__, engine.claims.open) if state.task is not None)
    for kind, count in sorted(kinds.items()):
        if not any(map(engine.membership.able(kind), members)):
            yield f"{count} tasks of kind {kind!r} wait: no replica in play has a handler for it; start one that has"


def about(seconds: float) -> str:
    """A duration of at least a minute, as people say it."""
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
