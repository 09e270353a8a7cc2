"""What a lock service has to be able to do for us, and how it may fail. The smallest part that all of them share.

A *register* is a key with bytes and a revision. There are two verbs: read it, and write it if its revision is still
the one that was seen. Everything else (leases, tokens, takeover) is made of these two in `actonce.lock_session` and
`actonce.fenced`, alike for every service: nothing depends on how a service expires keys, on its clock, or on what it
does with leases when it restarts. (It is how Gray and Cheriton's leases, SOSP 1989, are kept over a register: whoever
wants to end a lease waits its length on the own clock, and writes only if it was not renewed meanwhile.)

Asked of a service, and tested by `contract_suite`:

- of two writes that expect one revision, at most one happens, and a write that is answered stays, also if the service
  is killed and started again (storage in memory is not enough);
- the revision of a register grows with each write, also after it was removed as too old;
- each call ends, with an answer or with `LockUnreachable`, within `REQUEST_S`.

Not asked: that a read is the newest value (a stale one costs a refused write), or that keys are ever removed, though
each adapter asks its service to forget what was not written for `RETENTION_S`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from actonce.errors import ActonceError

REQUEST_S = 2.0
"""How long one request may take, connecting included, before the service counts as unreachable."""

RETENTION_S = 7 * 86_400.0
"""How long a service keeps what was not written again. Two sides of a partition that lasts longer may act twice."""

RETENTION_S_MIN = 3_600.0
"""A service that forgets earlier is refused."""


class LockError(ActonceError):
    """A lock service did not do what it was asked."""


class LockConflict(LockError):
    """Surely not written: the register has another revision than was expected."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} was written by somebody else meanwhile")


class LockUnreachable(LockError):
    """No answer: a write may have happened, or may still happen. The message is the reason, as `connection refused`."""


class LockRefused(LockError):
    """Surely not done, and will not be until somebody changes the service or its URL: the message says what."""


@dataclass(frozen=True, slots=True)
class Register:
    """What was read."""

    value: bytes
    revision: int
    """At least 1; 0 stands for "absent" where a revision is expected."""


class LockService(Protocol):
    """One lock service as one process reaches it. All calls on one event loop; they may overlap."""

    where: str
    """For people: the URL without credentials."""

    async def get(self, key: str) -> Register | None:
        """The register, or None where there is none.

        Raises:
            LockUnreachable, LockRefused: see there.
        """
        ...

    async def put(self, key: str, value: bytes, expected: int) -> int:
        """Write `value` if the register's revision is `expected` (0: if there is none). Returns its new revision.

        Raises:
            LockConflict, LockUnreachable, LockRefused: see there.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections. No call follows."""
        ...
