"""What a program that embeds a replica does wrong: a sentence where it did so, and the replica goes on."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from actonce import Agent, Context, Replica, SyncContext
from actonce.errors import ConfigError, NoSuchTarget, NotSettled, PayloadInvalid, ReplicaFailed, TaskFailed, UnknownKind
from actonce.settings import LAN

pytestmark = pytest.mark.anyio
WAIT_S = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


agent = Agent("clumsy")


@agent.task("echo")
async def echo(ctx: Context, payload: Any) -> Any:
    return payload


@agent.task("wrong", retries=0)
async def wrong(ctx: Context, how: str) -> Any:
    if how == "gather a list":
        children: Any = [await ctx.spawn("echo", 1)]
        return await ctx.gather(children)
    if how == "gather itself":
        return await ctx.gather(ctx.task)
    if how == "spawn a list":
        kind: Any = ["echo"]
        return await ctx.spawn(kind, 1)
    if how == "after one":
        after: Any = await ctx.spawn("echo", 1)
        return await ctx.gather(await ctx.spawn("echo", 2, after=after))
    if how == "a set":
        return {1}
    if how == "exit":
        sys.exit(3)
    ctx.memory.counter("name").add()
    ctx.memory["name"] = 1
    return None


@agent.task("exits", retries=0)
def exits(ctx: SyncContext, payload: Any) -> None:
    sys.exit(4)


@agent.task("raises", retries=1)
async def raises(ctx: Context, how: str) -> None:
    raise LookupError(how)


@agent.task("raises_in_a_thread", retries=0)
def raises_in_a_thread(ctx: SyncContext, how: str) -> None:
    raise LookupError(how)


def replica(folder: Path, **options: Any) -> Replica:
    options = {"agent": agent, "listen": "127.0.0.1:0", "new": True, **options}
    return Replica(options.pop("agent"), name="a", data=folder / "a", **options)


async def test_handlers_cannot_break_their_replica(tmp_path: Path) -> None:
    async with replica(tmp_path) as one:
        for how, sentence in {
            "gather a list": r"give them one by one, as gather\(\*children\)",
            "gather itself": "waits for itself",
            "spawn a list": "has no handler for",
            "exit": "SystemExit: 3",
            "two shapes": "'name' is a counter: it cannot be used as a register",
        }.items():
            with pytest.raises(TaskFailed, match=sentence):
                await (await one.submit("wrong", how)).result(WAIT_S)
        assert await (await one.submit("wrong", "after one")).result(WAIT_S) == [2]


async def test_a_plain_handler_that_exits(tmp_path: Path) -> None:
    async with replica(tmp_path) as one:
        with pytest.raises(TaskFailed, match="SystemExit: 4"):
            await (await one.submit("exits", None)).result(WAIT_S)


async def test_what_cannot_be_stored_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="actonce.handlers")  # the simulator turns it down for its process
    async with replica(tmp_path) as one:
        with pytest.raises(TaskFailed, match="result: set is not JSON-like"):
            await (await one.submit("wrong", "a set")).result(WAIT_S)
    assert "is not tried again: the result cannot be stored: result: set is not JSON-like" in caplog.text


async def test_who_reads_the_log_sees_what_failed_for_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="actonce.handlers")
    async with replica(tmp_path, settings=replace(LAN, retry_wait_s=0.01)) as one:
        for kind, attempts in (("raises", 2), ("raises_in_a_thread", 1)):
            caplog.clear()
            with pytest.raises(TaskFailed):
                await (await one.submit(kind, "no", key="k")).result(WAIT_S)
            *tries, last = [record.getMessage() for record in caplog.records if record.name == "actonce.handlers"]
            assert len(tries) == attempts
            assert last.startswith(f"task {kind}/k failed for good, at attempt {attempts}: `actonce dead list` shows")
            for number, text in enumerate(tries, 1):
                assert text.startswith(f"task {kind}/k, attempt {number} failed: Traceback")
                assert text.count("  File ") == 1, "that of the handler"
                assert f"in {kind}" in text


async def test_calls_cannot_break_their_replica(tmp_path: Path) -> None:
    odd: Any = ["echo"]
    async with replica(tmp_path) as one:
        handle = await one.submit("echo", "first")
        with pytest.raises(UnknownKind, match="has no handler for"):
            await one.submit(odd, 1)
        for after in (handle.id, handle):
            with pytest.raises(PayloadInvalid, match="use a list of task ids or handles"):
                await one.submit("echo", 1, after=after)  # type: ignore[arg-type]
        with pytest.raises(PayloadInvalid, match="not_before"):
            await one.submit("echo", 1, not_before="2026")  # type: ignore[arg-type]
        with pytest.raises(PayloadInvalid, match="is no task id"):
            one.handle(odd)
        with pytest.raises(NoSuchTarget, match="is not the name"):
            await one.control("pause", kind=odd)
        with pytest.raises(PayloadInvalid, match="a reason is"):
            await one.control("pause", reason=odd)
        with pytest.raises(ZeroDivisionError):
            await one.inspect(lambda engine: 1 / 0)
        with pytest.raises(TimeoutError, match="task 'echo/never' has no outcome"):
            await one.handle("echo/never").result(0.01)
        assert await handle.result(WAIT_S) == "first"
        assert repr(handle) == f"Handle({handle.id!r})"
        assert (await one.status())["degraded"] == []


async def test_the_message_names_the_thing(tmp_path: Path) -> None:
    async with replica(tmp_path) as one:
        with pytest.raises(PayloadInvalid, match=r"the payload cannot be stored: payload\.x: set is not JSON-like"):
            await one.submit("echo", {"x": {1}})


async def test_options_that_make_no_sense(tmp_path: Path) -> None:
    for options, sentence in (
        ({"join": "127.0.0.1:7420"}, r"give a list, as \['127.0.0.1:7420'\]"),
        ({"roster": "abc"}, "give a list"),
        ({"secret": "secret"}, "give bytes"),
        ({"settings": "lan"}, "LAPTOP, WAN"),
        ({"agent": "clumsy"}, r"give an actonce\.Agent"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            replica(tmp_path, **options)


def yields(ctx: Any, payload: Any) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda it: it.task("t", retries="3")(len), "a whole number, 0 or more"),
        (lambda it: it.task("t", retries=0.5)(len), "a whole number, 0 or more"),
        (lambda it: it.task("t", timeout=timedelta(seconds=1)), "is not a duration"),
        (lambda it: it.every(len), "is not a duration"),
        (lambda it: it.task("t")("text"), "no function"),
        (lambda it: it.task("t")(lambda ctx: None), "called with ctx and payload: too many positional arguments"),
        (lambda it: it.task("t")(yields), "a handler returns its result"),
        (lambda it: it.sink("s", print), "CallableSink"),
    ],
)
def test_declarations_that_can_never_work(declare: Callable[[Any], object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        declare(Agent("clumsy"))


async def test_an_object_whose_call_is_async(tmp_path: Path) -> None:
    class Echo:
        async def __call__(self, ctx: Context, payload: Any) -> Any:
            return payload

    one = Agent("objects")
    one.task("echo")(Echo())
    async with replica(tmp_path, agent=one) as running:
        assert await (await running.submit("echo", "said")).result(WAIT_S) == "said"


async def test_before_and_after(tmp_path: Path) -> None:
    one = replica(tmp_path)
    with pytest.raises(ReplicaFailed, match="has not begun"):
        await one.submit("echo", 1)
    with pytest.raises(ReplicaFailed, match="has not begun"):
        assert one.address
    with pytest.raises(ReplicaFailed, match="has not begun"):
        await one.handle("echo/1").result()
    async with one:
        await one.settled()
    with pytest.raises(ReplicaFailed, match="has ended"):
        await asyncio.wait_for(one.settled(), WAIT_S)
    with pytest.raises(ReplicaFailed, match="make a new one"):
        await one.__aenter__()


async def test_another_loop(tmp_path: Path) -> None:
    async with replica(tmp_path) as one:
        loop = asyncio.get_running_loop()
        with pytest.raises(ReplicaFailed, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(lambda: asyncio.run(one.submit("echo", 1)))
        handle = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(one.submit("echo", 1), loop).result())
        assert await handle.result(WAIT_S) == 1


async def test_why_it_is_not_safe(tmp_path: Path) -> None:
    async with replica(tmp_path, new=False, settings=LAN.__class__(submit_timeout_s=0.05)) as one:
        with pytest.raises(NotSettled, match="the first of a mesh needs --new; submit it again with the same key"):
            await one.submit("echo", 1, key="1")


def test_trio_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with replica(tmp_path):
            pass

    with pytest.raises(ReplicaFailed, match="does not run on trio"):
        anyio.run(main, backend="trio")
