"""A polled source on real processes, and whoever polls is killed with SIGKILL, again and again.

POLL_KILLS=20 kills that many pollers.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from .test_cli_processes import Process, actonce

KILLS = int(os.environ.get("POLL_KILLS", "2"))
ITEMS_A_KILL = 12
NAMES = "ab" if KILLS < 4 else "abc"

AGENT = """
import asyncio, json, os
from actonce import Agent, Context, FileSink, Item, Polled, SourceContext

agent = Agent("kevin")
agent.sink("file", FileSink("posts.jsonl"))

def log(name, *facts):
    with open(name, "a") as file:
        file.write(json.dumps([os.getpid(), *facts]) + "\\n")

@agent.poll(0.05, kind="entry")
async def feed(ctx: SourceContext, cursor: int | None) -> Polled:
    at = cursor or 0
    log("calls", at)
    with open("outside") as file:
        numbers = range(at, len(file.read()))[:4]
    await asyncio.sleep(0.01)
    end = at + len(numbers)
    return Polled([Item(f"item-{n}", n) for n in numbers], end, more=len(numbers) == 4)

@agent.task("entry")
async def entry(ctx: Context, number: int) -> None:
    log("begun", number)
    await ctx.post("file", number)
"""


def lines(file: Path) -> list[Any]:
    """Whole lines of JSON. The last may be torn: its writer was killed."""
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_a_killed_poller_loses_no_item_and_doubles_none(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(AGENT)
    outside = tmp_path / "outside"
    outside.write_text("")
    killed: list[int] = []
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=30.0))
        running: dict[str, tuple[Process, str]] = {}

        def start(name: str) -> None:
            others = [argument for _, at in running.values() for argument in ("--join", at)]
            command = ("run", "bot:agent", "--name", name, "--listen", "127.0.0.1:0", "--json")
            process = stack.enter_context(actonce(tmp_path, *command, *(others or ["--new"])))
            running[name] = (process, json.loads(process.until('"listening"'))["address"])
            process.until('"settled"')

        def poller() -> str:
            """Whoever polls now, as somebody says who polls or not."""
            while True:
                for _, at in running.values():
                    status = client.get(f"http://{at}/status").json()
                    name = str(status["sources"]["feed"]["poller"])
                    if name in running and status["acting"]:
                        return name

        def until_done(item: int) -> None:
            """Whoever is asked answers when it knows the outcome."""
            done = False
            while not done:
                for _, at in running.values():
                    done = client.get(f"http://{at}/result/entry/item-{item}?wait=20").status_code == 200

        for name in NAMES:
            start(name)
        for kill in range(KILLS):
            with outside.open("a") as file:
                file.write("." * ITEMS_A_KILL)
            until_done(kill * ITEMS_A_KILL + 3 * (kill % 4))  # at another moment each time
            name = poller()
            process = running.pop(name)[0].process
            killed.append(process.pid)
            process.kill()
            process.wait()
            start(name)
        for item in range(KILLS * ITEMS_A_KILL):
            until_done(item)

    posts = Counter(post["body"] for post in lines(tmp_path / "posts.jsonl"))
    assert posts == Counter(range(KILLS * ITEMS_A_KILL))
    begun: dict[int, list[int]] = {}
    for pid, number in lines(tmp_path / "begun"):
        begun.setdefault(number, []).append(pid)
    again = {number: pids for number, pids in begun.items() if len(pids) > 1}
    assert all(pid in killed for pids in again.values() for pid in pids[:-1]), again
    cursors = [cursor for _, cursor in lines(tmp_path / "calls")]
    assert all(earlier <= later for earlier, later in itertools.pairwise(cursors)), cursors
    pollers = {pid for pid, _ in lines(tmp_path / "calls")}
    assert len(pollers) > KILLS / 2
