"""Replicas as a program embeds them: real threads, sockets and disks."""

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actonce import Agent, CallableSink, Context, Replica, SyncContext
from actonce.engine import Engine
from actonce.errors import (
    ActonceError,
    JournalFailed,
    JournalForeign,
    JournalInUse,
    KeyReused,
    NameTaken,
    NotSettled,
    PayloadInvalid,
    PayloadTooLarge,
    ReplicaFailed,
    TaskFailed,
    UnknownKind,
)
from actonce.settings import LAN, PAYLOAD_BYTES_MAX

pytestmark = pytest.mark.anyio
WAIT_S = 20
SOON = dataclasses.replace(LAN, retry_wait_s=0.01, drain_s=10.0)
NAMES = "abc"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Work:
    """An agent whose handlers and sink write down what they do."""

    def __init__(self, name: str = "kevin") -> None:
        self.agent = Agent(name)
        self.posts: list[str] = []
        self.attempts: list[int] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.block, self.blocked = threading.Event(), threading.Event()
        self.agent.sink("room", CallableSink(self.publish))
        self.agent.task("reply")(self.reply)
        self.agent.task("plain")(self.plain)
        self.agent.task("waits")(self.waits)
        self.agent.task("blocks")(self.blocks)
        self.agent.task("flaky", retries=2)(self.flaky)
        self.agent.task("slow", retries=1, timeout=0.05)(self.slow)
        self.agent.task("odd")(self.odd)

    async def publish(self, body: Any, key: str) -> Any:
        self.posts.append(key)
        return {"posted": body}

    async def reply(self, ctx: Context, payload: Any) -> Any:
        return await ctx.post("room", payload)

    def plain(self, ctx: SyncContext, payload: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return [ctx.task, ctx.attempt, ctx.fence > 0, ctx.post("room", payload)]

    async def waits(self, ctx: Context, payload: Any) -> str:
        self.begun.set()
        await self.go.wait()
        return "done"

    async def blocks(self, ctx: Context, payload: Any) -> str:
        self.blocked.set()
        assert self.block.wait(WAIT_S)  # the whole event loop stands still
        return "done"

    async def flaky(self, ctx: Context, payload: Any) -> int:
        self.attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.attempt

    async def slow(self, ctx: Context, payload: Any) -> None:
        self.attempts.append(ctx.attempt)
        await asyncio.Event().wait()

    async def odd(self, ctx: Context, payload: Any) -> Any:
        return {1, 2}


def replica(work: Work, folder: Path, name: str = "a", **options: Any) -> Replica:
    options = {"listen": "127.0.0.1:0", "new": name == "a", "settings": SOON, **options}
    return Replica(work.agent, name=name, data=folder / name, **options)


@asynccontextmanager
async def mesh(work: Work, folder: Path, **options: Any) -> AsyncIterator[list[Replica]]:
    """Three replicas in one view."""
    async with AsyncExitStack() as stack:
        replicas: list[Replica] = []
        for name in NAMES:
            join = [other.address for other in replicas]
            replicas.append(await stack.enter_async_context(replica(work, folder, name, join=join, **options)))
        for each in replicas:
            await sees(each, lambda engine: len(engine.membership.view.members) == len(NAMES))
            await sees(each, lambda engine: engine.membership.act_until() > engine.world.now())
        yield replicas


async def sees(replica: Replica, condition: Callable[[Engine], bool]) -> None:
    """Wait until the engine is in this condition; asks again after each of its steps."""
    async with asyncio.timeout(WAIT_S):
        while not await replica.inspect(condition):
            pass


async def test_what_one_takes_in_any_can_answer_for(tmp_path: Path) -> None:
    work = Work()
    async with mesh(work, tmp_path) as replicas:
        handles = [await replicas[index % 3].submit("reply", index, key=f"m{index}") for index in range(12)]
        assert all(handle.new for handle in handles)
        for index, handle in enumerate(handles):
            for each in replicas:
                assert await each.handle(handle.id).result(WAIT_S) == {"posted": index}
        again = await replicas[1].submit("reply", 0, key="m0")
        assert (again.new, again.id) == (False, "reply/m0")
        with pytest.raises(KeyReused):
            await replicas[2].submit("reply", "another", key="m0")
    assert sorted(work.posts) == sorted(f"reply/m{index}/#1" for index in range(12))


async def test_with_a_secret(tmp_path: Path) -> None:
    work = Work()
    async with mesh(work, tmp_path, secret=b"s" * 32) as replicas:
        handle = await replicas[0].submit("reply", "hi")
        assert await handle.result(WAIT_S) == {"posted": "hi"}


async def test_a_wrong_secret_is_noted_and_joins_nothing(tmp_path: Path) -> None:
    work = Work()
    async with (
        replica(work, tmp_path, secret=b"right" * 8) as first,
        replica(work, tmp_path, "b", secret=b"wrong" * 8, join=[first.address]) as second,
    ):
        await sees(second, lambda engine: "secret" in engine.views.denials.get(first.address, ""))
        why = "; ".join((await second.status())["degraded"])
        assert "refuses us: " in why
        assert "--new" not in why  # which would make a mesh of its own
        assert await second.inspect(lambda engine: not engine.gossip.lines)
        assert await first.inspect(lambda engine: not engine.gossip.lines)


async def test_a_name_that_is_taken(tmp_path: Path) -> None:
    work = Work()
    async with replica(work, tmp_path) as first:
        with pytest.raises(NameTaken, match="Choose another --name"):
            async with replica(work, tmp_path / "elsewhere", "a", new=False, join=[first.address]):
                await asyncio.wait_for(asyncio.Event().wait(), WAIT_S)
        assert await (await first.submit("reply", 1)).result(WAIT_S) == {"posted": 1}


async def test_another_agent_is_refused(tmp_path: Path) -> None:
    async with (
        replica(Work("kevin"), tmp_path) as first,
        replica(Work("ada"), tmp_path, "b", join=[first.address]) as second,
    ):
        await sees(second, lambda engine: "'kevin'" in engine.views.denials.get(first.address, ""))


async def test_a_journal_in_use(tmp_path: Path) -> None:
    work = Work()
    async with replica(work, tmp_path):
        with pytest.raises(JournalInUse):
            async with replica(work, tmp_path):
                pytest.fail("two processes on one journal")


async def test_the_journal_of_another(tmp_path: Path) -> None:
    async with replica(Work(), tmp_path):
        pass
    with pytest.raises(JournalForeign):
        async with Replica(Work("ada").agent, name="a", data=tmp_path / "a", listen="127.0.0.1:0"):
            pytest.fail("the journal of another agent")


async def test_an_address_in_use(tmp_path: Path) -> None:
    work = Work()
    async with replica(work, tmp_path) as first:
        with pytest.raises(ReplicaFailed):
            async with replica(work, tmp_path, "b", listen=first.address):
                pytest.fail("two listeners on one address")
    async with replica(work, tmp_path, "b", new=True):
        """Its journal was let go."""


async def test_leaving_waits_for_running_handlers(tmp_path: Path) -> None:
    work = Work()
    async with replica(work, tmp_path) as first:
        handle = await first.submit("waits", None, key="k")
        await asyncio.wait_for(work.begun.wait(), WAIT_S)
        asyncio.get_running_loop().call_soon(work.go.set)
    async with replica(Work(), tmp_path) as again:
        assert await again.handle(handle.id).result(WAIT_S) == "done"


async def test_a_replica_that_leaves_is_not_missed(tmp_path: Path) -> None:
    work = Work()
    async with replica(work, tmp_path) as first:
        async with replica(work, tmp_path, "b", join=[first.address]) as second:
            await sees(first, lambda engine: len(engine.membership.view.members) == 2)
            await second.settled()
        await sees(first, lambda engine: len(engine.membership.view.members) == 1)
        notes = await first.inspect(lambda engine: [text for _, text in engine.notes])
        assert any("b is gone" in text for text in notes)
        assert await (await first.submit("reply", 1)).result(WAIT_S) == {"posted": 1}


async def test_a_restart_remembers(tmp_path: Path) -> None:
    async with replica(Work(), tmp_path) as first:
        handle = await first.submit("reply", "hi", key="k")
        await handle.result(WAIT_S)
    work = Work()
    async with replica(work, tmp_path) as again:
        second = await again.submit("reply", "hi", key="k")
        assert (second.new, await second.result(WAIT_S)) == (False, {"posted": "hi"})
    assert work.posts == []


async def test_a_handler_that_blocks_its_loop_stops_no_heartbeat(tmp_path: Path) -> None:
    """For longer than suspicion and grace together; seen from the engines' own threads."""
    work, seen = Work(), list[bool]()
    stands_s = SOON.suspicion_s + SOON.grace_s + 0.5
    async with mesh(work, tmp_path) as replicas:
        engines = [await each.inspect(lambda engine: engine) for each in replicas]

        def watch() -> None:
            assert work.blocked.wait(WAIT_S)
            threading.Event().wait(stands_s)
            for engine in engines:
                whole = len(engine.membership.view.members) == len(NAMES)
                seen.append(whole and engine.membership.act_until() > engine.world.now())
            work.block.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        await replicas[0].submit("blocks", None, key="k")
        assert await replicas[1].handle("blocks/k").result(WAIT_S) == "done"
        watcher.join(WAIT_S)
    assert seen == [True] * len(NAMES)


async def test_plain_functions_run_in_threads(tmp_path: Path) -> None:
    work = Work()
    async with replica(work, tmp_path) as first:
        handle = await first.submit("plain", "hi", key="k")
        assert await handle.result(WAIT_S) == ["plain/k", 1, True, {"posted": "hi"}]


async def test_retries_and_timeouts(tmp_path: Path) -> None:
    work = Work()
    async with replica(work, tmp_path) as first:
        assert await (await first.submit("flaky", None)).result(WAIT_S) == 3
        assert work.attempts == [1, 2, 3]
        with pytest.raises(TaskFailed, match=r"timed out after 0\.05 s"):
            await (await first.submit("slow", None)).result(WAIT_S)
        assert work.attempts[3:] == [1, 2]
        with pytest.raises(TaskFailed, match="cannot be stored"):
            await (await first.submit("odd", None)).result(WAIT_S)


async def test_a_plain_handler_that_timed_out_posts_no_more(tmp_path: Path) -> None:
    """Its thread cannot be stopped, and goes on when the next attempt is done."""
    agent, posts, go, ended = Agent("kevin"), list[int](), threading.Event(), threading.Event()

    async def publish(body: Any, key: str) -> None:
        posts.append(body)

    @agent.task("late", retries=1, timeout=2.0)
    def late(ctx: SyncContext, payload: Any) -> int:
        try:
            if ctx.attempt == 1:
                assert go.wait(WAIT_S)
            ctx.post("room", ctx.attempt)
        finally:
            if ctx.attempt == 1:
                ended.set()
        return ctx.attempt

    agent.sink("room", CallableSink(publish))
    async with Replica(agent, name="a", data=tmp_path, listen="127.0.0.1:0", new=True, settings=SOON) as first:
        assert await (await first.submit("late", None)).result(WAIT_S) == 2
        go.set()
        assert await asyncio.to_thread(ended.wait, WAIT_S)
    assert posts == [2]


async def test_an_error_in_no_alphabet_is_still_an_error(tmp_path: Path) -> None:
    agent = Agent("kevin")

    @agent.task("bad", retries=1)
    async def bad(ctx: Context, payload: Any) -> None:
        raise ValueError("\ud800")

    async with Replica(agent, name="a", data=tmp_path, listen="127.0.0.1:0", new=True, settings=SOON) as first:
        with pytest.raises(TaskFailed, match="ValueError"):
            await (await first.submit("bad", None)).result(WAIT_S)


async def test_leaving_does_not_wait_for_another_attempt(tmp_path: Path) -> None:
    agent, begun, go = Agent("kevin"), asyncio.Event(), asyncio.Event()

    @agent.task("fails")
    async def fails(ctx: Context, payload: Any) -> None:
        begun.set()
        await go.wait()
        raise ValueError("no")

    patient = dataclasses.replace(LAN, retry_wait_s=1e6, retry_wait_max_s=1e6, drain_s=2.0 * WAIT_S)
    async with asyncio.timeout(WAIT_S):
        async with Replica(agent, name="a", data=tmp_path, listen="127.0.0.1:0", new=True, settings=patient) as first:
            await first.submit("fails", None)
            await begun.wait()
            asyncio.get_running_loop().call_later(0.05, go.set)


async def test_what_submit_refuses(tmp_path: Path) -> None:
    async with replica(Work(), tmp_path) as first:
        with pytest.raises(UnknownKind):
            await first.submit("other", None)
        with pytest.raises(PayloadInvalid):
            await first.submit("reply", {"at": float("nan")})
        with pytest.raises(PayloadTooLarge, match=f"{PAYLOAD_BYTES_MAX:,} bytes"):
            await first.submit("reply", "x" * PAYLOAD_BYTES_MAX)
        with pytest.raises(PayloadInvalid):
            await first.submit("reply", None, key="")
        assert await first.inspect(lambda engine: len(engine.ledger.state.tasks)) == 0


async def test_a_submission_that_is_not_safe_says_so(tmp_path: Path) -> None:
    impatient = dataclasses.replace(SOON, submit_timeout_s=0.05)
    async with replica(Work(), tmp_path, new=False, settings=impatient) as first:
        with pytest.raises(NotSettled, match="submit it again with the same key"):
            await first.submit("reply", None, key="1")
        with pytest.raises(NotSettled, match="without a key, submitting it again makes another task"):
            await first.submit("reply", None)


async def test_waiting_for_a_result_has_a_limit(tmp_path: Path) -> None:
    async with replica(Work(), tmp_path) as first:
        with pytest.raises(TimeoutError):
            await first.handle("reply/unknown").result(0.01)
        await sees(first, lambda engine: not engine.inbox._waiting)


async def broken_by(look: Callable[[Engine], object], folder: Path) -> None:
    """A program whose replica fails while it does something else."""
    async with replica(Work(), folder) as first:
        await first.settled()
        await first.inspect(look)
        await asyncio.wait_for(asyncio.Event().wait(), WAIT_S)


async def test_a_failed_engine_ends_the_body_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed, match="disk full"):
        await broken_by(lambda engine: engine.fail(JournalFailed("disk full")), tmp_path)


async def test_an_engine_that_raised_acts_no_more(tmp_path: Path) -> None:
    shut: list[bool] = []

    def plant(engine: Engine) -> None:
        def raises() -> None:
            raise RuntimeError("planted")

        engine.world.call_soon(raises)
        engine.world.call_soon(lambda: shut.append(engine.gate.shut))

    with pytest.raises(ReplicaFailed, match="planted"):
        await broken_by(plant, tmp_path)
    assert shut == [True]


async def test_after_the_end_nothing_waits(tmp_path: Path) -> None:
    async with replica(Work(), tmp_path) as first:
        waiting = asyncio.ensure_future(first.handle("reply/never").result())
        await first.settled()
    with pytest.raises(ActonceError):
        await asyncio.wait_for(waiting, WAIT_S)
    with pytest.raises(ActonceError):
        await asyncio.wait_for(first.handle("reply/never").result(), WAIT_S)
