"""One replica process of `lasting.py`: does task after task, notes none of them down, and says how large it is.

    python -m actonce.bench.growing '{"name": "a", ...}'        see `worker.Start`
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from actonce.bench.naive import rss_bytes
from actonce.bench.worker import UNDER_WAY, Start, Worker, work
from actonce.engine import Engine
from actonce.errors import NotSettled
from actonce.replica import Replica


class GrowingWorker(Worker):
    """A worker with two more orders."""

    def __init__(self, start: Start, replica: Replica) -> None:
        super().__init__(start, replica)
        self._data = Path(start.data)
        self._orders |= {"grow": self._grow, "weigh": self._weigh, "idle": self._idle}

    async def _grow(self, first: int, upto: int, rate: float) -> int:
        """Submit the tasks of these numbers at this rate, with the same key again where it was not confirmed. How
        often that was so."""
        todo, begin, again = iter(range(first, upto)), time.monotonic(), 0

        async def submit() -> None:
            nonlocal again
            for number in todo:
                due = begin + (number - first) // UNDER_WAY * UNDER_WAY / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                while not await self._submitted_once(number):
                    again += 1

        await asyncio.gather(*(submit() for _ in range(UNDER_WAY)))
        return again

    async def _submitted_once(self, number: int) -> bool:
        try:
            await self._replica.submit("post", {"n": number}, key=f"{self._name}{number}")
        except NotSettled:
            return False
        return True

    async def _weigh(self) -> dict[str, Any]:
        """Sizes in bytes; CPU in seconds so far."""
        gc.collect()
        found = await self._replica.inspect(weigh)
        files = [file.stat().st_size for file in self._data.iterdir() if file.is_file()]
        return {**found, "journal_bytes": sum(files), "rss_bytes": rss_bytes(), "cpu_s": await self._cpu()}

    async def _idle(self) -> bool:
        """Whether nothing is open, and all that is written is on the disk."""
        return await self._replica.inspect(
            lambda engine: not engine.claims.open and engine.ledger.durable_clock == engine.ledger.next_clock
        )


def weigh(engine: Engine) -> dict[str, Any]:
    """What an engine holds."""
    return {
        "document_bytes": len(engine.ledger.document.diff({})),
        "entries": engine.ledger.document.entry_count,
        "remembered": len(engine.ledger.state.tasks),
        "late": len(engine.ledger.state.late),
    }


if __name__ == "__main__":
    asyncio.run(work(Start(**json.loads(sys.argv[1])), GrowingWorker))
