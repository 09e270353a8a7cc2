"""taskiq on NATS JetStream."""

from __future__ import annotations

from nats.js.api import ConsumerConfig
from taskiq import AsyncBroker
from taskiq_nats import PullBasedJetStreamBroker

from benchmarks.rivals.record import FAST, URL, work_async
from benchmarks.rivals.taskiq_submitting import Submitting

broker: AsyncBroker = PullBasedJetStreamBroker(
    [URL],
    queue="q",
    consumer_config=ConsumerConfig(durable_name="taskiq_durable", ack_wait=5.0 if FAST else 30.0),
)


@broker.task(task_name="job")
async def job(text: str) -> None:
    await work_async(text)


def producer() -> Submitting:
    return Submitting(broker, job.kiq)
