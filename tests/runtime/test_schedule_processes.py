"""A schedule on real processes: each slot once, although one of them is killed and another one leaves."""

from __future__ import annotations

import contextlib
import json
import signal
from collections import Counter
from datetime import datetime
from pathlib import Path

from click.testing import CliRunner
from tests.lab.support import wait_until

from actonce.cli.main import commands

from .test_cli_processes import Process, actonce

SLOTS, SLOTS_AFTER = 10, 4
"""Slots to see, one a second; and how many of them after the leave at least."""
WAIT_S = 60.0

AGENT = """
import json
from actonce import Agent, CallableSink, Context
agent = Agent("kevin")

def append(body, key):  # deduplicates nothing
    with open("posts.jsonl", "a") as file:
        file.write(json.dumps({"key": key, "body": body}) + "\\n")

def find(key):
    with open("posts.jsonl", "a+") as file:
        file.seek(0)
        return {"known": key} if any(json.loads(line)["key"] == key for line in file) else None

agent.sink("file", CallableSink(append, lookup=find, publish_timeout_s=5.0))

@agent.every("1s", overlap="allow")
async def tick(ctx: Context, slot: dict) -> None:
    await ctx.post("file", slot["slot"])
"""


def posted(folder: Path) -> list[str]:
    """The slots that were posted, in order."""
    file = folder / "posts.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["body"] for line in lines if line.endswith("\n")]


def until_posted(folder: Path, count: int) -> None:
    wait_until(lambda: len(posted(folder)) >= count, WAIT_S)


def test_each_slot_once_over_a_kill_and_a_leave(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(AGENT)
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str) -> tuple[Process, str]:
            command = ("run", "bot:agent", "--name", name, "--listen", "127.0.0.1:0", "--json", *arguments)
            process = stack.enter_context(actonce(tmp_path, *command))
            return process, json.loads(process.until('"listening"'))["address"]

        _, at = start("a", "--new")
        killed, at_b = start("b", "--join", at)  # a port of its own choice is not told to others
        leaving, at_c = start("c", "--join", at, "--join", at_b)
        for process in (killed, leaving):
            process.until('"settled"')
        before = len(posted(tmp_path))
        until_posted(tmp_path, before + 4)
        killed.process.kill()
        killed.process.wait()
        back, _ = start("b", "--join", at, "--join", at_c)
        back.until('"settled"')
        leaving.process.send_signal(signal.SIGINT)
        assert leaving.ended()[0] == 0
        until_posted(tmp_path, max(before + SLOTS, len(posted(tmp_path)) + SLOTS_AFTER))
        rows = json.loads(CliRunner().invoke(commands, ["schedules", "--at", at, "--json"]).stdout)
        assert [(row["schedule"], row["when"], row["overlap"]) for row in rows] == [("tick", "every 1 s", "allow")]
        slots = posted(tmp_path)
    assert set(Counter(slots).values()) == {1}
    seconds = sorted(int(datetime.fromisoformat(slot).timestamp()) for slot in slots)
    upto = seconds[-1] - 3  # the newest may have come in another order
    assert [second for second in seconds if second <= upto] == list(range(seconds[0], upto + 1))
