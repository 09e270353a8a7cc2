"""Holding single tasks at the lock service: acquire, tell it who has read our intents, give back.

A `Hold` is one task that this replica wants or has. Every write expects the revision that was read before, so of
several that want a task one gets it; and the revision of the write that makes us the holder is the token: larger than
any before it. An answer that got lost is found again by reading: the record names our session. A write that may still
be on its way is made harmless by one more write, before the hold is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from actonce.lock_session import Lease, LockSession
from actonce.locks.records import TaskRecord, amended, decode, encode, member_of, reader, taken, task_key, token_of
from actonce.locks.service import LockConflict, LockError, LockRefused, LockUnreachable, Register
from actonce.ownership import Member
from actonce.world import Locks, World

Then = Callable[[], None]
OnRead = Callable[[Register | None], None]


@dataclass(slots=True, eq=False)
class Permit:
    """What the service granted for one task."""

    token: int
    """Larger than that of every holder before: what sinks get as fence."""
    lease: Lease
    readers: frozenset[Member]
    """Who must have read an intent before its effect leaves, besides those in play."""
    doubtful: bool
    """An earlier holder may have posted what we cannot know of: no intent does not mean "not posted"."""
    since_s: float
    """Unix time of the first holder."""
    left_at: float = -math.inf
    """On our clock: when an effect last passed the gate."""
    told: int = 0
    """The epoch for which it was passed on, 0 for none."""


@dataclass(slots=True, eq=False)
class Hold:
    """One task at the lock service, as far as this process knows."""

    task: str
    epoch: int
    """Of the claim that it is wanted for."""
    reopened: int = 0
    """Epoch of the order to try the task again, 0 for none: what the service knows to be done up to it, is not."""
    busy: bool = False
    """A request is under way."""
    next_at: float = 0.0
    why: str = ""
    """Why it is not ours, for people; "" when it is."""
    permit: Permit | None = None
    record: TaskRecord | None = None
    """What the service held last, as far as we know, when it is ours."""
    revision: int | None = None
    """Its revision; None: not known."""
    unsure: int | None = None
    """A write that expected this revision got no answer: it may still come to pass."""
    before: TaskRecord | None = None
    """What stood there when we took it."""
    taken_over: bool = False
    """`before` is known."""

    @property
    def ours(self) -> bool:
        """Whether we hold it; `permit.lease` says until when."""
        return self.permit is not None and not self.permit.lease.lost


class TaskLocks:
    """All requests about tasks. Each ends with `then`, once, on the engine; what came of it stands in the hold."""

    def __init__(self, world: World, locks: Locks, session: LockSession, agent: str, me: Member) -> None:
        self._world, self._locks, self._session, self._agent, self._me = world, locks, session, agent, me

    def acquire(self, hold: Hold, in_play: frozenset[Member], then: Then) -> None:
        """Try to get the task under our present lease. `in_play` are to be its readers where nobody held it before."""
        lease = self._session.lease
        assert lease is not None
        done = _begin(hold, then)
        self._read(hold, done, lambda found: self._decide(hold, lease, found, in_play, done))

    def amend(self, hold: Hold, readers: frozenset[Member], then: Then) -> None:
        """Record another set of readers for a task that we hold."""
        done = _begin(hold, then)
        if hold.revision is None or hold.record is None:
            self._resync(hold, done)
            return
        record = amended(hold.record, hold.revision, readers=tuple(sorted(map(reader, readers))))

        def written() -> None:
            assert hold.permit is not None
            hold.permit.readers = readers

        self._write(hold, record, hold.revision, done, written)

    def give_back(self, hold: Hold, state: Literal["free", "done"], then: Then) -> None:
        """`done`: nobody is to run it again. When that is written, or there is nothing to write, it is not ours."""

        end = _begin(hold, then)

        def decide(found: Register | None) -> None:
            record, revision = self._decode(hold, found), found.revision if found is not None else 0
            if record is not None and record.state == "held" and self._is_present(record):
                self._write(hold, self._given_back(hold, record, revision, state), revision, end, lambda: _gone(hold))
            elif hold.unsure == revision:
                # A write of ours may still come, and would make us the holder of what we forget. This makes it fail.
                same = amended(record, revision) if record is not None else self._void(hold)
                self._write(hold, same, revision, end, lambda: _gone(hold))
            else:
                _gone(hold)
                end()

        self._read(hold, end, decide)

    def _given_back(self, hold: Hold, record: TaskRecord, revision: int, state: Literal["free", "done"]) -> TaskRecord:
        nothing_left = hold.permit is None or hold.permit.left_at == -math.inf
        if state == "free" and nothing_left and hold.taken_over:  # as if we had never had it
            before = hold.before or self._void(hold)
            return amended(before, revision, state="void" if before.state == "void" else "free")
        return amended(record, revision, state=state, epoch=hold.epoch)

    def _void(self, hold: Hold) -> TaskRecord:
        return replace(self._taken(None, hold, frozenset()), state="void")

    # Steps

    def _is_present(self, record: TaskRecord) -> bool:
        return self._session.lease is not None and record.session == self._session.lease.session

    def _decide(self, hold: Hold, lease: Lease, found: Register | None, in_play: frozenset[Member], then: Then) -> None:
        record, revision = self._decode(hold, found), found.revision if found is not None else 0
        if record is None or record.state in ("free", "void") or _is_void(record, hold):
            self._take(hold, lease, record, revision, in_play, then)
        elif record.session == lease.session and record.state == "held":
            self._ours(hold, lease, record, revision)
            then()
        elif record.state == "done":
            hold.why = f"{_who(record)} has done it; waits for its outcome"
            then()
        else:
            hold.why = f"held by {_who(record)}"
            self._session.judge(
                record.session,
                record.ttl_ms,
                lambda ended: self._judged(hold, lease, record, revision, in_play, ended, then),
            )

    def _judged(
        self,
        hold: Hold,
        lease: Lease,
        record: TaskRecord,
        revision: int,
        in_play: frozenset[Member],
        ended: bool | LockError,
        then: Then,
    ) -> None:
        if ended is True:
            self._take(hold, lease, record, revision, in_play, then)
        else:
            if isinstance(ended, LockError):
                hold.why = str(ended)
            then()

    def _taken(self, before: TaskRecord | None, hold: Hold, in_play: frozenset[Member]) -> TaskRecord:
        now_ms = int(self._world.wall() * 1000)
        return taken(before, hold.task, hold.epoch, self._session.record, self._me, in_play, now_ms)

    def _take(
        self,
        hold: Hold,
        lease: Lease,
        before: TaskRecord | None,
        revision: int,
        in_play: frozenset[Member],
        then: Then,
    ) -> None:
        if lease.lost or lease is not self._session.lease:
            then()
            return
        record = self._taken(before, hold, in_play)
        hold.before, hold.taken_over = before, True
        self._write(hold, record, revision, then, lambda: self._ours(hold, lease, record, hold.revision or 0))

    def _ours(self, hold: Hold, lease: Lease, record: TaskRecord, revision: int) -> None:
        hold.record, hold.revision, hold.why, hold.unsure = record, revision, "", None
        readers = frozenset(member_of(name) for name in record.readers)
        token = token_of(record, revision)
        if hold.permit is None or hold.permit.lease is not lease:
            hold.permit = Permit(token, lease, readers, record.doubtful, record.since_ms / 1000)
        else:
            hold.permit.readers |= readers  # of two writes of ours, either may be the one that stands

    def _resync(self, hold: Hold, then: Then) -> None:
        """After a write without an answer: what does stand there?"""

        def look(found: Register | None) -> None:
            record = self._decode(hold, found)
            lease = hold.permit.lease if hold.permit is not None else None
            if found is not None and record is not None and lease is not None and record.session == lease.session:
                self._ours(hold, lease, record, found.revision)
            else:
                _gone(hold)
            then()

        self._read(hold, then, look)

    # Requests

    def _decode(self, hold: Hold, found: Register | None) -> TaskRecord | None:
        return None if found is None else decode(TaskRecord, task_key(self._agent, hold.task), found.value)

    def _read(self, hold: Hold, then: Then, read: OnRead) -> None:
        def answered(answer: Register | LockError | None) -> None:
            if isinstance(answer, LockError):
                hold.why = str(answer)
                then()
                return
            try:
                read(answer)
            except LockRefused as error:  # the register holds something else
                hold.why = str(error)
                then()

        self._locks.get(task_key(self._agent, hold.task), answered)

    def _write(self, hold: Hold, record: TaskRecord, expected: int, then: Then, written: Then) -> None:
        hold.revision = None

        def answered(answer: int | LockError) -> None:
            if isinstance(answer, LockError):
                if isinstance(answer, LockUnreachable):
                    hold.unsure = expected
                if not isinstance(answer, LockConflict):
                    hold.why = str(answer)
            else:
                hold.revision, hold.record, hold.unsure = answer, record, None
                written()
            then()

        self._locks.put(task_key(self._agent, hold.task), encode(record), expected, answered)


def _begin(hold: Hold, then: Then) -> Then:
    """One request, or several in a row, for a hold at a time."""
    assert not hold.busy
    hold.busy = True

    def done() -> None:
        hold.busy = False
        then()

    return done


def _gone(hold: Hold) -> None:
    hold.permit = hold.record = hold.before = None
    hold.unsure = hold.revision = None
    hold.taken_over = False


def _is_void(record: TaskRecord, hold: Hold) -> bool:
    """Whether somebody ordered the task to be tried again after it was done, and failed."""
    return record.state == "done" and record.epoch <= hold.reopened


def _who(record: TaskRecord) -> str:
    return record.session.partition(":")[0]
