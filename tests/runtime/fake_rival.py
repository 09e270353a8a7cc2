"""A rival that works in the process that submits, and forgets what was under way when that is killed.

FAKE_RIVAL=twice runs each task twice, FAKE_RIVAL=never runs none.
"""

import asyncio
import os

from benchmarks.rivals.produce import produce
from benchmarks.rivals.record import work_async

RUNS = {"twice": 2, "never": 0}.get(os.environ.get("FAKE_RIVAL", ""), 1)


class Submitting:
    under_way = 2

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing to connect to."""

    async def submit(self, text: str) -> None:
        for _ in range(RUNS):
            task = asyncio.create_task(work_async(text))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Nothing to part from."""


if __name__ == "__main__":
    asyncio.run(produce(Submitting()))
