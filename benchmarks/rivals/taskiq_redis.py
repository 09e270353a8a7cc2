"""taskiq on Redis streams."""

from __future__ import annotations

from taskiq import AsyncBroker
from taskiq_redis import RedisStreamBroker

from benchmarks.rivals.record import FAST, URL, work_async
from benchmarks.rivals.taskiq_submitting import Submitting

broker: AsyncBroker = RedisStreamBroker(URL, idle_timeout=5_000 if FAST else 600_000)


@broker.task(task_name="job")
async def job(text: str) -> None:
    await work_async(text)


def producer() -> Submitting:
    return Submitting(broker, job.kiq)
