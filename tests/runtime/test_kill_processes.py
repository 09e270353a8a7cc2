"""SIGKILL on a real process, with an effect stopped at each point of its way to each sink that ships: what happens is
what runtime/docs/effects.md says. All effects of a case stop, one process is killed, another one takes everything over.

The simulator does every cell (`simulation/test_outbox_table.py`); with KILLS_ALL in the environment, this does so, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.outbox_table import POINTS, documented

from actonce.agent import OnDoubt
from actonce.demo.wire import Wire

from .relay import Relay, relaying
from .test_cli_processes import Process, actonce
from .test_sink_contract import HttpService

AGENT = Path(__file__).with_name("kill_agent.py")
LIMIT_S = 60.0
SLOTS = 32
SORTS = {
    "http-asked": "can be asked",
    "http-once": "refuses repeated keys",
    "nostr": "refuses repeated keys",
    "file": "both",
    "callable": "neither",
}
SAMPLE: list[tuple[str, OnDoubt]] = [
    *(("http-asked", "resend"), ("http-once", "skip"), ("nostr", "resend")),
    *(("file", "ask"), ("callable", "resend"), ("callable", "ask")),
]
EVERY: list[tuple[str, OnDoubt]] = [(sink, rule) for sink in SORTS for rule in ("resend", "skip", "ask")]
CASES = [SAMPLE] if "KILLS_ALL" not in os.environ else [EVERY[at : at + 6] for at in range(0, len(EVERY), 6)]
Cell = tuple[str, OnDoubt, str]


async def sure(what: Callable[[], Any]) -> Any:
    """Look again and again until it is true: each look is a request, or a turn of the loop with servers in it."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = what()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            await asyncio.sleep(0)


async def ask(at: str, method: str, path: str, body: Any = None) -> Any:
    wire = Wire(int(at.rpartition(":")[2]))
    status, answer = await wire.ask(method, path, body, limit_s=LIMIT_S)
    wire.close()
    assert status in (200, 202), answer
    return answer


def task_of(cell: Cell) -> str:
    sink, rule, point = cell
    return f"{rule}/{sink}@{point.replace(' ', '-')}"


async def killed(folder: Path, pairs: list[tuple[str, OnDoubt]]) -> dict[Cell, str]:
    """What happened in each cell."""
    cells: list[Cell] = [(sink, rule, point) for sink, rule in pairs for point in POINTS]
    assert len(cells) <= SLOTS
    (folder / "bot.py").write_bytes(AGENT.read_bytes())
    (folder / "points").mkdir()
    asked, once, relay = HttpService(), HttpService(), Relay()
    once.once = True
    async with contextlib.AsyncExitStack() as stack:
        for server in (asked, once):
            await stack.enter_async_context(server)
        await stack.enter_async_context(relaying(relay))
        urls = {"HTTP_URL": f"{asked.url}/posts", "ONCE_URL": f"{once.url}/posts", "RELAY_URL": relay.url}
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(os, "environ", {**os.environ, **urls})

        async def start(name: str, *arguments: str) -> tuple[Process, str]:
            command = ("run", "bot:agent", "--name", name, "--listen", "127.0.0.1:0", "--json", *arguments)
            process = stack.enter_context(actonce(folder, *command))
            address = json.loads(await asyncio.to_thread(process.until, '"listening"'))["address"]
            await asyncio.to_thread(process.until, '"settled"')
            return process, address

        victim, at = await start("a", "--new", "--priority", "9")
        _, left = await start("b", "--join", at)
        for cell in cells:
            kind, _, key = task_of(cell).partition("/")
            await ask(at, "POST", "/submit", {"kind": kind, "payload": cell[0], "key": key})
        await sure(lambda: len(list((folder / "points").iterdir())) == len(cells))
        victim.process.kill()
        victim.process.wait()

        async def over() -> bool:
            rows = await ask(left, "GET", "/tasks?limit=1000")
            return all(row["state"] == "done" or "waits for a person" in (row["waits"] or "") for row in rows)

        await sure(over)
        posts = {row["effect"]: row for row in await ask(left, "GET", "/posts?limit=1000")}
    counts = Counter([*(post.key for post in (*asked.posts, *once.posts)), *keys_in(folder)])
    counts.update(event["content"] + "/#1" for event in relay.arrivals)
    told = {"open": "asked", None: ""}
    keys = {cell: f"{task_of(cell)}/#1" for cell in cells}
    words = {cell: posts[key]["doubt"] for cell, key in keys.items()}
    return {cell: f"{counts[keys[cell]]} {told.get(word, word)}".rstrip() for cell, word in words.items()}


def keys_in(folder: Path) -> list[str]:
    files = [path for name in ("effects", "called") if (path := folder / f"{name}.jsonl").exists()]
    return [json.loads(line)["key"] for path in files for line in path.read_text().splitlines() if line]


@pytest.mark.parametrize("pairs", CASES, ids=lambda pairs: "+".join(f"{sink}:{rule}" for sink, rule in pairs))
def test_what_happens_to_real_processes_is_what_is_documented(tmp_path: Path, pairs: list[tuple[str, OnDoubt]]) -> None:
    happened = asyncio.run(killed(tmp_path, pairs))
    table = documented()
    assert happened == {cell: table[SORTS[cell[0]], cell[1], cell[2]] for cell in happened}
