"""Delivers each message to every replica, as a relay with several subscribers does, until one acknowledges it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from actonce.demo.mesh import Replica
from actonce.demo.messages import KIND, Message
from actonce.demo.wire import Unreached, Wire

CONNECTIONS = 8
"""To each replica; one delivery at a time on each."""
DELIVERY_LIMIT_S = 12.0
"""For one answer: longer than a replica's own limit for a submission."""
RETRY_S = 0.05
ACCEPTED = (200, 202)


@dataclass(slots=True)
class Delivery:
    """One message on its way to all replicas."""

    message: Message
    at: float
    """When it was first offered, in unix seconds."""
    acknowledged: bool = False
    refusal: str = ""
    """Why it can never be taken."""

    @property
    def over(self) -> bool:
        return self.acknowledged or bool(self.refusal)


@dataclass(slots=True)
class Relay:
    """All deliveries of a run. A replica that cannot be reached misses a message, if another one has it."""

    replicas: Sequence[Replica]
    messages: Sequence[Message]
    rate: float
    """Messages a second."""
    kind: str = KIND
    """The kind of task that a message is."""
    deliveries: list[Delivery] = field(default_factory=list)
    acknowledged: int = 0
    acknowledged_at: float = 0.0
    """When a replica last acknowledged something, in unix seconds."""
    missed: int = 0
    """Deliveries to one replica that were given up, because another had acknowledged."""

    async def run(self) -> None:
        """Until each message was acknowledged (or refused for good), and offered to every replica."""
        queues: list[asyncio.Queue[Delivery]] = [asyncio.Queue() for _ in self.replicas]
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(self._deliver(replica.new_wire(), queue))
                for replica, queue in zip(self.replicas, queues, strict=True)
                for _ in range(CONNECTIONS)
            ]
            began_s = asyncio.get_running_loop().time()
            for number, message in enumerate(self.messages):
                late_s = asyncio.get_running_loop().time() - began_s - number / self.rate
                if late_s < 0:
                    await asyncio.sleep(-late_s)
                self.deliveries.append(Delivery(message, time.time()))
                for queue in queues:
                    queue.put_nowait(self.deliveries[-1])
            for queue in queues:
                await queue.join()
            for worker in workers:
                worker.cancel()

    async def _deliver(self, wire: Wire, queue: asyncio.Queue[Delivery]) -> None:
        try:
            while True:
                delivery = await queue.get()
                while not await self._offer(wire, delivery):
                    if delivery.over:
                        self.missed += 1
                        break
                    await asyncio.sleep(RETRY_S)
                queue.task_done()
        finally:
            wire.close()

    async def _offer(self, wire: Wire, delivery: Delivery) -> bool:
        """Whether the replica has answered for good."""
        message = delivery.message
        body = {"kind": self.kind, "payload": message.payload, "key": message.id}
        try:
            status, answer = await wire.ask("POST", "/submit", body, limit_s=DELIVERY_LIMIT_S)
        except Unreached:
            return False
        if status in ACCEPTED:
            self.acknowledged += not delivery.acknowledged
            delivery.acknowledged, self.acknowledged_at = True, time.time()
            return True
        if 400 <= status < 500:
            delivery.refusal = delivery.refusal or str(answer.get("error", status))
            return True
        return False
