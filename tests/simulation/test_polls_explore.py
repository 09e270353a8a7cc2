"""Drawn faults of every kind while a source is polled: what was there is handled, and cursors only go forward.

POLLS_SEEDS=200 draws that many plans.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from actonce import Agent, Context, Item, Polled, SourceContext
from actonce.engine import Engine
from actonce.sim.cluster import Feed, FeedSink, simulate
from actonce.sim.run import Outcome, Run, Scenario
from actonce.sim.world import SimWorld

SEEDS = int(os.environ.get("POLLS_SEEDS", "2"))
SECONDS = 30.0
SCENARIO = Scenario(replicas=(2, 4), seconds=SECONDS, tasks=10)
BATCH = 3


class PollRun(Run):
    """A seed with a source that brings an item each 200 ms, and forgets those before the cursor that it is shown."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, SCENARIO, self._agent, None)
        self.forgotten = 0
        self.known: dict[int, list[tuple[int, int]]] = {}
        self.calls = 0
        start = self.cluster.start

        def started(name: str, *, new: bool = False) -> Engine:
            engine = start(name, new=new)
            self._watch(engine)
            return engine

        self.cluster.start = started  # type: ignore[method-assign]

    def _watch(self, engine: Engine) -> None:
        changed, known = engine.claims.changed, self.known.setdefault(engine.world.process.pid, [])

        def looked(keys: Iterable[str]) -> None:
            changed(keys)
            cursor = engine.ledger.state.cursors.get("outside")
            if cursor is not None:
                known.append((cursor.epoch, cursor.number))

        engine.claims.changed = looked  # type: ignore[method-assign]

    @property
    def items(self) -> int:
        return int(min(self.cluster.loop.time(), SECONDS) * 5)

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", FeedSink(feed, world))

        @agent.poll(0.3, kind="reply")
        async def outside(ctx: SourceContext, cursor: int | None) -> Polled:
            await world.alive()
            self.calls += 1
            self.forgotten = max(self.forgotten, cursor or 0)
            found = range(max(cursor or 0, self.forgotten), self.items)[:BATCH]
            await anyio.sleep(world.rng.uniform(0.0, 0.2))
            await world.alive()
            end = found[-1] + 1 if found else cursor or 0
            return Polled([Item(f"item-{number}", {"n": number}) for number in found], end, len(found) == BATCH)

        @agent.task("reply")
        async def reply(ctx: Context, payload: dict[str, Any]) -> None:
            await anyio.sleep(world.rng.uniform(0.0, 0.1))
            await ctx.post("room", payload)

        return agent

    def _lost(self) -> list[str]:
        posted = {post.key.rpartition("/")[0] for post in self.cluster.feed.posts}
        return [f"item {n} was lost" for n in range(self.items) if f"reply/item-{n}" not in posted]

    def _finished(self) -> bool:
        engines = self.cluster.live()
        written = all(engine.ledger.durable_clock == engine.ledger.next_clock for engine in engines)
        done = all(list(engine.claims.open) == ["poll:outside"] for engine in engines)
        missing = len(engines) < sum(node.world is not None for node in self.cluster.nodes.values())
        return written and done and not missing and self.cluster.converged() and not self._lost()

    def _outcome(self, violations: list[str], heal_s: float) -> Outcome:
        violations += self._lost()
        for pid, known in self.known.items():
            back = [pair for pair in itertools.pairwise(known) if pair[1] < pair[0]]
            violations += [f"process {pid}: cursor {later} after {earlier}" for earlier, later in back]
        return super()._outcome(violations, heal_s)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_drawn_faults(seed: int) -> None:
    runs: list[PollRun] = []

    async def run() -> Outcome:
        runs.append(PollRun(seed))
        return await runs[0].outcome()

    outcome = simulate(run)
    assert outcome.violations == [], outcome.plan
    assert runs[0].calls > 20
