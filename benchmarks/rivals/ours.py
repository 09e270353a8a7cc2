"""Actonce by the same interface: three replicas, each of which submits and works, and nothing else."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from actonce import Agent, Context, Replica
from benchmarks.rivals.produce import produce
from benchmarks.rivals.record import WORKER, work_async

agent = Agent("bench")


@agent.task("job")
async def job(ctx: Context, text: str) -> None:
    await work_async(text)


class Submitting:
    """A replica. `submit` returns when the task is on its disk and read by another replica."""

    under_way = 64

    def __init__(self) -> None:
        ports = os.environ["RIVAL_PORTS"].split(",")
        addresses = [f"127.0.0.1:{port}" for port in ports]
        self._replica = Replica(
            agent,
            name=f"w{WORKER}",
            data=Path(os.environ["RIVAL_FOLDER"]) / f"w{WORKER}",
            listen=addresses[WORKER],
            join=[address for number, address in enumerate(addresses) if number != WORKER],
            new=WORKER == 0,
        )

    async def start(self) -> None:
        await self._replica.__aenter__()
        await self._replica.settled()

    async def submit(self, text: str) -> None:
        await self._replica.submit("job", text, key=text[:12])

    async def stop(self) -> None:
        await self._replica.__aexit__(None, None, None)


if __name__ == "__main__":
    asyncio.run(produce(Submitting()))
