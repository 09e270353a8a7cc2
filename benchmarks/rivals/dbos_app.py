"""DBOS Transact on Postgres: a queue of workflows."""

from __future__ import annotations

import threading

from dbos import DBOS, DBOSClient

from benchmarks.rivals.produce import Threaded
from benchmarks.rivals.record import URL, WORKER, work

DATABASE = URL.replace("postgresql://", "postgresql+psycopg://")
VERSION = "v1"


class Submitting(Threaded):
    """The client's `enqueue`, from a few threads."""

    under_way = 8

    def __init__(self) -> None:
        super().__init__(self._enqueue)

    async def start(self) -> None:
        self._client = DBOSClient(system_database_url=DATABASE)

    def _enqueue(self, text: str) -> None:
        self._client.enqueue({"workflow_name": "job", "queue_name": "q", "app_version": VERSION}, text)


def producer() -> Submitting:
    return Submitting()


def main() -> None:
    config = {
        "name": "bench",
        "system_database_url": DATABASE,
        "application_version": VERSION,
        "executor_id": f"w{WORKER}",
        "log_level": "WARNING",
    }
    DBOS(config=config)

    @DBOS.workflow(name="job")
    def job(text: str) -> None:
        work(text)

    DBOS.launch()
    DBOS.register_queue("q", worker_concurrency=100)
    threading.Event().wait()


if __name__ == "__main__":
    main()
