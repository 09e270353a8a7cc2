"""PgQueuer, with asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.cli import supervisor
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.rivals.record import FAST, URL, work_async


def setup() -> None:
    """The tables."""

    async def make() -> None:
        connection = await asyncpg.connect(URL)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    asyncio.run(make())


class Submitting:
    """`enqueue` returns when the row is committed."""

    under_way = 16

    async def start(self) -> None:
        self._pool = await asyncpg.create_pool(URL, min_size=8, max_size=16)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))

    async def submit(self, text: str) -> None:
        await self._queries.enqueue("job", text.encode())

    async def stop(self) -> None:
        self._pool.terminate()


def producer() -> Submitting:
    return Submitting()


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect(URL)
    queuer = PgQueuer.from_asyncpg_connection(connection)

    @queuer.entrypoint("job")
    async def job(row: Job) -> None:
        await work_async((row.payload or b"").decode())

    try:
        yield queuer
    finally:
        await connection.close()


if __name__ == "__main__":
    options: dict[str, Any] = {}
    if FAST:
        options = {"heartbeat_timeout": timedelta(seconds=3), "dequeue_timeout": timedelta(seconds=1)}
    asyncio.run(supervisor.run("benchmarks.rivals.pgqueuer_app:main", **options))
