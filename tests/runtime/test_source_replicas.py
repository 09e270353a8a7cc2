"""Sources of real replicas in one program: a listener on each, one that polls a file, a webhook over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from actonce import Agent, Context, Replica, SourceContext, follow_jsonl

pytestmark = pytest.mark.anyio
WAIT_S = 20
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order", "data": "by webhook"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Sources:
    """What two replicas of one agent hear, poll and get, and what their handlers did."""

    def __init__(self, folder: Path) -> None:
        self.agent = Agent("kevin")
        self.heard, self.cancelled = Counter[str](), Counter[str]()
        self.done: list[str] = []
        self.came, self.deaf = asyncio.Event(), asyncio.Event()
        self.threads: set[int] = set()
        read = follow_jsonl(folder / "orders.jsonl", "id")

        def follow(ctx: Any, cursor: Any) -> Any:
            self.threads.add(threading.get_ident())
            return read(ctx, cursor)

        self.agent.source(name="ear")(self.listen)
        self.agent.poll(0.02, kind="order", name="file")(follow)
        self.agent.webhook("orders", kind="order")
        self.agent.task("order")(self.order)

    async def listen(self, ctx: SourceContext) -> None:
        self.heard[ctx.replica] += 1
        self.came.set()
        try:
            await ctx.submit("order", {"data": "by ear"}, key="heard")
            await self.deaf.wait()
        except asyncio.CancelledError:
            self.cancelled[ctx.replica] += 1
            raise

    async def order(self, ctx: Context, order: dict[str, Any]) -> None:
        self.done.append(order["data"])
        self.came.set()

    async def until(self, done: int, heard: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.done) < done or self.heard.total() < heard:
                self.came.clear()
                await self.came.wait()


async def test_all_sources_of_two_replicas(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    lines = [{"id": n, "data": f"line {n}"} for n in range(5)]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with AsyncExitStack() as stack:
        join: list[str] = []
        for name in "ab":
            folder = tmp_path / name
            made = Replica(sources.agent, name=name, data=folder, listen="127.0.0.1:0", join=join, new=not join)
            replica = await stack.enter_async_context(made)
            await replica.settled()
            join.append(replica.address)
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        for address in join:
            answer = await client.post(
                f"http://{address}/hook/orders",
                content=json.dumps(EVENT),
                headers={"content-type": "application/cloudevents+json"},
            )
            assert answer.status_code in (200, 202), answer.text
        await sources.until(7, heard=2)
        facts = (await client.get(f"http://{join[1]}/status")).json()["sources"]
    assert Counter(sources.done) == Counter(["by ear", "by webhook", *(f"line {n}" for n in range(5))])
    assert sources.heard == sources.cancelled == Counter("ab")
    assert facts["ear"] == {"running": True, "failures": 0}
    assert facts["file"]["poller"] in ("a", "b")
    assert threading.get_ident() not in sources.threads, "a plain function polls in a thread"
