"""Raw NATS JetStream: a work queue stream and a durable pull consumer."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import nats
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

from benchmarks.rivals.record import FAST, URL, work_async

AT_ONCE, FETCH = 100, 50
ACK_WAIT_S, IN_PROGRESS_S = (3.0, 1.0) if FAST else (30.0, 0.0)


def setup() -> None:
    """The stream and the consumer."""

    async def make() -> None:
        client = await nats.connect(URL)
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name="Q", subjects=["q"], retention=RetentionPolicy.WORK_QUEUE))
        await stream.add_consumer("Q", ConsumerConfig(durable_name="d", ack_wait=ACK_WAIT_S, max_ack_pending=1_000))
        await client.close()

    asyncio.run(make())


class Submitting:
    """A publish that waits for the stream's acknowledgement."""

    under_way = 64

    async def start(self) -> None:
        self._client = await nats.connect(URL)
        self._stream = self._client.jetstream()

    async def submit(self, text: str) -> None:
        await self._stream.publish("q", text.encode())

    async def stop(self) -> None:
        await self._client.close()


def producer() -> Submitting:
    return Submitting()


async def main() -> None:
    client = await nats.connect(URL)
    subscription = await client.jetstream().pull_subscribe("q", durable="d", stream="Q")
    free, running = asyncio.Semaphore(AT_ONCE), set[asyncio.Task[None]]()

    async def one(message: Msg) -> None:
        saying = asyncio.create_task(keep_saying(message)) if IN_PROGRESS_S else None
        try:
            await work_async(message.data.decode())
            await message.ack()
        finally:
            if saying is not None:
                saying.cancel()
            free.release()

    while True:
        await free.acquire()
        free.release()
        with suppress(nats.errors.TimeoutError, TimeoutError):
            for message in await subscription.fetch(FETCH, timeout=1):
                await free.acquire()
                task = asyncio.create_task(one(message))
                running.add(task)
                task.add_done_callback(running.discard)


async def keep_saying(message: Msg) -> None:
    while True:
        await asyncio.sleep(IN_PROGRESS_S)
        await message.in_progress()


if __name__ == "__main__":
    asyncio.run(main())
