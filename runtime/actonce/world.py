"""The one seam between a replica and everything outside it.

Clock, randomness, ids, timers, disk, network and the place where handlers run come in as one `World`. The engine
asks nothing else of the machine, so that the same engine runs on real processes and in virtual time from a seed.
Everything here is called on the engine's thread unless it says otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from actonce.journal import Journal
from actonce.locks.service import LockError, Register
from actonce_transports import Transport


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Names one process so exactly that its death can be *proved* on the same host, and nowhere else."""

    host: str
    """Boot id and pid namespace: two processes with equal `host` can see each other in the process table."""
    pid: int
    started: int
    """Start time in clock ticks since boot: a reused pid has another."""


class Cancel(Protocol):
    """Handle of a timer or a job. Cancelling twice, or too late, does nothing."""

    def cancel(self) -> None: ...


RunAsync = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


class Hands(Protocol):
    """Where handlers and sinks run. They may block for minutes: the engine never waits for them."""

    def start(self, job: Callable[[], Coroutine[Any, Any, None]]) -> Cancel:
        """Run `job` over there. Engine side. Cancelling raises the backend's cancellation inside it."""
        ...

    async def plain(self, work: Callable[[RunAsync], Any]) -> Any:
        """Run `work` in a thread, where it may block, and return what it returns. Over there.

        `work` gets a function that runs an async function over there, blocks, and returns its result. A cancelled
        caller leaves the thread alone: it cannot be stopped.
        """
        ...

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` over there soon. Engine side."""
        ...

    def engine(self, call: Callable[[], None]) -> None:
        """Run `call` on the engine soon, in order. From over there; from any thread."""
        ...


class Locks(Protocol):
    """The lock service, where one is declared, seen from the engine: see `actonce.locks.service` for what it promises.

    Each call replies once, on the engine, never from within the call, with the result or the error.
    """

    @property
    def where(self) -> str:
        """For people: its URL without credentials."""
        ...

    def get(self, key: str, reply: Callable[[Register | LockError | None], None]) -> None:
        """Read a register."""
        ...

    def put(self, key: str, value: bytes, expected: int, reply: Callable[[int | LockError], None]) -> None:
        """Write it, if its revision is `expected`; the reply is the new revision."""
        ...


class World(Protocol):
    """All that a replica may use of the outside."""

    @property
    def rng(self) -> random.Random: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def transport(self) -> Transport: ...

    @property
    def hands(self) -> Hands: ...

    @property
    def locks(self) -> Locks | None: ...

    @property
    def process(self) -> ProcessId: ...

    def now(self) -> float:
        """Seconds on a clock that never goes back and counts suspend. For timeouts and leases. Any thread."""
        ...

    def wall(self) -> float:
        """Unix seconds. For stamps and for people; nothing may depend on it being right. Any thread."""
        ...

    def new_id(self) -> str:
        """A fresh id that no replica ever made before: 26 letters and digits, roughly ordered by time."""
        ...

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` in a later turn of the loop, in order of asking."""
        ...

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Cancel:
        """Run `call` after `delay_s`. Not earlier; perhaps much later."""
        ...

    def process_gone(self, process: ProcessId) -> bool:
        """Whether it is *certain* that this process ended. False when it is not known."""
        ...
