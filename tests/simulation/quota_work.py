"""An agent with one quota, whose one handler does what a test says."""

from collections.abc import Callable
from typing import Any

from tests.runtime.lab import Lab

from actonce.agent import Agent
from actonce.context import Context, SyncContext


class Work:
    """An agent whose one handler does what a test says."""

    def __init__(self, sync: bool = False, **quota: Any) -> None:
        self.agent = Agent("kevin")
        self.agent.quota("llm", flight=1.0, **quota)
        self.do: Callable[[Any, Any], Any] = lambda ctx, payload: None
        self.agent.task("do", retries=0)(self.plain if sync else self.handler)

    async def handler(self, ctx: Context, payload: Any) -> Any:
        return await self.do(ctx, payload)

    def plain(self, ctx: SyncContext, payload: Any) -> Any:
        return self.do(ctx, payload)


def basin(lab: Lab, index: int = 0, name: str = "a") -> Any:
    return lab.engine(name).quotas.pools["llm"].basins[index]


def quick(limit: int = 5, per: str | float = 2.0, **rest: Any) -> Work:
    return Work(limit=limit, per=per, **rest)
