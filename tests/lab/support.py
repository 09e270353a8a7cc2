"""A mesh of processes under load, for tests."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actonce.bench.diary import Reader
from actonce.bench.load import Endless
from actonce.bench.rig import until_whole
from actonce.demo.mesh import Mesh
from actonce.demo.relay import Relay

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("crdt", "transports", "runtime", ""))
REPLICAS = 3
WAIT_S = 30.0


@dataclass(slots=True)
class Loaded:
    """A whole mesh, and the load that it is under."""

    mesh: Mesh
    diary: Reader
    relay: Relay
    messages: Endless
    load: "asyncio.Task[None]"

    async def end(self) -> None:
        """Send nothing more, and wait until all was taken in."""
        self.messages.stop = True
        await self.load


@asynccontextmanager
async def loaded(
    folder: Path, rate: float, *, work_s: float, feed_delay_ms: float = 15.0, **environment: str
) -> AsyncIterator[Loaded]:
    """Three replicas of the lab's agent; each message goes to all of them."""
    environment |= {"PYTHONPATH": SOURCES, "ACTONCE_BENCH_DIARY": str(folder / "diary")}
    environment |= {"ACTONCE_BENCH_WORK_S": str(work_s)}
    agent, seed = "tests.lab.agent:agent", os.getpid()
    async with Mesh(folder, REPLICAS, seed, agent, environment, feed_delay_ms, cuttable=False) as mesh:
        await until_whole(mesh)
        messages = Endless()
        relay = Relay(mesh.replicas, messages, rate)
        load = asyncio.ensure_future(relay.run())
        try:
            yield Loaded(mesh, Reader(folder / "diary"), relay, messages, load)
        finally:
            messages.stop = True
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)


async def until(found: Callable[[], Any], limit_s: float) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + limit_s
    while not found():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s"
        await asyncio.sleep(0.01)


def wait_until(found: Callable[[], Any], limit_s: float) -> None:
    """The same where no event loop runs. Asking without a pause would take the processor from those that are asked."""
    asyncio.run(until(found, limit_s))
