"""The simulated `World` of one process run of one replica."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from actonce.sim.disk import Disk, SimJournal
from actonce.sim.locks import LockStore, SimLocks, SimLockService
from actonce.sim.network import Network, SimTransport
from actonce.sim.plain import hand_over
from actonce.sim.process import Process
from actonce.world import Cancel, ProcessId, RunAsync

EPOCH_S = 1_700_000_000.0
BOOTED_S = 1_000.0


class _Job:
    """A handler in the virtual loop."""

    def __init__(self, process: Process, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            self._began = True
            await job()

        self._process, self._began = process, False
        self.task = process.loop.create_task(run())

    def cancel(self) -> None:
        self._process.guard(self._cancel)

    def _cancel(self) -> None:
        if self._began:
            self.task.cancel()
        else:  # as the real hands do: a task cancelled before its first step would never report its end
            self._process.call_soon(self._cancel)


class SimHands:
    """Handlers in the same virtual loop."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._jobs: set[_Job] = set()  # the loop itself keeps only weak references to tasks

    def start(self, job: Callable[[], Coroutine[Any, Any, None]]) -> Cancel:
        handle = _Job(self._process, job)
        self._jobs.add(handle)
        handle.task.add_done_callback(lambda task: self._ended(handle, task))
        return handle

    def _ended(self, handle: _Job, task: asyncio.Task[None]) -> None:
        self._jobs.discard(handle)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._process.dead:  # now, and not when the collector finds the task
            self._process.loop.call_exception_handler({"message": "a job raised", "exception": error})

    async def plain(self, work: Callable[[RunAsync], Any]) -> Any:
        return await hand_over(work)

    def post(self, call: Callable[[], None]) -> None:
        self._process.call_soon(call)

    def engine(self, call: Callable[[], None]) -> None:
        self._process.call_soon(call)


class SimWorld(Process):
    """A process with a clock of its own, and everything that the engine asks for."""

    def __init__(
        self,
        network: Network,
        disk: Disk,
        name: str,
        rng: random.Random,
        pid: int,
        gone: Callable[[ProcessId], bool],
        locks: LockStore,
    ) -> None:
        super().__init__(network.loop, name)
        self.rng = rng
        self.process = ProcessId("simulated host", pid, pid)
        self.wall_offset_s = 0.0
        self._gone = gone
        self._ids = 0
        self.journal = SimJournal(self, disk)
        self.transport = SimTransport(network, self, name)
        self.hands = SimHands(self)
        self.locks = SimLocks(self, SimLockService(locks, name))
        self.on_kill.append(self.transport.kill)

    def now(self) -> float:
        return self.loop.time() * self.rate + BOOTED_S

    def wall(self) -> float:
        return EPOCH_S + self.loop.time() + self.wall_offset_s

    def new_id(self) -> str:
        self._ids += 1
        return f"{self.name}-{self.process.pid}-{self._ids:06d}"

    def process_gone(self, process: ProcessId) -> bool:
        return self._gone(process)

