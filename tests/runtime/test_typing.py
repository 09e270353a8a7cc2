"""What users write type-checks under `mypy --strict`, which reads this file with the others; and it runs."""

from pathlib import Path
from typing import TypedDict

import pytest

from actonce import Agent, CallableSink, Conflict, Context, Item, Polled, Replica, SourceContext, SyncContext

pytestmark = pytest.mark.anyio
WAIT_S = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Order(TypedDict):
    item: str
    count: int


async def publish(body: dict[str, str], key: str) -> dict[str, str]:
    return {"id": key, **body}


agent = Agent("typed")
agent.sink("room", CallableSink(publish))


@agent.task("order", example=Order(item="tea", count=1))
async def order(ctx: Context, order: Order) -> str:
    body = {"text": order["item"]}
    receipt = await ctx.post("room", body)
    names: list[str] = [order["item"]]
    ctx.memory["names"] = names
    ctx.memory.map("orders")["last"] = order
    child = await ctx.spawn("plain", order)
    (count,) = await ctx.gather(child)
    mood = ctx.memory.get("mood", {})
    text: str = receipt["id"] + mood.get("word", "") + ctx.memory["names"][0] * count
    return text


@agent.task("plain")
def plain(ctx: SyncContext, order: Order) -> int:
    return order["count"]


@agent.merge("profile/*")
async def profile(ctx: Context, conflict: Conflict) -> dict[str, str]:
    return {key: value for one in reversed(conflict.values) for key, value in one.value.items()}


@agent.poll("1h", kind="plain", name="orders")
async def orders(ctx: SourceContext, cursor: str | None) -> Polled:
    order: Order = {"item": "tea", "count": 1}
    return Polled([Item("one", order)], cursor)


async def test_a_typed_agent(tmp_path: Path) -> None:
    payload: Order = {"item": "tea", "count": 1}
    async with Replica(agent, name="a", data=tmp_path, listen="127.0.0.1:0", new=True) as replica:
        handle = await replica.submit("order", payload, key="1")
        result = await handle.result(WAIT_S)
        assert result.startswith("order/1/")
