"""Memory as a program reads it, outside of handlers."""

from pathlib import Path
from typing import Any

import pytest

from actonce import Agent, Context, Replica
from actonce.errors import MemoryInvalid

pytestmark = pytest.mark.anyio
WAIT_S = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_program_reads_what_its_handlers_remember(tmp_path: Path) -> None:
    agent = Agent("kevin")

    @agent.task("note")
    async def note(ctx: Context, text: str) -> None:
        ctx.memory["mood"] = {"good": True}
        ctx.memory.text("notes").append(text)
        ctx.memory.counter("told").add(2)

    async with Replica(agent, name="a", data=tmp_path, listen="127.0.0.1:0", new=True) as one:
        assert await one.recall("mood") is None
        handle = await one.submit("note", "hello")
        await handle.result(WAIT_S)
        mood, notes = await one.recall("mood"), await one.recall("notes")
        assert mood is not None
        assert (mood["shape"], mood["value"], mood["conflicts"]) == ("register", {"good": True}, [])
        assert (mood["source"]["replica"], mood["source"]["task"]) == ("a", handle.id)
        assert notes is not None
        assert (notes["shape"], notes["value"]) == ("text", "hello")
        told = {"name": "told", "shape": "counter", "value": 2, "conflicts": []}
        assert await one.recall("told") == told
        wrong: Any = ["mood"]
        with pytest.raises(MemoryInvalid, match="it must be printable text"):
            await one.recall(wrong)
