"""The declared lock service as the engine calls it: requests run beside the engine, on its own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from actonce.agent import Agent
from actonce.locks import LockError, LockService, LockUnreachable, Register
from actonce.locks import open_locks as open_service
from actonce.locks.records import NUMBER_MAX
from actonce.locks.service import REQUEST_S

T = TypeVar("T")

SAID_CHARS = 80
"""Of an answer that makes no sense, for people."""


class EdgeLocks:
    """`Locks` over a `LockService`. Made and used in one running loop."""

    def __init__(self, service: LockService) -> None:
        self.where = service.where
        self._service = service
        self._requests: set[asyncio.Task[None]] = set()

    def get(self, key: str, reply: Callable[[Register | LockError | None], None]) -> None:
        """As in `Locks`."""

        async def get() -> Register | None:
            found = await self._service.get(key)
            if found is not None and not _is_register(found.value, found.revision):
                raise LockUnreachable(f"it answered {str(found)[:SAID_CHARS]}, which is no register")
            return found

        self._start(get, reply)

    def put(self, key: str, value: bytes, expected: int, reply: Callable[[int | LockError], None]) -> None:
        """As in `Locks`."""

        async def put() -> int:
            revision = await self._service.put(key, value, expected)
            if not _is_revision(revision):
                raise LockUnreachable(f"it answered {str(revision)[:SAID_CHARS]}, which is no revision")
            return revision

        self._start(put, reply)

    async def aclose(self) -> None:
        """Wait a moment for what is under way, as the end of our lease; then let go of everything."""
        if self._requests:
            await asyncio.wait(self._requests, timeout=REQUEST_S)
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        await self._service.aclose()

    def _start(self, ask: Callable[[], Coroutine[Any, Any, T]], reply: Callable[[T | LockError], None]) -> None:
        request = asyncio.get_running_loop().create_task(self._request(ask, reply))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    async def _request(self, ask: Callable[[], Coroutine[Any, Any, T]], reply: Callable[[T | LockError], None]) -> None:
        answer: T | LockError
        try:
            answer = await ask()
        except LockError as error:
            answer = error
        except Exception as error:  # a service, or its client, that breaks its contract
            answer = LockUnreachable(f"{type(error).__name__}: {error}")
        asyncio.get_running_loop().call_soon(reply, answer)  # an error in the engine is the engine's


def _is_register(value: object, revision: object) -> bool:
    return isinstance(value, bytes) and _is_revision(revision)


def _is_revision(value: object) -> bool:
    return type(value) is int and 0 < value <= NUMBER_MAX


def open_locks(agent: Agent) -> EdgeLocks | None:
    """What the agent declares; None where no kind needs it.

    Raises:
        ConfigError: see `actonce.locks.open_locks`.
    """
    if not agent.is_fenced or agent.locks is None:
        return None
    return EdgeLocks(open_service(agent.locks) if isinstance(agent.locks, str) else agent.locks)
