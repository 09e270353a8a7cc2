"""What the registers of a lock service hold, and what follows from it. Pure: no clock, no I/O.

A *session* register, one a replica, says that the replica lives: its holder writes it again and again. A *task*
register says under which session a task is held, and what its next holder has to know. They are JSON, for people who
look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar, get_type_hints

from actonce.locks.service import LockRefused
from actonce.ownership import Member

TaskHeld = Literal["held", "free", "done", "void"]
"""`void`: as if nobody had ever held it."""

NUMBER_MAX = 2**63 - 1
"""Times, counts and revisions are at most this; more is a float's infinity, or nothing that a service counts."""

R = TypeVar("R", "SessionRecord", "TaskRecord")


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session of one replica."""

    session: str
    """`replica:unique`: never used twice."""
    journal: str
    """Id of the replica's journal: whoever has that journal open knows that the process before it is dead."""
    ttl_ms: int
    beat: int
    """Counts the renewals: each is another value."""
    ended: bool = False
    """For good. A session that was ended is never renewed."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Who holds a task."""

    task: str
    state: TaskHeld
    session: str
    """Of the present or last holder."""
    journal: str
    ttl_ms: int
    """Of the holder's session."""
    epoch: int
    """Of the claim for which it was taken; when it is done, of the last one."""
    token: int
    """0: the revision of this very write. Later writes by the same holder repeat it."""
    since_ms: int
    """Unix time at which anybody held it first: no effect of the task is older, as far as clocks are right."""
    readers: tuple[str, ...]
    """Incarnations that have read every intent of every holder so far: `name:incarnation`. A holder lets no effect
    leave before all of them have read its intent. For anybody else "no intent" does not mean "not posted"."""
    doubtful: bool
    """Some holder took over without being a reader: from then on nobody knows all intents."""


def session_key(agent: str, replica: str) -> str:
    """Of the register; names hold no '/'."""
    return f"{agent.replace('.', '/')}.session.{replica.replace('.', '/')}"


def task_key(agent: str, task: str) -> str:
    """Of the register: hashed, since a task's id may be long and hold anything."""
    return f"{agent.replace('.', '/')}.task.{hashlib.blake2b(task.encode(), digest_size=16).hexdigest()}"


def encode(record: SessionRecord | TaskRecord) -> bytes:
    """Canonical JSON."""
    return json.dumps(asdict(record), sort_keys=True, separators=(",", ":")).encode()


def decode(kind: type[R], key: str, value: bytes) -> R:
    """
    Raises:
        LockRefused: not what `encode` makes of this kind: somebody else uses the key.
    """
    try:
        found: Any = json.loads(value)
        names = {field.name for field in fields(kind)}
        if isinstance(found, dict) and set(found) == names:
            if "readers" in found:
                found["readers"] = tuple(found["readers"])
            hints = get_type_hints(kind)
            wanted = {name: {int: int, str: str, bool: bool}.get(hints[name], (str, tuple)) for name in names}
            readers = found.get("readers", ())
            numbers = (found[name] for name in names if wanted[name] is int)
            fits = all(isinstance(found[name], wanted[name]) for name in names)
            if fits and all(map(_is_number, numbers)) and all(map(_is_reader, readers)):
                return kind(**found)
    except (ValueError, TypeError, RecursionError):
        pass
    raise LockRefused(f"{key} holds something that Actonce did not write: give the agent a bucket of its own")


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= NUMBER_MAX


def _is_reader(value: object) -> bool:
    digits = value.rpartition(":")[2] if isinstance(value, str) else ""
    return digits.isascii() and digits.isdecimal() and len(digits) <= len(str(NUMBER_MAX))


def reader(member: Member) -> str:
    """An incarnation as records name it."""
    return f"{member.name}:{member.incarnation}"


def member_of(name: str) -> Member:
    """The one that `reader` named so."""
    replica, _, incarnation = name.rpartition(":")
    return Member(replica, int(incarnation))


def taken(
    before: TaskRecord | None,
    task: str,
    epoch: int,
    session: SessionRecord,
    me: Member,
    in_play: Iterable[Member],
    now_ms: int,
) -> TaskRecord:
    """The record of a new holder, who must know that nobody else can act on the task any more.

    Nobody has held it before: whoever is in play will have read all. Otherwise only who knew all until now goes on to
    know all; and if the new holder is none of them, nobody does.
    """
    start: tuple[str, TaskHeld, str, str, int, int, int]
    start = (task, "held", session.session, session.journal, session.ttl_ms, epoch, 0)
    present = {reader(member) for member in in_play} | {reader(me)}
    if before is None or before.state == "void":
        return TaskRecord(*start, now_ms, _sorted(present), doubtful=False)
    knows_all = reader(me) in before.readers or before.journal == session.journal
    doubtful = before.doubtful or not knows_all
    readers = set() if doubtful else (set(before.readers) & present) | {reader(me)}
    return TaskRecord(*start, before.since_ms, _sorted(readers), doubtful)


def amended(record: TaskRecord, revision: int, **changes: Any) -> TaskRecord:
    """The same holder writes again: the token stays what it was."""
    return replace(record, token=record.token or revision, **changes)


def token_of(record: TaskRecord, revision: int) -> int:
    """The fencing token of the record's holder: larger than that of any holder before."""
    return record.token or revision


def _sorted(readers: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(readers))
