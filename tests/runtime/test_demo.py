"""The demo: what it sends, how it counts, that nothing outlives it, and one run of all of it."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actonce import Agent, Context, Replica
from actonce.cli.demo import REPLICAS_MAX
from actonce.demo.children import Child, ChildFailed
from actonce.demo.feed import Feed
from actonce.demo.messages import BUNDLED_COUNT, COMPLAINTS_MAX, bundled, load
from actonce.demo.report import Report, claims_in, count_posts, takeover
from actonce.demo.wire import Unreached, Wire
from actonce.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("crdt", "transports", "runtime"))}
WAIT_S = 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# Messages


def test_bundled_messages_repeat_with_their_seed() -> None:
    assert bundled(1) == bundled(1) != bundled(2)
    assert len({message.id for message in bundled(1)}) == BUNDLED_COUNT


def test_a_broken_line_is_named_and_skipped(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    lines = [
        '{"id": "1", "text": "one", "more": [1]}',
        "{'id': 2}",
        "",
        "[1]",
        '{"id": 4, "text": "x"}',
        '{"id": "1", "text": "again"}',
        '{"id": "", "text": "x"}',
        '{"id": "8", "text": "x", "n": NaN}',
        json.dumps({"id": "9", "text": "x" * 200_000}),
        '{"id": "ten", "text": "\\u00fcber"}',
    ]
    file.write_bytes("\n".join(lines).encode() + b'\n\xff{"id": "11"}\n')
    complaints: list[str] = []
    messages = load(file, complaints.append)
    assert [message.id for message in messages] == ["1", "ten"]
    assert messages[0].payload == {"id": "1", "text": "one", "more": [1]}
    named = [int(sentence.partition(", line ")[2].partition(" ")[0]) for sentence in complaints]
    assert named == [2, 4, 5, 6, 7, 8, 9, 11]


def test_many_broken_lines_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"id": "1", "text": "one"}\n' + "x\n" * 100)
    complaints: list[str] = []
    load(file, complaints.append)
    assert len(complaints) == COMPLAINTS_MAX + 1
    assert complaints[-1] == f"{file}: 100 lines are skipped in all"


@pytest.mark.parametrize(("content", "sentence"), [(None, "cannot be read"), (b"\nx\n", "there is no message in")])
def test_a_file_without_messages(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "m.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        load(file, lambda sentence: None)


# Counting


def test_lost_and_doubled_are_counted_by_message() -> None:
    posts = [{"body": {"to": name}, "key": key} for name, key in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "1"))]
    assert count_posts(["a", "b", "c"], [*posts, {"body": "not ours", "key": None}]) == (["c"], {"a": 2})


def test_takeover_counts_from_the_fall_to_the_next_claim_of_another() -> None:
    def claim(second: float, who: str, epoch: int) -> str:
        return f"1970-01-01 00:00:{second:06.3f}Z {who} claimed it: epoch {epoch}, incarnation 1"

    taken = [claim(1, "c", 1), claim(2, "a", 2), claim(3.25, "b", 3), claim(9, "c", 4)]
    kept = [claim(2, "a", 2), "1970-01-01 00:00:02.500Z a finished it (epoch 2)"]
    unsent = [claim(4, "b", 3)]
    again = [claim(2, "a", 2), claim(5, "a", 3)]
    assert takeover([taken, kept, unsent, again], "a", 3.0) == [0.25, 1.0]
    assert takeover([[claim(3, "b", 3)]], "a", 3.0004) == [0.0]


@pytest.mark.anyio
async def test_the_story_of_a_real_replica_can_be_read(tmp_path: Path) -> None:
    agent = Agent("kevin")

    @agent.task("echo")
    async def echo(ctx: Context, value: Any) -> Any:
        return value

    async with Replica(agent, name="a", data=tmp_path, listen="127.0.0.1:0", new=True) as replica:
        await (await replica.submit("echo", 1, key="k")).result(WAIT_S)
        wire = Wire(int(replica.address.rpartition(":")[2]))
        status, story = await wire.ask("GET", "/explain/echo%2Fk", limit_s=WAIT_S)
        wire.close()
    assert status == 200
    assert [claim.by for claim in claims_in(story["story"])] == ["a"]


def test_a_report_is_ok_only_if_nothing_is_wrong() -> None:
    counts = {"messages": 1, "posts": 1, "doubts": 0, "found": 0, "resent": 0, "skipped": 0, "taken_over": 0}
    rest = {"refused": 0, "failed": 0, "replicas": 3, "seed": 0}
    times: dict[str, Any] = {"takeover_s": None, "pause_takeover_s": 1.60049, "seconds": 1.0}

    def report(lost: int = 0, doubled: int = 0, convergence_s: float | None = 0.1) -> Report:
        return Report(**counts, **rest, **times, lost=lost, doubled=doubled, convergence_s=convergence_s)

    assert report().ok
    assert [wrong.ok for wrong in (report(lost=1), report(doubled=1), report(convergence_s=None))] == [False] * 3
    assert report().as_json()["pause_takeover_s"] == 1.6
    assert dict(report().rows())["takeover after SIGKILL"] == "none (0 tasks)"


# Parts


@pytest.mark.anyio
async def test_the_wire_keeps_its_connection_and_says_when_nobody_answers() -> None:
    async with Feed() as feed:
        wire = Wire(int(feed.url.rpartition(":")[2]))
        assert await wire.ask("POST", "/posts", {"n": 1}, limit_s=WAIT_S) == (200, {"id": 1})
        streams = wire._streams
        unknown = {"error": "this is a feed, not a replica: there is no GET /nothing"}
        assert await wire.ask("GET", "/nothing", limit_s=WAIT_S) == (404, unknown)
        assert wire._streams is streams
    with pytest.raises(Unreached):
        await wire.ask("GET", "/posts", limit_s=WAIT_S)
    wire.close()


@pytest.mark.anyio
async def test_the_wire_gives_up_in_time() -> None:
    gone = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    wire = Wire(server.sockets[0].getsockname()[1])
    with pytest.raises(Unreached, match=r"within 0\.05 s"):
        await wire.ask("GET", "/", limit_s=0.05)
    await asyncio.wait_for(gone.wait(), WAIT_S)
    server.close()


@pytest.mark.anyio
async def test_a_child_that_ends_on_its_own_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = Child("replica x", tmp_path / "log", ENVIRONMENT)
    child.check()
    await child.start("run", "no_such_module:agent", "--name", "x")

    async def watch() -> None:
        while True:
            child.check()
            await asyncio.sleep(0)

    with pytest.raises(
        ChildFailed, match=r"replica x ended with status 1: actonce: there is no module 'no_such_module'"
    ):
        await asyncio.wait_for(watch(), WAIT_S)
    await child.stop()
    child.check()


# All of it


def demo(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-m", "actonce", "demo", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=pipe, stderr=pipe, text=True)


def test_a_run_of_the_demo() -> None:
    out, err = demo("--json").communicate(timeout=2 * WAIT_S)
    report = json.loads(out.splitlines()[-1])
    assert (report["messages"], report["lost"], report["doubled"], report["failed"]) == (BUNDLED_COUNT, 0, 0, 0), err
    assert (report["posts"], report["refused"], report["replicas"]) == (BUNDLED_COUNT, 0, 3), err
    assert report["convergence_s"] is not None, err


def descendants(pid: int) -> set[int]:
    direct = [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    return {pid for child in direct for pid in (child, *descendants(child))}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process table, and relies on prctl(2)")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_demo(how: signal.Signals) -> None:
    process = demo()
    assert process.stdout is not None
    for line in process.stdout:
        if "killed" in line:
            break
    left = {os.pidfd_open(pid): pid for pid in descendants(process.pid)}
    assert len(left) >= 3
    process.send_signal(how)
    poll = select.poll()
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)  # readable once the process has ended
    while left:
        ended = poll.poll(WAIT_S * 1000)
        assert ended, f"still there: {left}"
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            os.close(descriptor)
            del left[descriptor]
    process.communicate(timeout=WAIT_S)
    assert process.returncode == (130 if how is signal.SIGINT else -how)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("--rate", "fast"), 1, "actonce: --rate fast: write messages a second, as 20/s or 300\n"),
        (("--messages", "no/such/file"), 1, "actonce: the messages in no/such/file cannot be read: "),
        (("--replicas", str(REPLICAS_MAX + 1)), 2, "Usage: "),
    ],
)
def test_a_wrong_option_ends_it_at_once(arguments: tuple[str, ...], status: int, sentence: str) -> None:
    process = demo(*arguments)
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err[: len(sentence)]) == (status, sentence)
