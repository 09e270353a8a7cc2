"""What a simulated mesh costs: frames on the wire, CPU of each replica, the moment when all documents are equal."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from actonce.engine import Engine
from actonce.sim.cluster import Cluster
from actonce.sim.process import Process
from actonce.sim.world import SimWorld


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of all links together. `size` in bytes, before the framing of a transport."""

    at: float
    """Virtual seconds."""
    messages: int
    size: int


class Meter:
    """Watches a cluster, in place of the checkers that look at each frame. CPU and digests only between two calls."""

    def __init__(self, cluster: Cluster) -> None:
        self._loop = cluster.loop
        self._messages = self._size = 0
        self._watched: dict[str, Engine] | None = None
        self._inside = False
        self._digests: dict[str, bytes] = {}
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        """By replica, since `watch`: of its engine, on this machine."""
        self.equal_at: float | None = None
        """When all digests were equal for the first time since `watch`. Virtual seconds."""
        cluster.network.inspect = self._sent

    def traffic(self) -> Traffic:
        """All that was sent so far."""
        return Traffic(self._loop.time(), self._messages, self._size)

    def follow(self, name: str, world: SimWorld) -> None:
        """Count the CPU of this process; once, right after its start."""
        guard = world.guard

        def metered(call: Callable[[], None]) -> None:
            if self._watched is None or self._inside:
                guard(call)
                return
            self._inside = True
            began = time.thread_time()
            try:
                guard(call)
            finally:
                self.cpu_s[name] += time.thread_time() - began
                self._inside = False
            self._look(name)

        world.guard = metered  # type: ignore[method-assign]

    def watch(self, engines: dict[str, Engine]) -> None:
        """From now on count CPU, and look for equal digests."""
        self.cpu_s.clear()
        self._watched, self.equal_at = engines, None
        self._digests = {name: engine.ledger.document.digest for name, engine in engines.items()}
        self._compare()

    def stop(self) -> None:
        """Count no longer."""
        self._watched = None

    def _look(self, name: str) -> None:
        if self._watched is not None and self.equal_at is None:
            digest = self._watched[name].ledger.document.digest
            if digest != self._digests[name]:
                self._digests[name] = digest
                self._compare()

    def _compare(self) -> None:
        if len(set(self._digests.values())) == 1:
            self.equal_at = self._loop.time()

    def _sent(self, process: Process, frame: bytes) -> None:
        self._messages += 1
        self._size += len(frame)
