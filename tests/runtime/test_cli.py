"""The command line: every mistake is one sentence and a status, every answer suits people and programs."""

import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import click
import pytest
from click.testing import CliRunner, Result

from actonce import Agent, CallableSink, Context, Replica
from actonce.cli.main import commands
from actonce.errors import ConfigError, Draining, NoSuchTarget, SinkUnknown, TaskFailed
from actonce.loading import load_agent
from actonce.settings import PAYLOAD_BYTES_MAX

WAIT_S = 30.0

AGENT = """
import os
from actonce import Agent, Context
agent = Agent("kevin")

@agent.task("echo")
async def echo(ctx: Context, value: object) -> object:
    return value
"""


# From a target to an agent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with bot.py in it; what is imported from there is forgotten again."""
    (tmp_path / "bot.py").write_text(AGENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize("target", ["bot:agent", "bot.py:agent", "./bot.py:agent"])
def test_an_agent_is_found(folder: Path, target: str) -> None:
    assert sorted(load_agent(target).tasks) == ["echo"]


def test_a_file_elsewhere_sees_its_neighbours(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "neighbour.py").write_text("NAME = 'found'")
    (folder / "deep" / "other.py").write_text("from actonce import Agent\nimport neighbour\na = Agent(neighbour.NAME)")
    assert load_agent("deep/other.py:a").name == "found"


@pytest.mark.parametrize(
    ("target", "source", "sentence"),
    [
        ("bot", "", "'bot' does not name an agent: write MODULE:AGENT or path/file.py:AGENT"),
        ("nowhere:agent", "", "there is no module 'nowhere' in {folder} or among the installed ones"),
        ("bot.nowhere:agent", "", "there is no module 'bot.nowhere' in"),
        ("deep/nowhere.py:agent", "", "there is no file deep/nowhere.py"),
        ("deep/bot:agent", "", "'deep/bot' is not the name of a module; a file is written with its .py"),
        ("bot:agnet", "", "bot has no 'agnet'; its agents are: agent"),
        ("bot:os", "", "bot:os is of type module, not an actonce.Agent; its agents are: agent"),
        ("broken:agent", "agent = 1", "broken:agent is of type int, not an actonce.Agent; there is no agent in it"),
        ("broken:agent", "import os\nagent = (", "broken.py, line 2: '(' was never closed"),
        ("broken.py:agent", "x = 1\n\ny = x.z\n", "broken.py, line 3: AttributeError: 'int' object has no attribute"),
        ("broken:agent", "import no_such_thing", "broken.py, line 1: ModuleNotFoundError: No module named"),
        ("broken:agent", "from actonce import Agent\nAgent('A B')", "broken.py, line 2: 'A B' cannot name an agent"),
        ("broken:agent", "raise SystemExit(3)", "broken.py, line 1: SystemExit: 3"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(folder: Path, target: str, source: str, sentence: str) -> None:
    (folder / "broken.py").write_text(source)
    with pytest.raises(ConfigError) as caught:
        load_agent(target)
    assert sentence.format(folder=folder) in str(caught.value)
    assert "\n" not in str(caught.value)


# Help


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_help_teaches(name: str) -> None:
    result = CliRunner().invoke(commands, [name, "--help"], prog_name="actonce")
    assert result.exit_code == 0
    assert "Example" in result.output
    for parameter in commands.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


TOO_SMALL = [["simulate", "bot:agent", option, "0"] for option in ("--tasks", "--seconds")]


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run"], ["tasks", "--limit", "0"], ["submit", "kind"], *TOO_SMALL]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(commands, arguments).exit_code == 2


# Asking a replica


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Asked:
    """A running replica and the command line that asks it."""

    replica: Replica

    async def __call__(self, *arguments: str, stdin: str | None = None, at: str | None = None) -> Result:
        full = [*arguments, "--at", at or self.replica.address]
        return await anyio.to_thread.run_sync(lambda: CliRunner().invoke(commands, full, input=stdin))

    async def json(self, *arguments: str, **options: Any) -> Any:
        result = await self(*arguments, "--json", **options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


def make_agent() -> Agent:
    agent = Agent("kevin")

    @agent.task("echo")
    async def echo(ctx: Context, value: Any) -> Any:
        return value

    agent.quota("llm", 60, "1m", cents=(10, "day"), adaptive=True)

    @agent.task("spend")
    async def spend(ctx: Context, cents: int) -> None:
        async with ctx.quota("llm", cents=cents) as one:
            one.answered(429, {"Retry-After": "30"})

    async def lost(body: Any, key: str) -> None:
        raise SinkUnknown("lost")

    agent.sink("room", CallableSink(lost, publish_timeout_s=0.1))

    @agent.task("tell", on_doubt="ask")
    async def tell(ctx: Context, value: Any) -> Any:
        return await ctx.post("room", value)

    @agent.task("fail", retries=0)
    async def fail(ctx: Context, value: Any) -> None:
        raise RuntimeError("no luck")

    return agent


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with Replica(make_agent(), name="a", data=tmp_path / "a", listen="127.0.0.1:0", new=True) as replica:
        await replica.settled()
        yield Asked(replica)


@pytest.mark.anyio
async def test_submit_once_and_wait(asked: Asked) -> None:
    result = await asked("submit", "echo", '{"n": [1, "é"]}', "--key", "k", "--wait", "20")
    assert (result.exit_code, result.stdout) == (0, 'echo/k accepted\necho/k is done: {"n": [1, "é"]}\n')
    again = await asked.json("submit", "echo", "-", "--key", "k", "--wait", "20", stdin='{"n": [1, "é"]}')
    assert again == {"task": "echo/k", "new": False, "ok": True, "result": {"n": [1, "é"]}}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("submit", "echo", "{'n': 1}"), "the payload is not JSON: "),
        (("submit", "echo", "NaN"), "the payload is not JSON: NaN is not a JSON value"),
        (("submit", "other", "1"), "agent 'kevin' has no handler for 'other'; it has: echo, fail, spend, tell"),
        (("submit", "echo", "2", "--key", "used"), "key 'used' was used before with another payload for 'echo'"),
        (("submit", "echo", "1", "--key", "a\nb"), "key 'a\\nb': a key is printable text"),
        (("submit", "echo", json.dumps("x" * PAYLOAD_BYTES_MAX)), f"the limit is {PAYLOAD_BYTES_MAX:,} bytes"),
        (("submit", "fail", "1", "--wait", "20"), "failed: RuntimeError: no luck"),
        (("explain", "echo/nothing"), "no task 'echo/nothing' is known here"),
    ],
)
async def test_a_refusal_is_one_sentence(asked: Asked, arguments: tuple[str, ...], sentence: str) -> None:
    await asked.replica.submit("echo", 1, key="used")
    result = await asked(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("actonce: ")
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr


@pytest.mark.anyio
async def test_what_a_replica_shows(asked: Asked) -> None:
    handle = await asked.replica.submit("echo", "\x1b[2J", key="one")
    await handle.result(WAIT_S)
    facts = await asked.json("status")
    assert (facts["replica"], facts["tasks"]["done"], facts["degraded"]) == ("a", 1, [])
    lines = (await asked("status")).stdout
    assert "agent kevin, replica a: acts (first replica of a new mesh)" in lines
    assert "tasks 0 open, 0 running, 0 waiting, 1 done, 0 failed" in lines
    assert [row["task"] for row in await asked.json("tasks", "--state", "done")] == ["echo/one"]
    assert await asked.json("tasks", "--state", "failed", "--limit", "1") == []
    head, row = (await asked("tasks")).stdout.splitlines()
    assert head.split("\t")[:2] == ["task", "state"]
    assert row.split("\t")[:2] == ["echo/one", "done"]
    assert await asked.json("posts") == []
    story = (await asked("explain", "echo/one")).stdout
    assert " a claimed it: epoch 1, incarnation " in story
    assert "\x1b" not in story
    assert (await asked.json("explain", "echo/one"))["state"] == "done"


@pytest.mark.anyio
async def test_doubts(asked: Asked) -> None:
    handle = await asked.replica.submit("tell", {"text": "hi"}, key="k")
    while not (rows := await asked.json("doubts", "list")):
        await anyio.lowlevel.checkpoint()
    assert [(row["effect"], row["sink"], row["body"]) for row in rows] == [("tell/k/#1", "room", {"text": "hi"})]
    assert rows[0]["waits"] == "look whether it happened, and say so"
    assert (await asked("doubts", "resolve", "tell/k/#1")).exit_code == 2
    refused = await asked("doubts", "resolve", "tell/k/#2", "--skip")
    assert refused.stderr == "actonce: no effect 'tell/k/#2' is known here: see `actonce doubts list`\n"
    answer = await asked("doubts", "resolve", "tell/k/#1", "--posted")
    assert answer.stdout == "tell/k/#1 counts as posted\n"
    assert await handle.result(WAIT_S) is None
    assert await asked.json("doubts", "list") == []
    assert [row["settled"] for row in await asked.json("doubts", "list", "--all")] == ["posted"]
    assert "in doubt: posted" in (await asked("doubts", "resolve", "tell/k/#1", "--resend")).stderr
    assert (await asked("dead", "retry")).exit_code == 2


@pytest.mark.anyio
async def test_orders(asked: Asked) -> None:
    first = await asked.json("submit", "fail", "1", "--key", "k", "--after", "echo/one", "--priority", "3")
    assert first["task"] == "fail/k"
    assert (await asked.json("explain", "fail/k"))["held"] == "waits for echo/one, which is not known here"
    assert "it waits for echo/one" in (await asked("explain", "fail/k")).stdout
    await asked("submit", "echo", "1", "--key", "one", "--delay", "10ms", "--wait", "20")
    handle = asked.replica.handle("fail/k")
    with pytest.raises(TaskFailed):
        await handle.result(WAIT_S)
    assert [row["task"] for row in await asked.json("dead", "list")] == ["fail/k"]
    assert (await asked("dead", "retry", "fail/k")).stdout == "fail/k was retried\n"
    with pytest.raises(TaskFailed):
        await handle.result(WAIT_S)
    assert await asked.json("dead", "drop", "--all") == [{"task": "fail/k", "state": "dropped"}]
    assert await asked.json("dead", "list") == []
    assert (await asked("cancel", "fail/k")).stdout == "fail/k is dropped\n"
    assert (await asked("dead", "retry", "echo/one")).stderr == (
        "actonce: task 'echo/one' is done: this is for what failed\n"
    )
    later = await asked.replica.submit("echo", 1, key="later", delay="1h")
    assert await later.cancel() == "cancelled"
    with pytest.raises(TaskFailed, match="it was cancelled"):
        await later.result(WAIT_S)


@pytest.mark.anyio
async def test_orders_for_more_than_a_task(asked: Asked) -> None:
    assert (await asked("pause", "--kind", "echo", "--reason", "wrong prompt")).stdout == "kind echo is paused\n"
    handle = await asked.replica.submit("echo", 1, key="k")
    story = await asked.json("explain", "echo/k")
    assert re.fullmatch(r"does not begin: kind echo is paused by a since \S+ \S+Z \(wrong prompt\)", story["held"])
    assert "held     it does not begin: kind echo" in (await asked("explain", "echo/k")).stdout
    assert "degraded: kind echo is paused by a since" in (await asked("status")).stdout
    stopped = (await asked("stop", "--now")).stdout.splitlines()
    assert stopped[0] == "the agent has stopped: confirmed by a"
    assert stopped[1].startswith("also: kind echo is paused by a since")
    assert (await asked.json("resume"))["also"] == [(await asked.json("status"))["orders"][0]["sentence"]]
    assert re.fullmatch(r"kind echo drains: [01] open\n", (await asked("drain", "--kind", "echo")).stdout)
    await handle.result(WAIT_S)
    with pytest.raises(Draining):
        await asked.replica.submit("echo", 1)
    ordered = await asked.replica.control("run", kind="echo")
    assert (ordered.switch.mode, ordered.missing) == ("run", ())
    assert (await asked.replica.control("halt", timeout_s=5.0)).confirmed == ("a",)
    with pytest.raises(NoSuchTarget, match="no replica 'b' is known; there are: a"):
        await asked.replica.control("pause", replica="b")
    assert (await asked("stop", "--kind", "ecko")).stderr.startswith("actonce: no replica has a handler for 'ecko'; ")
    assert (await asked("stop", "--kind", "echo", "--replica", "a")).exit_code == 2
    assert (await asked("resume")).stdout == "the agent goes on\n"
    assert await asked.json("report") == await asked.replica.report()
    assert (await asked("report")).stdout == "ran twice 0, doubled 0, doubts 0, memory 0\n"


@pytest.mark.anyio
async def test_what_a_replica_shows_of_its_quotas(asked: Asked) -> None:
    await (await asked.replica.submit("spend", 9)).result(WAIT_S)
    facts = await asked.json("quota")
    cents, requests = facts["limits"]
    assert (requests["limit"], requests["units"], requests["held"], requests["holders"]) == (
        *("llm/requests", 60, 60),
        {"a": 60},
    )
    assert (requests["in_use"], cents["spent"], facts["founders"]) == (1, 9, ["a"])
    assert facts["warnings"] == ["llm/cents: 80 % of the budget of this day is used"]
    assert 20 < facts["quotas"]["llm"]["cooling_s"]["all"] <= 30
    lines = (await asked("quota")).stdout.splitlines()
    assert lines[0].split("\t")[:3] == ["limit", "units", "per"]
    assert lines[2].split("\t")[:4] == ["llm/requests", "60", "60s", "60"]
    assert "llm/cents: 9 of 10 spent this day, by all replicas" in lines
    assert any(line.startswith("llm: the provider asked for a pause (all): ") for line in lines)
    assert any(line.startswith("llm: used at 5") for line in lines)
    refused = await asked("quota", "--found")
    assert (refused.exit_code, refused.stderr) == (1, "actonce: rights were founded by a already\n")
    assert "llm/cents: 80 % of the budget of this day is used" in (await asked("status")).stdout


@pytest.mark.anyio
async def test_memory(asked: Asked) -> None:
    assert (await asked("memory", "set", "mood", '"good"')).stdout == "mood is remembered\n"
    assert (await asked("memory", "set", "users", "[1]", "--field", "ada", "--ttl", "1h")).exit_code == 0
    assert (await asked("memory", "get", "mood")).stdout == '"good"\n'
    assert (await asked.json("memory", "get", "users"))["value"] == {"ada": [1]}
    assert [row["name"] for row in await asked.json("memory", "ls")] == ["mood", "users"]
    assert (await asked("memory", "set", "mood", "7")).exit_code == 0
    lines = (await asked("memory", "history", "mood")).stdout.splitlines()
    assert [line.split("\t")[-2:] for line in lines[1:]] == [['"good"', "replaced"], ["7", "yes"]]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z\ta\t-\t-", lines[1].rsplit("\t", 2)[0])
    assert (await asked("memory", "rm", "mood")).stdout == "mood is forgotten\n"
    gone = await asked("memory", "get", "mood")
    assert (gone.exit_code, gone.stderr) == (1, "actonce: nothing is remembered under 'mood'\n")
    assert (await asked("memory", "set", "notes", "two\nlines", "--text")).stdout == "notes is remembered\n"
    assert (await asked("memory", "get", "notes")).stdout == "two\nlines\n"
    assert [row["shape"] for row in await asked.json("memory", "ls", "n")] == ["text"]
    assert '{"added": 9, "deleted": 0}' in (await asked("memory", "history", "notes")).stdout
    assert "neither fields" in (await asked("memory", "set", "notes", "x", "--text", "--ttl", "1h")).stderr
    wrong = await asked("memory", "set", "mood", "good")
    assert (wrong.exit_code, wrong.stderr.startswith("actonce: VALUE is not JSON")) == (1, True)


@pytest.mark.anyio
async def test_healthcheck(asked: Asked, tmp_path: Path) -> None:
    assert await asked.json("healthcheck") == {"ready": True, "degraded": []}
    async with Replica(make_agent(), name="b", data=tmp_path / "b", listen="127.0.0.1:0") as other:
        result = await asked("healthcheck", at=other.address)
    assert result.exit_code == 1
    assert result.stdout.startswith("not ready\n  not settled: ")


def test_the_environment_names_the_secret_file(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    result = CliRunner().invoke(commands, ["status"], env={"ACTONCE_SECRET_FILE": missing, "ACTONCE_AT": "127.0.0.1:1"})
    assert (result.exit_code, f"the secret file {missing} cannot be read" in result.stderr) == (1, True), result.stderr


@pytest.mark.anyio
async def test_a_secret_is_asked_for_and_checked(asked: Asked, tmp_path: Path) -> None:
    right, wrong, empty = tmp_path / "right", tmp_path / "wrong", tmp_path / "empty"
    right.write_text("0123456789abcdef\n")
    wrong.write_text("fedcba9876543210\n")
    empty.write_text("\n")
    secret = right.read_bytes().strip()
    data, listen = tmp_path / "s", "127.0.0.1:0"
    async with Replica(make_agent(), name="s", data=data, listen=listen, secret=secret, new=True) as replica:
        await replica.settled()
        at = replica.address
        assert (await asked("status", "--secret-file", str(right), at=at)).exit_code == 0
        for arguments, sentence in (
            ((), "this mesh has a secret"),
            (("--secret-file", str(wrong)), f"the replica at {at} has another secret than the one in --secret-file"),
            (("--secret-file", str(empty)), f"the secret file {empty} is empty"),
            (("--secret-file", str(tmp_path / "none")), "cannot be read: No such file or directory"),
        ):
            result = await asked("status", *arguments, at=at)
            assert (result.exit_code, sentence in result.stderr) == (1, True), result.stderr
        assert (await asked("healthcheck", at=at)).exit_code == 0


@pytest.mark.parametrize(("at", "sentence"), [("127.0.0.1", "--at 127.0.0.1: "), ("", "nobody answers at ")])
def test_an_address_without_a_replica(at: str, sentence: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        at = at or f"127.0.0.1:{closed.getsockname()[1]}"
        result = CliRunner().invoke(commands, ["status", "--at", at])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"actonce: {sentence}")
