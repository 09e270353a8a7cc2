"""`actonce stop --now` and its kin on real processes: after it returns, nothing leaves; whoever comes back obeys."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner
from tests.lab.support import wait_until

from actonce.cli.main import commands

from .test_cli_processes import WAIT_S, Process, replica_of

AGENT = """
import anyio, os
from actonce import Agent, CallableSink, Context
agent = Agent("kevin")

async def act(body, key):
    with open("posts", "a") as file:
        file.write(f"{key} {body}\\n")

agent.sink("room", CallableSink(act))

@agent.task("talks")
async def talks(ctx: Context, count: int) -> None:
    for number in range(count):
        await ctx.post("room", os.getpid())
        await anyio.sleep(0.002)
"""
TASKS, POSTS = 2, 200
CLIENT = httpx.Client(trust_env=False, timeout=WAIT_S)
LOOKS = 10
"""Requests for which the file is watched after a stop: some tenths of a second."""


def actonce(*arguments: str) -> Any:
    result = CliRunner().invoke(commands, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def ask(at: str, path: str) -> Any:
    return CLIENT.get(f"http://{at}{path}").json()


def started(process: Process) -> str:
    at = json.loads(process.until('"listening"'))["address"]
    process.until('"settled"')
    return str(at)


def posts(folder: Path) -> list[str]:
    file = folder / "posts"
    return file.read_text().splitlines() if file.exists() else []


def test_stop_now_resume_and_who_comes_back(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(AGENT)
    with replica_of(tmp_path, "a", "--new") as a:
        at = started(a)
        with replica_of(tmp_path, "b", "--join", at) as b:
            beside = started(b)
            both = (at, beside)
            wait_until(lambda: all(len(ask(one, "/status")["view"]["members"]) == 2 for one in both), WAIT_S)
            for number in range(TASKS):
                actonce("submit", "talks", str(POSTS), "--key", f"k{number}", "--at", at)
            pids = {str(a.process.pid), str(b.process.pid)}
            while {line.split()[1] for line in posts(tmp_path)} != pids:
                ask(at, "/healthz")

            answer = actonce("stop", "--now", "--reason", "posts nonsense", "--at", beside)
            quiet = len(posts(tmp_path))
            assert (answer["confirmed"], answer["missing"], answer["beyond"]) == (["a", "b"], {}, [])
            assert quiet < TASKS * POSTS, "it was all over before the stop"
            for _ in range(LOOKS):
                ask(at, "/status")
            # A handler ends when its loop has time for it.
            wait_until(lambda: ask(at, "/status")["tasks"]["running"] == 0, WAIT_S)
            assert len(posts(tmp_path)) == quiet

            b.process.kill()
            b.process.wait()
            with replica_of(tmp_path, "b", "--join", at) as again:
                back = started(again)
                for _ in range(LOOKS):
                    told = ask(back, "/status")["degraded"]
                    assert any("the agent is stopped at once by b" in fact for fact in told), told
                assert len(posts(tmp_path)) == quiet
                again.process.send_signal(signal.SIGSTOP)
                refused = CliRunner().invoke(commands, ["stop", "--now", "--timeout", "0.3", "--at", at])
                again.process.send_signal(signal.SIGCONT)
                assert refused.exit_code == 1
                assert "not confirmed within 0.3 s by b (" in refused.output
                wait_until(lambda: not ask(at, "/control")[0]["missing"], WAIT_S)
                actonce("resume", "--at", back)
                wait_until(lambda: ask(at, "/status")["tasks"]["done"] == TASKS, WAIT_S)
    keys = [line.split()[0] for line in posts(tmp_path)]
    doubts = TASKS  # an effect that was under way when its process was killed may be missing, by the rule of the task
    assert len(set(keys)) == len(keys)
    assert TASKS * POSTS - doubts <= len(keys) <= TASKS * POSTS
