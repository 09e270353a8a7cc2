"""The real `World`: this machine's clocks, entropy and process table, an asyncio loop's timers."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable

from actonce.edge import host
from actonce.journal import Journal
from actonce.world import Cancel, Hands, Locks, ProcessId
from actonce_transports import Transport

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Linux's monotonic clock stops while a laptop sleeps; a promise that was given before must not look fresh after.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class RealWorld:
    """Made inside the engine's running loop."""

    def __init__(self, journal: Journal, transport: Transport, hands: Hands, locks: Locks | None) -> None:
        self.journal, self.transport, self.hands, self.locks = journal, transport, hands, locks
        self.rng = random.Random(os.urandom(32))
        self.process = host.this_process()
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return time.clock_gettime(_CLOCK)

    def wall(self) -> float:
        return time.time()

    def new_id(self) -> str:
        # A ULID: 48 bits of milliseconds, 80 random bits, in Crockford's base 32.
        value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10))
        return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))

    def call_soon(self, call: Callable[[], None]) -> None:
        self._loop.call_soon(call)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Cancel:
        return self._loop.call_later(delay_s, call)

    def process_gone(self, process: ProcessId) -> bool:
        return host.is_gone(process, self.process)
