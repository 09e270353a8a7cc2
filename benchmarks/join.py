"""How long a fresh replica needs until it holds a mesh's live tasks, and until it may act on them.

    python -m benchmarks.join [--tasks 10000] [--runs 3] [--json]

Two replicas, the unchanged engine in virtual time, share so many tasks that are not due yet; a third one, with an empty
journal, is started. `holds`: until its document equals theirs, and its state is folded. `acts`: until it has settled,
and may begin tasks. Virtual time (1 ms a way, 1 Gbit/s a link) holds dialing, round trips, heartbeats and the transfer;
it does not pass while a replica computes, so the CPU seconds of the busiest replica are added, as measured here: the
worst case. The limit is the transfer of the missing bytes and pycrdt's bare apply of them, in the same run. Medians.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from actonce import Agent, Context
from actonce.bench.floor import measure_missing
from actonce.bench.meter import Meter
from actonce.engine import Engine
from actonce.inbox import task_id
from actonce.settings import LAN
from actonce.sim.cluster import Cluster, Feed, simulate
from actonce.sim.world import EPOCH_S, SimWorld
from actonce_crdt import Document, Json, Task, pack_value

OLD, FRESH = ("a", "b"), "c"
BATCH = 2_000
"""Tasks that a replica writes at once."""
LIMIT_S = 120.0
"""For each step, in virtual seconds."""
BYTES_PER_S = 125e6
DUE_S = 30 * 86_400.0


class NotJoined(Exception):
    """The replicas did not come together, so that nothing was measured."""


def measure(tasks: int, runs: int) -> dict[str, Any]:
    """Medians over the runs; times in seconds.

    Raises:
        NotJoined: what went wrong.
    """

    async def go(seed: int) -> dict[str, float]:
        return await _Join(seed, tasks).run()

    found = [simulate(partial(go, seed)) for seed in range(1, runs + 1)]
    return {"tasks": tasks, "runs": runs, **{name: median(run[name] for run in found) for name in found[0]}}


def _agent(world: SimWorld, feed: Feed) -> Agent:
    agent = Agent("bench")

    @agent.task("later")
    async def later(ctx: Context, payload: Json) -> None:
        """Never due here."""

    return agent


class _Join:
    """One run. Made and used inside a virtual loop."""

    def __init__(self, seed: int, tasks: int) -> None:
        self._tasks = tasks
        self._cluster = Cluster(seed, (*OLD, FRESH), _agent, LAN)
        self._cluster.network.delay_s, self._cluster.network.bytes_per_s = (0.001, 0.001), BYTES_PER_S
        self._meter = Meter(self._cluster)
        self._at_equal: tuple[float, float] | None = None
        """Virtual and CPU seconds."""

    async def run(self) -> dict[str, float]:
        for name in OLD:
            self._start(name, new=name == OLD[0])
        await self._until("the first two did not form a mesh", lambda: all(map(_acts, self._engines())))
        await self._fill()
        meter, before, began = self._meter, self._meter.traffic(), self._cluster.loop.time()
        fresh = self._start(FRESH)
        missing = measure_missing([self._cluster.engine(OLD[0]).ledger.document, Document("none", 1)])
        meter.watch({name: self._cluster.engine(name) for name in (*OLD, FRESH)})
        await self._until("the third one may not act", lambda: self._holds() and _acts(fresh))
        acts = self._cluster.loop.time(), max(meter.cpu_s.values())
        meter.stop()
        assert self._at_equal is not None
        transfer_s = missing.size / BYTES_PER_S
        limit_s = transfer_s + missing.apply_s
        holds_s, acts_s = (at - began + cpu_s for at, cpu_s in (self._at_equal, acts))
        return {
            "missing_bytes": missing.size,
            "sent_bytes": meter.traffic().size - before.size,
            "holds_s": round(holds_s, 6),
            "holds_cpu_s": round(self._at_equal[1], 6),
            "acts_s": round(acts_s, 6),
            "acts_cpu_s": round(acts[1], 6),
            "limit_s": round(limit_s, 6),
            "limit_transfer_s": round(transfer_s, 6),
            "limit_apply_s": round(missing.apply_s, 6),
            "holds_ratio": round(holds_s / limit_s, 2),
            "acts_ratio": round(acts_s / limit_s, 2),
        }

    def _start(self, name: str, *, new: bool = False) -> Engine:
        engine = self._cluster.start(name, new=new)
        world = self._cluster.nodes[name].world
        assert world is not None
        self._meter.follow(name, world)
        return engine

    def _engines(self) -> list[Engine]:
        return [self._cluster.engine(name) for name in OLD]

    async def _fill(self) -> None:
        due_ms = int((EPOCH_S + DUE_S) * 1000)
        for first in range(0, self._tasks, BATCH):
            name = OLD[first // BATCH % len(OLD)]
            engine, world = self._cluster.engine(name), self._cluster.nodes[name].world
            assert world is not None
            last = min(first + BATCH, self._tasks)
            world.guard(partial(_write, engine, first, last, due_ms))
            await self._until("the first two do not agree", partial(self._have, last))

    def _have(self, tasks: int) -> bool:
        return all(len(engine.ledger.state.tasks) == tasks for engine in self._engines()) and self._cluster.converged()

    def _holds(self) -> bool:
        if self._at_equal is None and self._meter.equal_at is not None:
            self._at_equal = self._meter.equal_at, max(self._meter.cpu_s.values())
        return self._at_equal is not None

    async def _until(self, otherwise: str, condition: Callable[[], bool]) -> None:
        if not await self._cluster.until(condition, LIMIT_S) or self._cluster.failures:
            raise NotJoined("; ".join((otherwise, *self._cluster.failures)))


def _write(engine: Engine, first: int, last: int, due_ms: int) -> None:
    ledger = engine.ledger
    for number in range(first, last):
        payload = pack_value({"n": number, "text": "a message of some length"})
        task = task_id("later", f"message-{number}")
        ledger.write(Task(task, ledger.stamp(), engine.me.name, "later", payload, 0, due_ms))


def _acts(engine: Engine) -> bool:
    return engine.membership.settled is not None and engine.world.now() < engine.gate.until


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.join", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=10_000, help="that are live (default 10000)")
    parser.add_argument("--runs", type=int, default=3, help="medians of so many (default 3)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args()
    if options.tasks < 1 or options.runs < 1:
        parser.error("--tasks and --runs are at least 1")
    try:
        found = measure(options.tasks, options.runs)
    except NotJoined as error:
        raise SystemExit(f"not measured: {error}") from None
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:18} {value:,}")


if __name__ == "__main__":
    main()
