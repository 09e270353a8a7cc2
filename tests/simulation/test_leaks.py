"""What a replica keeps in Python follows what is alive: nothing in it grows with the number of tasks that it ever did.

Every dict, list, set and deque that can be reached from an engine is measured after a batch of work of all sorts, when
all of it is forgotten; and again after three more.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import pytest

from actonce import Agent, Context, outbox
from actonce.engine import Engine
from actonce.errors import SinkRefused
from actonce.ledger import Ledger
from actonce.sim.cluster import Cluster, Feed, FeedSink, simulate
from actonce.sim.memory_checkers import all_forgotten
from actonce.sim.world import SimWorld
from actonce_crdt import Document, Json
from actonce_crdt.texts import TextDocument

from .forgetting import FORGET_AFTER_S, RETENTION_S, SOON

BATCH = 12
"""Tasks of each kind."""
SIMULATED = ("actonce.sim.", "asyncio", "_asyncio")
"""Modules whose objects are not looked into: they are not the replica's."""
ONCE = ("_known", "_logs", "_deleted", "_hashes", "read", "line.told", "notes")
"""Grow with starts of replicas, which have client ids (see README), or have a limit of their own."""
ALIVE = ("ledger.state.", "ledger.document.")
"""What is alive, which comes and goes, and is looked at by `all_forgotten`."""


class Touchy(FeedSink):
    """Refuses some bodies for good."""

    async def publish(self, body: Json, key: str, fence: int, gate: Any) -> Json:
        if body == "refuse":
            gate()
            raise SinkRefused("no", permanent=True)
        return await super().publish(body, key, fence, gate)


def make_agent(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("kevin")
    agent.sink("room", Touchy(feed, world))
    agent.quota("llm", 1_000, 1.0, flight=0.5)

    @agent.task("post")
    async def post(ctx: Context, payload: Json) -> Json:
        async with ctx.quota("llm"):
            await ctx.step("one", lambda: 1)
        ctx.memory["last"] = payload
        await ctx.post("room", payload)
        return payload

    @agent.task("slow", retries=1)
    async def slow(ctx: Context, payload: Json) -> None:
        await anyio.sleep(0.5)
        await ctx.post("room", "slow")

    @agent.task("fail", retries=1)
    async def fail(ctx: Context, payload: Json) -> None:
        raise RuntimeError("always")

    return agent


async def batch(cluster: Cluster, first: int) -> None:
    """Work of all sorts, with a death in the middle."""
    names = sorted(cluster.nodes)
    for number in range(first, first + BATCH):
        name = names[number % len(names)]
        cluster.submit(name, "post", "fine", f"p{number}")
        cluster.submit(name, "post", "refuse", f"r{number}")
        cluster.submit(name, "slow", None, f"s{number}")
        cluster.submit(name, "fail", None, f"f{number}")
        cluster.submit(name, "post", "fine", f"after{number}", after=[f"slow/s{number}"])
        cluster.submit(name, "post", "fine", f"later{number}", delay=0.3)
        cluster.submit(name, "post", "fine", f"never{number}", after=[f"post/nobody{number}"])
        await asyncio.sleep(0.03)
        cluster.cancel("a", f"slow/s{number - 3}")
        cluster.cancel("a", f"post/never{number}")
    cluster.kill(names[-1])
    await asyncio.sleep(1.0)
    cluster.start(names[-1])
    limit_s = RETENTION_S + 8 * FORGET_AFTER_S
    assert await cluster.until(lambda: not any(all_forgotten(cluster)), limit_s), list(all_forgotten(cluster))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("CRITICAL", "actonce.handlers")
    monkeypatch.setattr(outbox, "SWEEP_MIN", 4)


async def work(batches: int) -> list[dict[str, Counter[str]]]:
    """Sizes of all that each replica keeps, after each batch."""
    cluster = Cluster(1, "abc", make_agent, SOON)
    for name in "abc":
        cluster.start(name, new=name == "a")
    assert await cluster.until(lambda: all(len(one.membership.view.members) == 3 for one in cluster.live()), 10.0)
    found = []
    for number in range(batches):
        await batch(cluster, number * BATCH)
        old = [engine for engine in cluster.live() if engine.me.name != "c"]  # which begins anew in each batch
        found.append({engine.me.name: Counter(dict(sizes(engine))) for engine in old})
    assert not cluster.failures
    return found


def sizes(engine: Engine) -> Iterator[tuple[str, int]]:
    """Where a container is, and how many things are in all that are there."""
    seen: set[int] = set()
    total: Counter[str] = Counter()
    todo: list[tuple[str, Any]] = [("engine", engine)]
    while todo:
        path, thing = todo.pop()
        kind = type(thing)
        if id(thing) in seen or kind in (str, bytes, int, float, bool, type(None)):
            continue
        seen.add(id(thing))
        if isinstance(thing, Mapping):
            total[path] += len(thing)
            todo += [(f"{path}[]", value) for pair in thing.items() for value in pair]
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            total[path] += len(thing)
            todo += [(f"{path}[]", value) for value in thing]
        elif kind.__module__.startswith("actonce") and not kind.__module__.startswith(SIMULATED):
            slots = [name for one in kind.__mro__ for name in getattr(one, "__slots__", ())]
            names = [*getattr(thing, "__dict__", ()), *slots]
            todo += [(f"{path}.{name}", getattr(thing, name)) for name in names if hasattr(thing, name)]
    return iter(total.items())


def grown(found: list[dict[str, Counter[str]]]) -> dict[str, int]:
    """What has more in it than after the first batch: by more than a batch."""
    return {
        f"{name}: {path}": after[path] - found[0][name][path]
        for name, after in found[-1].items()
        for path in after
        if after[path] - found[0][name][path] > BATCH
        and not path.rstrip("[]").endswith(ONCE)
        and not any(part in path for part in ALIVE)
    }


def test_nothing_grows_with_the_number_of_tasks_done() -> None:
    assert grown(simulate(lambda: work(4))) == {}


def census() -> Counter[str]:
    """What there is of the largest objects."""
    gc.collect()
    kinds = (Document, TextDocument, Engine)
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds))


def test_a_mesh_that_is_over_is_freed() -> None:
    """A simulation runs thousands of them in one process, and an agent may be embedded again and again."""
    before = census()
    simulate(lambda: work(1))
    assert census() - before == Counter()


def test_a_planted_leak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that remembers what it was ever told of."""
    init = Ledger.__init__

    def leaking(self: Ledger, *args: Any, **rest: Any) -> None:
        changed, self.told = rest["on_changed"], set[str]()  # type: ignore[attr-defined]

        def note(keys: list[str]) -> None:
            self.told.update(keys)  # type: ignore[attr-defined]
            changed(keys)

        init(self, *args, **{**rest, "on_changed": note})

    monkeypatch.setattr(Ledger, "__init__", leaking)
    assert any("ledger.told" in path for path in grown(simulate(lambda: work(2))))
