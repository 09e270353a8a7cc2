"""What must hold of tasks guarded by `majority`, whatever the faults: partitions of any length included.

The claim of an epoch is a write-once register: `linearizable` checks the history of claims and of what others came to
see as a history of one (Wing and Gong: "Testing and verifying concurrent objects", 1993, with the memory of visited
states after Lowe 2017), each epoch of each task on its own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from actonce.ownership import Member
from actonce.sim.cluster import Cluster
from actonce.voting import holder
from actonce_crdt import Grant, Roster, decode

Register = tuple[str, int]
"""Task and epoch."""
What = Literal["won", "unknown", "read"]


@dataclass(frozen=True, slots=True, order=True)
class Operation:
    """On one register, by virtual seconds: called and answered. `pid` is the process that claims, or the one read."""

    called: float
    answered: float
    what: What
    pid: int


def is_linearizable(operations: list[Operation]) -> bool:
    """Whether these operations on one write-once register could have happened one after the other.

    "won" answered that the register is the caller's; "unknown" gave up, or was never answered: it may have happened at
    any time since, or never. "read" saw that it is `pid`'s.
    """
    ops = sorted(operations)
    must = sum(1 << index for index, op in enumerate(ops) if op.answered < math.inf)
    seen: set[tuple[int, int | None]] = set()
    stack: list[tuple[int, int | None]] = [(0, None)]
    while stack:
        done, owner = stack.pop()
        if done & must == must:
            return True
        left = [(index, op) for index, op in enumerate(ops) if not done >> index & 1]
        limit = min(op.answered for _, op in left)
        for index, op in left:
            if op.called > limit:
                break
            for after in _after(op, owner):
                state = (done | 1 << index, after)
                if state not in seen:
                    seen.add(state)
                    stack.append(state)
    return False


def _after(op: Operation, owner: int | None) -> tuple[int | None, ...]:
    """The possible owners after this operation; none when it cannot happen now."""
    match op.what:
        case "won":
            return (op.pid,) if owner in (None, op.pid) else ()
        case "unknown":
            return (op.pid,) if owner is None else (owner,)
        case "read":
            return (owner,) if owner == op.pid else ()


def guarded_kinds(cluster: Cluster) -> set[str]:
    """Kinds of task that need grants."""
    return {kind for engine in cluster.live() for kind, spec in engine.agent.tasks.items() if spec.guard == "majority"}


def is_guarded(cluster: Cluster, task: str) -> bool:
    """Whether this task, or the task of this effect, needs grants."""
    return task.partition("/")[0] in guarded_kinds(cluster)


def majorities(cluster: Cluster) -> dict[Register, set[Member]]:
    """Who ever had a majority of the grants for a register, by the entries that any replica has."""
    grants: set[Grant] = set()
    voters: dict[int, set[tuple[tuple[str, str], ...]]] = defaultdict(set)
    for engine in cluster.live():
        for entry in engine.ledger.document.entries():
            record = decode(entry.data)
            if isinstance(record, Grant):
                grants.add(record)
            elif isinstance(record, Roster) and record.act == "active":
                voters[int(record.key)].add(record.voters)
    votes: dict[tuple[Register, int, Member], set[tuple[str, str]]] = defaultdict(set)
    for grant in grants:
        votes[(grant.key, grant.epoch), grant.roster, holder(grant)].add((grant.author, grant.journal))
    found: dict[Register, set[Member]] = defaultdict(set)
    for (register, version, member), by in votes.items():
        if any(len(by & set(roster)) > len(roster) // 2 for roster in voters[version]):
            found[register].add(member)
    return found


def one_claimant(cluster: Cluster) -> Iterator[str]:
    """At most one claimant ever has a majority for an epoch of a task."""
    for (task, epoch), members in sorted(majorities(cluster).items()):
        if len(members) > 1:
            yield f"{task}: epoch {epoch} was decided for {' and for '.join(str(member) for member in sorted(members))}"


def one_roster(cluster: Cluster) -> Iterator[str]:
    """Every version of the roster is the same for all."""
    voters: dict[str, set[tuple[tuple[str, str], ...]]] = defaultdict(set)
    for engine in cluster.live():
        for entry in engine.ledger.document.entries():
            record = decode(entry.data)
            if isinstance(record, Roster) and record.act == "active":
                voters[record.key].add(record.voters)
    for version, found in sorted(voters.items()):
        if len(found) > 1:
            yield f"roster {version} was decided {len(found)} times: {sorted(found)}"


def linearizable(cluster: Cluster) -> Iterator[str]:
    """The claim of each epoch behaves as a write-once register."""
    pids = {(str(event.facts[0]), int(event.facts[1])): event.pid for event in cluster.history.of("started")}
    registers: dict[Register, list[Operation]] = defaultdict(list)
    asked: dict[tuple[str, int, int], float] = {}
    for event in cluster.history.events:
        if event.what not in ("asked", "decided", "begin"):
            continue
        task, epoch = str(event.facts[1]), int(event.facts[2])
        if not is_guarded(cluster, task):
            continue
        if event.what == "asked":
            asked[task, epoch, event.pid] = event.at
        elif event.what == "begin":
            registers[task, epoch].append(Operation(event.at, event.at, "read", event.pid))
        else:
            since = asked.pop((task, epoch, event.pid))
            registers[task, epoch].append(Operation(since, event.at, "won", event.pid))
    for (task, epoch, pid), since in asked.items():
        registers[task, epoch].append(Operation(since, math.inf, "unknown", pid))
    now = cluster.loop.time()
    for register, members in majorities(cluster).items():
        seen = (pids[member.name, member.incarnation] for member in sorted(members))
        registers[register] += [Operation(now, now, "read", pid) for pid in seen]
    for (task, epoch), operations in sorted(registers.items()):
        if not is_linearizable(operations):
            yield f"{task}: epoch {epoch} is no write-once register: {sorted(operations)}"


def decided_before_acting(cluster: Cluster) -> Iterator[str]:
    """No effect leaves, and no handler begins, in an epoch after a higher one was decided. A pause is no excuse."""
    decided: dict[str, tuple[int, float, str]] = {}
    for event in cluster.history.events:
        if event.what == "decided":
            task, epoch = str(event.facts[1]), int(event.facts[2])
            decided[task] = max(decided.get(task, (0, 0.0, "")), (epoch, event.at, str(event.facts[0])))
        elif event.what == "publish" and is_guarded(cluster, str(event.facts[1])):
            key, epoch = str(event.facts[1]), int(event.facts[2])
            higher, since, name = decided.get(key.rpartition("/")[0], (0, 0.0, ""))
            if higher > epoch:
                yield (
                    f"{key}: left {event.facts[0]} at {event.at:.3f} in epoch {epoch}, "
                    f"after epoch {higher} was decided for {name} at {since:.3f}"
                )
            elif higher < epoch:
                yield f"{key}: left {event.facts[0]} at {event.at:.3f} in epoch {epoch}, which was never decided"


def guarded_once(cluster: Cluster) -> Iterator[str]:
    """One request a key at the feed, however long a partition is: the feed can be asked, and it is."""
    first: dict[str, str] = {}
    for post in cluster.feed.posts:
        if is_guarded(cluster, post.key):
            if post.key in first:
                yield f"{post.key}: needs a majority, posted by {first[post.key]} and {post.replica} at {post.at:.3f}"
            first[post.key] = f"{post.replica} at {post.at:.3f}"


ELECTIONS = (one_claimant, one_roster, linearizable, decided_before_acting, guarded_once)
