"""Celery on Redis, acknowledging late: a task survives its worker."""

from __future__ import annotations

from celery import Celery

from benchmarks.rivals.produce import Threaded
from benchmarks.rivals.record import FAST, URL, work

app = Celery("bench", broker=URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 5 if FAST else 3_600},
)


@app.task(name="job")
def job(text: str) -> None:
    work(text)


def producer() -> Threaded:
    return Threaded(job.delay)
