"""Sinks are closed when the last replica that uses them has ended; one that cannot be closed is reported, no more."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from actonce import Agent, CallableSink, Context, Replica
from actonce.edge import closing
from actonce_crdt import Json

pytestmark = pytest.mark.anyio
WAIT_S = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Room(CallableSink):
    """Writes down what becomes of it."""

    def __init__(self) -> None:
        super().__init__(self.put)
        self.story: list[str] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def put(self, body: Json, key: str) -> Json:
        self.begun.set()
        await self.go.wait()
        self.story.append("posted")
        return body

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.story.append("closed")


class Broken(Room):
    async def aclose(self) -> None:
        raise OSError("the pipe is gone")


class Stuck(Room):
    async def aclose(self) -> None:
        await asyncio.Event().wait()


def agent_of(**sinks: Room) -> Agent:
    agent = Agent("kevin")
    for name, sink in sinks.items():
        agent.sink(name, sink)

    @agent.task("reply")
    async def reply(ctx: Context, payload: Json) -> object:
        return await ctx.post("room", payload)

    return agent


def replica(agent: Agent, folder: Path, name: str = "a", join: tuple[str, ...] = ()) -> Replica:
    return Replica(agent, name=name, data=folder / name, listen="127.0.0.1:0", new=name == "a", join=join)


async def test_once_and_after_the_last_effect(tmp_path: Path) -> None:
    room = Room()
    async with replica(agent_of(room=room, same=room), tmp_path) as first:
        handle = await first.submit("reply", "hello", key="k")
        await asyncio.wait_for(room.begun.wait(), WAIT_S)
        asyncio.get_running_loop().call_later(0.05, room.go.set)  # while the replica waits for its handler to end
    assert room.story == ["posted", "closed"]
    assert handle.id == "reply/k"


async def test_by_the_last_of_those_that_share_it(tmp_path: Path) -> None:
    room = Room()
    agent = agent_of(room=room)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(replica(agent, tmp_path))
        async with replica(agent, tmp_path, "b", join=(first.address,)):
            pass
        assert room.story == []
        room.go.set()
        await (await first.submit("reply", "hello")).result(WAIT_S)
    assert room.story == ["posted", "closed"]
    async with replica(agent, tmp_path):
        pass
    assert room.story == ["posted", "closed", "closed"], "whoever starts again may have opened it again"


async def test_what_cannot_be_closed_is_reported_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(closing, "CLOSE_S", 0.05)
    room = Room()
    with caplog.at_level(logging.WARNING, "actonce"):
        async with asyncio.timeout(WAIT_S):
            async with replica(agent_of(stuck=Stuck(), broken=Broken(), room=room), tmp_path):
                pass
    assert room.story == ["closed"]
    assert sorted(record.getMessage() for record in caplog.records) == [
        "sink 'broken' could not be closed: OSError: the pipe is gone",
        "sink 'stuck' was not closed within 0.05 s: what it holds open ends with this process",
    ]
