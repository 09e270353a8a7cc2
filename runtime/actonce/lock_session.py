"""This replica's lease at the lock service, and the end of other replicas' leases.

One lease a replica, not one a task: a renewal is one write, however many tasks are held under it. It counts `ttl_s`
from when its write was *sent*. Whoever wants to end the lease of another reads its register, waits `ttl_s` (and some,
for the rate of clocks) on the own clock from the *arrival* of that read, and writes "ended" only if the register has
not changed. So when that write happens, the lease had run out by its holder's clock; and it can never be renewed any
more. No clock of the service, and no two clocks' agreement about the time, are part of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from actonce.locks.records import SessionRecord, decode, encode, session_key
from actonce.locks.service import LockConflict, LockError, LockRefused, LockUnreachable, Register
from actonce.settings import Settings
from actonce.world import Locks, World

RETRY_S = 0.5
"""Between two tries to reach the service."""

RENEWALS = 3
"""A lease is renewed this often within its length."""


@dataclass(slots=True, eq=False)
class Lease:
    """One session of ours."""

    session: str
    until: float = -math.inf
    """On our clock."""
    lost: bool = False
    """Others may hold by now what we held under it, and it cannot come back."""


class LockSession:
    """The lease under which this process holds tasks."""

    def __init__(
        self, world: World, locks: Locks, settings: Settings, agent: str, replica: str, journal: str, ttl_s: float
    ) -> None:
        """
        Args:
            journal: id of the journal that this process has open.
            ttl_s: how long a lease lasts.
        """
        self._world, self._locks, self._settings = world, locks, settings
        self._agent, self._replica, self._journal, self.ttl_s = agent, replica, journal, ttl_s
        self._key = session_key(agent, replica)
        self.lease: Lease | None = None
        self.record = SessionRecord("", journal, int(ttl_s * 1000), 0)
        self._revision: int | None = None
        """None: not known; read it."""
        self._busy = False
        self._next_at = -math.inf
        self._seen: dict[str, tuple[int, float]] = {}
        """Session -> the revision of its register, and since when it has not changed, on our clock."""
        self.trouble = ""
        """Why the service does not do what we want; "" when it does."""
        self.trouble_since = 0.0
        self.over = False

    @property
    def live(self) -> bool:
        """Whether we hold a lease at this moment."""
        return self.lease is not None and self._world.now() < self.lease.until

    # Our own

    def pump(self) -> None:
        """Begin, renew, or try again, when it is time."""
        if self._busy or self.over or self._world.now() < self._next_at:
            return
        self._busy = True
        if self._revision is None:
            self._locks.get(self._key, self._read)
        else:
            self._renew(self._revision)

    def end(self) -> None:
        """We hold nothing any more: others need not wait for the lease to run out. Best effort."""
        self.over = True
        if self.lease is not None and self._revision is not None:
            self.lease.until = -math.inf
            self._locks.put(self._key, encode(replace(self.record, ended=True)), self._revision, lambda answer: None)

    def _read(self, answer: Register | LockError | None) -> None:
        self._busy = False
        if isinstance(answer, LockError):
            self._failed(answer)
            return
        if answer is None:
            self._begin(0)
            return
        try:
            found = decode(SessionRecord, self._key, answer.value)
        except LockRefused as error:
            self._failed(error)
            return
        if self.lease is not None and found.session == self.lease.session and not found.ended:
            self._busy = True
            self.record = found
            self._renew(answer.revision)  # dated by a new sending: nobody knows when the last one was sent
        elif found.ended or found.journal == self._journal or self._has_run_out(found.session, found, answer.revision):
            self._begin(answer.revision)
        else:
            self._failed(
                LockRefused(f"another journal had the name {self._replica} less than {found.ttl_ms / 1000:g} s ago")
            )

    def _begin(self, expected: int) -> None:
        """A new session. The one before, if there was one, is lost with all that was held under it."""
        if self.over:
            return
        if self.lease is not None:
            self.lease.lost, self.lease.until = True, -math.inf
        self.lease = Lease(f"{self._replica}:{self._world.new_id()}")
        self.record = SessionRecord(self.lease.session, self._journal, int(self.ttl_s * 1000), 0)
        self._busy = True
        self._write(expected)

    def _renew(self, revision: int) -> None:
        self.record = replace(self.record, beat=self.record.beat + 1)
        self._write(revision)

    def _write(self, expected: int) -> None:
        lease, sent = self.lease, self._world.now()
        assert lease is not None
        self._revision = None
        self._locks.put(self._key, encode(self.record), expected, lambda answer: self._written(lease, sent, answer))

    def _written(self, lease: Lease, sent: float, answer: int | LockError) -> None:
        self._busy = False
        if self.over:
            return
        if isinstance(answer, LockConflict):  # another write of ours that seemed lost, or somebody ended the session
            self._next_at = -math.inf
        elif isinstance(answer, LockError):
            self._failed(answer)
        else:
            self._revision = answer
            lease.until = sent + self.ttl_s
            self._next_at = sent + self.ttl_s / RENEWALS
            self.trouble = ""

    def _failed(self, error: LockError) -> None:
        if not self.trouble:
            self.trouble_since = self._world.now()
        self.trouble = str(error)
        self._next_at = self._world.now() + RETRY_S

    # Others

    def judge(self, session: str, ttl_ms: int, reply: Callable[[bool | LockError], None]) -> None:
        """Whether a session has ended for good; ends it if it has run out. Ask again until it has."""
        key = session_key(self._agent, session.partition(":")[0])
        self._locks.get(key, lambda answer: self._judged(key, session, ttl_ms, answer, reply))

    def _judged(
        self,
        key: str,
        session: str,
        ttl_ms: int,
        answer: Register | LockError | None,
        reply: Callable[[bool | LockError], None],
    ) -> None:
        if isinstance(answer, LockError):
            reply(answer)
            return
        try:
            found = decode(SessionRecord, key, answer.value) if answer is not None else None
        except LockRefused as error:
            reply(error)
            return
        if found is not None and (found.ended or found.session != session):
            self._seen.pop(session, None)
            reply(True)
            return
        found = found or SessionRecord(session, "", ttl_ms, 0)  # it was removed; nobody may renew it from nothing
        revision = answer.revision if answer is not None else 0
        if not self._has_run_out(session, found, revision):
            reply(False)
            return
        ended = encode(replace(found, ended=True))
        self._locks.put(key, ended, revision, lambda written: self._ended(session, written, reply))

    def _ended(self, session: str, written: int | LockError, reply: Callable[[bool | LockError], None]) -> None:
        if isinstance(written, LockUnreachable | LockRefused):
            reply(written)
        elif isinstance(written, LockError):
            reply(False)
        else:
            self._seen.pop(session, None)
            reply(True)

    def _has_run_out(self, session: str, found: SessionRecord, revision: int) -> bool:
        """Whether it was not renewed for its length, since we first *had* the answer with this revision."""
        now = self._world.now()
        before = self._seen.get(session)
        if before is None or before[0] != revision:
            self._seen[session] = (revision, now)
            return False
        return now - before[1] >= found.ttl_ms / 1000 * (1 + self._settings.clock_rate_error_max)
