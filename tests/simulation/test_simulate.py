"""`actonce simulate` for agents of users: what it leaves out, seeds that repeat, handlers not deterministic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from actonce.cli.main import commands

AGENT = """
import os
from actonce import Agent, CallableSink, Context

agent = Agent("bot")

async def publish(body, key):
    raise AssertionError("a simulation reaches no sink of the user")

agent.sink("room", CallableSink(publish))

@agent.task("reply", example={"text": "hello"})
async def reply(ctx: Context, message: dict) -> None:
    await ctx.post("room", {"text": message["text"]})

@agent.task("forgotten")
async def forgotten(ctx: Context, message: dict) -> None:
    await ctx.post("room", "never")

@agent.task("dice")
async def dice(ctx: Context, message: dict) -> None:
    await ctx.post("room", os.urandom(4).hex())
"""
SHORT = ("--seconds", "2", "--tasks", "6")


def simulated(folder: Path, *arguments: str) -> tuple[int, str]:
    (folder / "bot.py").write_text(AGENT)
    done = CliRunner().invoke(commands, ["simulate", f"{folder / 'bot.py'}:agent", *SHORT, *arguments])
    return done.exit_code, done.stdout


def facts(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output)
    return found


def test_kinds_without_an_example_are_named_as_left_out(tmp_path: Path) -> None:
    status, output = simulated(tmp_path, "--seeds", "3", "--json")
    found = facts(output)
    assert (status, found["violations"], found["left_out"]) == (0, 0, ["dice", "forgotten"])
    assert found["posts"] > 0
    status, output = simulated(tmp_path, "--seeds", "1", "--payload", "forgotten={}")
    assert status == 0
    assert "not submitted      dice: give @agent.task(..., example=...)" in output


def test_a_handler_that_is_not_deterministic_is_named(tmp_path: Path) -> None:
    status, output = simulated(tmp_path, "--seeds", "2", "--payload", "dice={}", "--only", "none", "--json")
    found = facts(output)
    assert (status, found["violations"]) == (1, 0)
    assert any("look at the handler of 'dice'" in text for text in found["nondeterministic"].values())


def test_the_same_seed_is_the_same_history(tmp_path: Path) -> None:
    def trace(seed: str) -> object:
        return facts(simulated(tmp_path, "--first", seed, "--seeds", "1", "--only", "crash", "--json")[1])["trace"]

    assert trace("7") == trace("7") != trace("8")
