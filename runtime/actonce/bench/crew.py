"""Replica processes that a measurement starts, gives orders (see `worker.py`) and ends."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from actonce.bench.worker import Start
from actonce.demo.children import STOP_LIMIT_S
from actonce.demo.mesh import free_port
from actonce.errors import ActonceError

ORDER_LIMIT_S = 300.0
LINE_BYTES_MAX = 256 * 1024 * 1024
NAMES = "abcdefghijklmnopqrstuvwxyz"

Via = Callable[[str, str, str], str]
"""(who dials, whom, its address) -> the address to dial."""


class WorkerFailed(ActonceError):
    """A worker process ended early, or does not answer."""


class Hand:
    """One process that takes orders, from outside."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        """
        Args:
            environment: added to our own.
            log: what it complains about is appended there; without it, it goes where our complaints go.
        """
        self.name, self._command, self._log = name, command, log
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of its process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    async def begin(self) -> None:
        """Start the process."""
        pipe = asyncio.subprocess.PIPE
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if self._log is not None else None
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=log, env=self._environment, limit=LINE_BYTES_MAX
            )
        finally:
            if log is not None:
                os.close(log)

    async def read(self) -> Any:
        """Its next answer.

        Raises:
            WorkerFailed: it ended, or takes too long.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ORDER_LIMIT_S)
        except TimeoutError:
            raise WorkerFailed(f"worker {self.name} does not answer within {ORDER_LIMIT_S:g} s") from None
        if not line:
            raise WorkerFailed(f"worker {self.name} ended early; {self._where()}")
        return json.loads(line)

    def _where(self) -> str:
        return f"see {self._log}" if self._log is not None else "its error is above"

    async def tell(self, do: str, **order: Any) -> Any:
        """Give an order; its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        return await self.read()

    async def end(self) -> None:
        """Close its input; kill it if it does not end soon."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        if process.returncode is None:
            process.kill()
            await process.wait()


class Crew:
    """`async with Crew(folder, 3) as crew`: so many settled replicas in as many processes."""

    def __init__(
        self,
        folder: Path,
        replicas: int,
        via: Via | None = None,
        module: str = "actonce.bench.worker",
        settings: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """
        Args:
            folder: of the journals, must exist.
            via: leads a link through something else. Without it all dial all directly.
            module: what the processes run.
            settings: of `Start`, for all.
        """
        rng = random.Random()
        self._via, self._module, self._settings = via, module, settings
        self.posts = folder / "posts"
        self.posts.touch()
        self.addresses = {name: f"127.0.0.1:{free_port(rng)}" for name in NAMES[:replicas]}
        self._folder = folder
        self.hands: list[Hand] = []

    async def __aenter__(self) -> Self:
        for name, listen in self.addresses.items():
            others = ((other, address) for other, address in self.addresses.items() if other != name)
            join = [self._via(name, other, address) if self._via else address for other, address in others]
            data = str(self._folder / name)
            first = name == "a"
            start = Start(name, listen, [to for to in join if to], data, first, str(self.posts), **self._settings)
            self.hands.append(Hand(name, (sys.executable, "-m", self._module, start.encode())))
        try:
            for hand in self.hands:
                await hand.begin()
            for hand in self.hands:
                await hand.read()
            await self.until_whole()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        await asyncio.gather(*(hand.end() for hand in self.hands))

    async def all(self, do: str, **order: Any) -> list[Any]:
        """Give all the same order at once; their answers."""
        return await asyncio.gather(*(hand.tell(do, **order) for hand in self.hands))

    async def until_whole(self) -> None:
        """All are in the views of all.

        Raises:
            WorkerFailed: not within half a minute.
        """
        await self.until(lambda facts: all(one["members"] == len(self.hands) for one in facts), "form a mesh", 30.0)

    async def until(
        self, condition: Callable[[Sequence[dict[str, Any]]], bool], what: str, limit_s: float
    ) -> list[dict[str, Any]]:
        """The facts about all replicas, once they fulfil the condition.

        Raises:
            WorkerFailed: not within `limit_s`.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + limit_s
        while True:
            facts: list[dict[str, Any]] = await self.all("facts")
            if condition(facts):
                return facts
            if loop.time() > ends:
                raise WorkerFailed(f"the replicas did not {what} within {limit_s:g} s")
            await asyncio.sleep(0.1)
