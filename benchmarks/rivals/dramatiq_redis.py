"""dramatiq on Redis."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.rivals.produce import Threaded
from benchmarks.rivals.record import FAST, URL, work

options = {"heartbeat_timeout": 5_000, "maintenance_chance": 100_000} if FAST else {}
dramatiq.set_broker(RedisBroker(url=URL, **options))


@dramatiq.actor
def job(text: str) -> None:
    work(text)


def producer() -> Threaded:
    return Threaded(job.send)
