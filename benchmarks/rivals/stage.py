"""One rival with its server, three workers and its producers, while it is measured; nothing of it is left after."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Self

from actonce.bench.crew import Hand
from actonce.errors import ActonceError
from benchmarks.rivals.catalog import Rival
from benchmarks.rivals.record import BEGAN, ENDED, Reader, Record
from benchmarks.rivals.servers import Failed, Missing, Server, cpu_s, free_port, kill_tree, start_apart

WORKERS = 3
WARM_LIMIT_S = 30.0
WARM_BATCH = 12
WARM_NUMBER = 10**9
"""Tasks that only warm up count from here."""
LOOK_S = 0.02
TROUBLE = (Missing, Failed, ActonceError, OSError, subprocess.SubprocessError)
"""What a measurement of a rival may raise."""


class Stage:
    """`async with Stage(rival) as stage`: everything runs and is warm."""

    def __init__(self, rival: Rival, *, fast: bool = False, producers: int = WORKERS) -> None:
        """
        Args:
            fast: with the settings of the fastest takeover.
            producers: how many processes submit. Where they work too, there are always as many as workers.
        """
        check_packages(rival)
        self.rival, self._fast = rival, fast
        self.folder = Path(tempfile.mkdtemp(prefix=f"rival-{rival.key}-"))
        self.folder.chmod(0o755)  # a server may run as another user
        self.reader = Reader(self.folder)
        self.server: Server | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        self._count = producers if rival.command is not None else WORKERS
        self.producers: list[Hand] = []
        self._warmed = WARM_NUMBER

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._start)
            await asyncio.gather(*(one.begin() for one in self.producers))
            await asyncio.gather(*(one.read() for one in self.producers))
            await self._warm()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    def _start(self) -> None:
        if self.rival.server is not None:
            self.server = self.rival.server(self.folder, durable=self.rival.durable)
            self.server.start()
        module = self.rival.module
        if self.rival.setup:
            make = [sys.executable, "-c", f"import {module} as rival; rival.setup()"]
            subprocess.run(make, check=True, env={**os.environ, **self._environment(0)})
        if self.rival.command is not None:
            for number in range(WORKERS):
                log, environment = self.folder / f"worker{number}.log", self._environment(number)
                self._workers.append(start_apart(self.rival.command(number), log, environment))
        produce = ["benchmarks.rivals.produce", module] if self.rival.command is not None else [module]
        command = [sys.executable, "-m", *produce]
        ports = ",".join(str(free_port()) for _ in range(WORKERS))
        for number in range(self._count):
            environment = {**self._environment(number), "RIVAL_PORTS": ports}
            said = self.folder / f"producer{number}.log"
            self.producers.append(Hand(f"{self.rival.key} {number}", command, environment, said))

    def _environment(self, worker: int) -> dict[str, str]:
        return {
            "RIVAL_FOLDER": str(self.folder),
            "RIVAL_URL": self.server.url if self.server is not None else "",
            "RIVAL_WORKER": str(worker),
            "RIVAL_FAST": "1" if self._fast else "0",
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)]),
        }

    async def _warm(self) -> None:
        """Submit a few tasks again and again, until each worker has run one; then wait until all have run.

        Raises:
            Failed: that takes too long.
        """
        wanted = 1 if self.rival.leader else WORKERS
        deadline = time.monotonic() + WARM_LIMIT_S
        while len({record.worker for record in self.reader.read()}) < wanted:
            if time.monotonic() > deadline:
                raise Failed(f"{self.rival.name} does not get going within {WARM_LIMIT_S:g} s; see {self.folder}")
            for _ in range(WARM_BATCH):
                await self.producers[0].tell("submit", number=self._warmed, seconds=0.05)
                self._warmed += 1
            await asyncio.sleep(0.3)
        await self.until_ended(self._warmed - WARM_NUMBER, WARM_LIMIT_S)

    async def until_ended(self, tasks: int, limit_s: float) -> None:
        """Wait until that many different tasks have ended, of those submitted since the start.

        Raises:
            Failed: they have not, in time.
        """
        deadline = time.monotonic() + limit_s
        while True:
            if self.reader.count() >= 2 * tasks:
                ended = {record.number for record in self.reader.read() if record.what == ENDED}
                if len(ended) >= tasks:
                    return
            if time.monotonic() > deadline:
                ended = {record.number for record in self.reader.read() if record.what == ENDED}
                raise Failed(f"{self.rival.name}: {len(ended)} of {tasks} tasks ended; see {self.folder}")
            await asyncio.sleep(LOOK_S)

    def ended(self) -> int:
        """How many different tasks have ended so far."""
        return len({record.number for record in self.reader.read() if record.what == ENDED})

    async def until_began(self, number: int, since_ns: int, limit_s: float) -> Record | None:
        """The first record that this task began after that moment; None if it does not in time."""
        deadline = time.monotonic() + limit_s
        seen = 0
        while time.monotonic() < deadline:
            records = self.reader.read()
            for record in records[seen:]:
                if record.what == BEGAN and record.number == number and record.at_ns > since_ns:
                    return record
            seen = len(records)
            await asyncio.sleep(LOOK_S)
        return None

    def cpu_s(self) -> float:
        """User and system seconds so far of the server, the workers, the producers."""
        pids = [worker.pid for worker in self._workers] + [one.pid for one in self.producers]
        pids += [self.server.pid] if self.server is not None else []
        return sum(map(cpu_s, pids))

    def kill(self, worker: int) -> None:
        """kill -9 of this worker and all that it started."""
        kill_tree(self._workers[worker].pid if self._workers else self.producers[worker].pid)

    async def _end(self) -> None:
        for worker in self._workers:
            kill_tree(worker.pid)
            await asyncio.to_thread(worker.wait)
        await asyncio.gather(*(one.end() for one in self.producers))
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)
        if sys.exc_info()[0] is None:
            shutil.rmtree(self.folder, ignore_errors=True)


def check_packages(rival: Rival) -> None:
    """
    Raises:
        Missing: a package or the server is not installed.
    """
    for package in rival.packages if rival.server is not None else ():
        try:
            version(package)
        except PackageNotFoundError:
            raise Missing(f"{package} is not installed: pip install 'actonce[rivals]'") from None
    if rival.server is not None:
        rival.server.find()


def versions(rival: Rival) -> dict[str, str]:
    """Package or server -> version, of those that are installed."""
    found = {}
    for package in rival.packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if rival.server is not None:
        with suppress(Missing):
            found[rival.server.program] = rival.server.version()
    return found
