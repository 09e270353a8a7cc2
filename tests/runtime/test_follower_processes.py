"""`actonce run --follow` as a real process, killed and started again."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from actonce.cli.client import Client
from actonce.cli.main import commands

from .test_cli_processes import WAIT_S, Process, actonce

AGENT = """
from actonce import Agent, Context
agent = Agent("kevin")

@agent.task("double")
async def double(ctx: Context, number: int) -> int:
    return 2 * number
"""


@contextlib.contextmanager
def started(folder: Path, name: str, *arguments: str) -> Iterator[tuple[Process, str]]:
    listen = ("--listen", "127.0.0.1:0", "--json")
    with actonce(folder, "run", "bot:agent", "--name", name, *listen, *arguments) as process:
        yield process, json.loads(process.until('"listening"'))["address"]


def say(*arguments: str) -> Any:
    done = CliRunner().invoke(commands, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def result_of(task: str, at: str) -> Any:
    """Once this replica knows it."""
    outcome = Client(at, None).outcome(task, WAIT_S)
    assert outcome is not None
    return outcome["result"]


def test_a_follower_is_killed_comes_back_and_misses_nothing(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(AGENT)
    with started(tmp_path, "a", "--new") as (member, home):
        member.until('"settled"')
        say("submit", "double", "1", "--key", "k1", "--at", home)
        with started(tmp_path, "f", "--follow", "--join", home) as (follower, at):
            assert result_of("double/k1", at) == 2
            refused = CliRunner().invoke(commands, ["submit", "double", "2", "--at", at])
            assert refused.exit_code == 1
            assert f"only follows, and takes nothing in; ask a member: a at {home}" in refused.output
            follower.process.kill()
            follower.process.wait()
        say("submit", "double", "2", "--key", "k2", "--at", home)
        with started(tmp_path, "f", "--follow", "--join", home) as (_, at):
            assert result_of("double/k2", at) == 4
            assert say("status", "--at", at)["overlay"]["follows"]
        assert say("status", "--at", home)["view"]["members"] == ["a"]
