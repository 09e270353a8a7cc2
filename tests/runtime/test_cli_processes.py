"""`actonce run` and `actonce feed` as real processes: signals, lines, and what stops them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from actonce.cli.main import commands

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [str(ROOT / name) for name in ("crdt", "transports", "runtime")]
WAIT_S = 30.0

AGENT = """
import asyncio, os
from actonce import Agent, Context
agent = Agent("kevin")

@agent.task("wait")
async def wait(ctx: Context, path: str) -> str:
    while not os.path.exists(path):
        await asyncio.sleep(0.01)
    return "it is there"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with bot.py in it."""
    (tmp_path / "bot.py").write_text(AGENT)
    return tmp_path


class Process:
    """`python -m actonce ...`, read line by line."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)}
        command = [sys.executable, "-W", "error", "-m", "actonce", *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)

    def until(self, text: str) -> str:
        """The first line of stdout with `text` in it. The timeout of the whole test is the limit."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            if text in line:
                return line
            seen.append(line)
        raise AssertionError(f"{text!r} never came: {seen} {self.process.communicate(timeout=WAIT_S)}")

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, err


@contextlib.contextmanager
def actonce(folder: Path, *arguments: str) -> Iterator[Process]:
    process = Process(folder, *arguments)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


def replica_of(folder: Path, name: str, *arguments: str) -> contextlib.AbstractContextManager[Process]:
    return actonce(folder, "run", "bot:agent", "--name", name, "--listen", "127.0.0.1:0", "--json", *arguments)


def test_run_and_drain(folder: Path) -> None:
    """Ctrl-C while a handler runs: it says what it waits for, finishes it, and leaves with status 0."""
    flag = folder / "flag"
    with replica_of(folder, "a", "--new") as process:
        at = json.loads(process.until('"listening"'))["address"]
        assert json.loads(process.until('"settled"'))["why"] == "first replica of a new mesh"
        submitted = CliRunner().invoke(commands, ["submit", "wait", json.dumps(str(flag)), "--key", "k", "--at", at])
        assert submitted.exit_code == 0, submitted.output
        wait_for_running(at)
        process.process.send_signal(signal.SIGINT)
        assert json.loads(process.until('"leaving"'))["running"] == ["wait/k"]
        flag.touch()
        status, out, err = process.ended()
    assert (status, err) == (0, "")
    assert json.loads(out.splitlines()[-1]) == {"event": "left", "replica": "a"}
    with replica_of(folder, "a") as process:
        at = json.loads(process.until('"listening"'))["address"]
        outcome = CliRunner().invoke(commands, ["explain", "wait/k", "--at", at, "--json"])
        assert json.loads(outcome.stdout)["result"] == "it is there"
        process.process.send_signal(signal.SIGTERM)
        assert process.ended()[0] == 0


def test_a_second_interrupt_leaves_at_once(folder: Path) -> None:
    with replica_of(folder, "a", "--new") as process:
        at = json.loads(process.until('"listening"'))["address"]
        process.until('"settled"')
        never = json.dumps(str(folder / "never"))
        assert CliRunner().invoke(commands, ["submit", "wait", never, "--at", at]).exit_code == 0
        wait_for_running(at)
        process.process.send_signal(signal.SIGINT)
        process.until('"leaving"')
        process.process.send_signal(signal.SIGINT)
        assert process.ended()[0] == 130


def wait_for_running(at: str) -> None:
    with httpx.Client(base_url=f"http://{at}", trust_env=False, timeout=WAIT_S) as client:
        while not client.get("/tasks", params={"state": "running"}).json():
            pass


def test_what_stops_a_replica_is_one_sentence(folder: Path) -> None:
    (folder / "secret").write_text("0123456789abcdef")
    with replica_of(folder, "a", "--new") as process:
        at = json.loads(process.until('"listening"'))["address"]
        process.until('"settled"')
        for arguments, sentence in (
            (("--name", "b", "--listen", at), f"another process listens on {at}"),
            (("--name", "a", "--listen", "127.0.0.1:0"), "the journal in actonce-data/a is in use by another process"),
            (("--name", "a", "--listen", "127.0.0.1:0", "--data", "a2", "--join", at), f"{at} says: name taken"),
            (("--name", "b", "--listen", "127.0.0.1:0", "--join", at, "--secret-file", "secret"), f"{at} refuses this"),
            (("--name", "b", "--listen", "0.0.0.0:0"), "there is no secret"),
            (("--name", "b", "--listen", "nonsense"), "nonsense"),
            (("--name", "b", "--listen", "127.0.0.1:0", "--join", "nonsense"), "nonsense"),
            (("--name", "B B", "--listen", "127.0.0.1:0"), "'B B' cannot name a replica"),
            (("--name", "b", "--data", "bot.py"), "bot.py"),
        ):
            with actonce(folder, "run", "bot:agent", *arguments) as other:
                status, _, err = other.ended()
            told = [line for line in err.splitlines() if line.startswith("actonce: ")]
            assert (status, len(told)) == (1, 1), err
            assert sentence in told[0]
            assert "Traceback" not in err


def test_a_journal_of_another_or_a_damaged_one_is_one_sentence(folder: Path) -> None:
    with replica_of(folder, "a", "--new") as process:
        process.until('"settled"')
        process.process.send_signal(signal.SIGINT)
        assert process.ended()[0] == 0
    data = folder / "actonce-data" / "a"
    with replica_of(folder, "b", "--data", str(data)) as other:
        status, _, err = other.ended()
        assert (status, err.startswith("actonce: "), err.count("\n")) == (1, True, 1), err
    for file in data.iterdir():
        if file.stat().st_size > 0:
            file.write_bytes(b"\xff" * file.stat().st_size)
    with replica_of(folder, "a") as process:
        status, _, err = process.ended()
        assert (status, err.startswith("actonce: "), err.count("\n")) == (1, True, 1), err


def test_plain_lines_and_the_word_about_secrets(folder: Path) -> None:
    with actonce(folder, "run", "bot.py:agent", "--name", "a", "--listen", "127.0.0.1:0", "--new") as process:
        assert process.until("listening").startswith("a: agent kevin: listening on 127.0.0.1:")
        assert process.until("secret") == "a: no secret: only programs on this host can connect\n"
        assert process.until("settled") == "a: settled: first replica of a new mesh\n"
        assert process.until("view") == "a: view 1: a\n"


def test_a_join_address_without_a_replica_is_named(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{closed.getsockname()[1]}"
        with replica_of(folder, "b", "--join", at) as process:
            assert "--new" not in process.until("not settled"), "that would make a second mesh"
            told = json.loads(process.until("--join"))["fact"]
            assert told.startswith(f"no replica answers at {at} (--join): ")


@pytest.mark.parametrize("output", ["ended", "full"])
def test_a_replica_outlives_whoever_reads_what_it_prints(folder: Path, output: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "actonce", "run", "bot:agent", "--name", "a", "--listen", at, "--new"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)}
    with open("/dev/full", "wb") as full:
        out = full if output == "full" else subprocess.PIPE
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    if process.stdout is not None:
        process.stdout.close()
    try:
        while CliRunner().invoke(commands, ["submit", "wait", '"."', "--wait", "20", "--at", at]).exit_code != 0:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.communicate(timeout=WAIT_S)[1]
    finally:
        process.kill()
        process.wait()


def test_a_full_output_and_an_interrupt_are_no_traceback(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)}
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "actonce", "run", "--help"]
        found = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT_S)
    assert found.stderr.startswith("actonce: the output cannot be written: No space left on device\n")
    assert "Traceback" not in found.stderr
    with replica_of(folder, "a", "--new") as replica:
        at = json.loads(replica.until('"listening"'))["address"]
        replica.until('"settled"')
        never = json.dumps(str(folder / "never"))
        with actonce(folder, "submit", "wait", never, "--wait", "60", "--at", at) as waiting:
            waiting.until("accepted")
            waiting.process.send_signal(signal.SIGINT)
            assert waiting.ended()[::2] == (130, "")


def test_the_feed_prints_what_comes(folder: Path) -> None:
    with actonce(folder, "feed", "--port", "0") as process:
        url = process.until("feed at").split()[-1]
        for _ in range(2):
            httpx.post(url, json={"text": "hi"}, headers={"Idempotency-Key": '"k"'}, trust_env=False)
        assert process.until("1 ") == '1 k {"text": "hi"}\n'
        assert process.until("2 ") == '2 AGAIN k {"text": "hi"}\n'
        with actonce(folder, "feed", "--port", url.split(":")[-1].split("/")[0]) as other:
            status, _, err = other.ended()
        assert (status, err.startswith("actonce: the feed cannot listen on port ")) == (1, True)
        assert "another process listens there; --port takes another one" in err
        process.process.send_signal(signal.SIGINT)
        assert process.ended()[0] == 0
