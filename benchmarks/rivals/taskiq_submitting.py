"""How a process hands tasks to taskiq, whatever its broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from taskiq import AsyncBroker


class Submitting:
    """`kiq` returns when the broker has the task."""

    under_way = 64

    def __init__(self, broker: AsyncBroker, kiq: Callable[[str], Awaitable[object]]) -> None:
        self._broker, self._kiq = broker, kiq

    async def start(self) -> None:
        await self._broker.startup()

    async def submit(self, text: str) -> None:
        await self._kiq(text)

    async def stop(self) -> None:
        await self._broker.shutdown()
