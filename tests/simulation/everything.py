"""Work of every kind in a mesh that soon forgets: keys that come again, memory, texts, quotas, a poll, a schedule.

Each is checked as where it is at home, by what was written rather than by what is still remembered; and what lives for
ever beside a shadow that never forgets.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import anyio

from actonce import Agent, Context, Item, Polled, SourceContext, memory_report
from actonce.engine import Engine
from actonce.schedule import slot_text
from actonce.scheduler import MARK_EVERY_S
from actonce.settings import LAN
from actonce.sim.cluster import Cluster, Feed, simulate
from actonce.sim.plan import Mix, Plan
from actonce.sim.run import Outcome, Scenario, Work
from actonce.sim.world import EPOCH_S, SimWorld
from actonce_crdt import Cell, CellState, Done, State, TallyState, is_settled, place

from .forgetting import Forgetful, small_steps
from .planted import TRAVEL_S, ConnectingSink
from .shadow import Shadow, differences

SECONDS = 30.0
BATCH = 3
SLOT_S = 2
RETENTION_S, FORGET_AFTER_S = 1.5, 3.0
SETTINGS = replace(
    LAN, retention_s=RETENTION_S, forget_after_s=FORGET_AFTER_S, quota_clock_error=0.025, retry_wait_max_s=1.0
)
KINDS = ("reply", "note", "call", "note")
WORK = tuple(
    Work(kind, lambda number: {"n": number, "work_s": (number % 5) / 10, "connect_s": 0.01}) for kind in KINDS
)
MIX = replace(Mix().without("Skew", "DiskFull"), down_s=(0.0, 22.0), pause_s=(0.05, 12.0), partition_s=(0.05, 14.0))
"""Replicas stay away, or alone, for longer than what they know is remembered by the others."""
SCENARIO = Scenario(seconds=SECONDS, tasks=50, settings=SETTINGS, work=WORK, mix=MIX)
SHORT = replace(SCENARIO, seconds=10.0, tasks=20)
OLD_S = RETENTION_S + 3 * FORGET_AFTER_S
"""An outcome that is older should be forgotten: floors and passes come in steps."""
PASS_MIN = 32
REST_S = OLD_S + MARK_EVERY_S
"""Nothing goes wrong any more for so long before all is looked at."""


class Everything(Forgetful):
    """One seed."""

    rest_s = REST_S

    def __init__(self, seed: int, scenario: Scenario = SCENARIO, plan: Plan | None = None) -> None:
        super().__init__(seed, scenario, self._agent, plan)
        self.shadow = Shadow()
        self.known: dict[int, list[tuple[int, int]]] = {}
        """Process -> (epoch, number) of the cursor, each time that something of it was looked at."""
        self.outside_forgets = seed % 2 == 0
        """Whether the source has the items before a cursor no more that it was shown."""
        self.forgotten = 0
        self.checkers = (self.memory_wrong, self.polls_wrong, self.slots_wrong, self.shadowed)
        self.leftovers = old_are_forgotten
        start, submit = self.cluster.start, self.cluster.submit

        def submitted(name: str, *asked: Any, **terms: Any) -> None:
            """Not to a process that is stopped: it would read it when it goes on, when the key may be new again."""
            world = self.cluster.nodes[name].world
            if world is not None and not world.paused:
                submit(name, *asked, **terms)

        def started(name: str, *, new: bool = False) -> Engine:
            engine = start(name, new=new)
            self.shadow.follow(engine)
            self._watch(engine)
            return engine

        self.cluster.start, self.cluster.submit = started, submitted  # type: ignore[method-assign]

    def _watch(self, engine: Engine) -> None:
        changed, known = engine.claims.changed, self.known.setdefault(engine.world.process.pid, [])

        def looked(keys: Iterable[str]) -> None:
            changed(keys)
            cursor = engine.ledger.state.cursors.get("outside")
            known.append((cursor.epoch, cursor.number) if cursor is not None else (0, 0))

        engine.claims.changed = looked  # type: ignore[method-assign]

    @property
    def items(self) -> int:
        """So many there were at the outside so far."""
        return int(min(self.cluster.loop.time(), self.scenario.seconds) * 2)

    # The agent

    def _agent(self, world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", ConnectingSink(feed, world))
        agent.quota("llm", 20, 2.0, flight=0.5)
        feed.delay_s = TRAVEL_S

        @agent.task("reply")
        async def reply(ctx: Context, payload: dict[str, Any]) -> Any:
            await anyio.sleep(world.rng.uniform(0.0, payload["work_s"]))
            await ctx.post("room", payload)
            return payload["n"]

        @agent.task("call")
        async def call(ctx: Context, payload: dict[str, Any]) -> None:
            async with ctx.quota("llm"):
                await feed.provider.call(world, "llm", requests=1)
            await ctx.post("room", payload)

        self._remembering(agent, world)
        self._polling(agent, world)
        return agent

    def _remembering(self, agent: Agent, world: SimWorld) -> None:
        @agent.task("note", retries=5)
        async def note(ctx: Context, payload: dict[str, Any]) -> None:
            memory, task = ctx.memory, ctx.task
            memory.counter("done").add()
            memory.set("seen").add(task)
            memory.set("odd").add(str(payload["n"] % 4))
            memory.set("odd").discard(str((payload["n"] + 2) % 4))
            memory.map("by task")[task] = memory.get("last")
            memory.list("log").append(task)
            memory["last"] = task
            text = memory.text("notes")
            text.insert(len(str(text)) if world.rng.random() < 0.5 else 0, f"[{task}@{world.name}]")
            await world.alive()
            await anyio.sleep(world.rng.uniform(0.0, 0.1))
            await world.alive()
            if world.rng.random() < 0.2:
                raise RuntimeError("bad luck")  # what it wrote is gone
            await ctx.post("room", payload)

    def _polling(self, agent: Agent, world: SimWorld) -> None:
        @agent.poll(0.5, kind="item")
        async def outside(ctx: SourceContext, cursor: int | None) -> Polled:
            await world.alive()
            since = cursor or 0
            if self.outside_forgets:
                since = self.forgotten = max(self.forgotten, since)
            found = range(since, self.items)[:BATCH]
            await anyio.sleep(world.rng.uniform(0.0, 0.2))
            await world.alive()
            end = found[-1] + 1 if found else since
            return Polled([Item(f"m{number}", {"connect_s": 0.01}) for number in found], end, len(found) == BATCH)

        @agent.task("item")
        async def item(ctx: Context, payload: dict[str, Any]) -> None:
            await ctx.post("room", payload)

        @agent.cron(f"*/{SLOT_S} * * * * *", name="tick", missed="all", overlap="allow")
        async def tick(ctx: Context, slot: dict[str, str]) -> None:
            await ctx.post("room", {**slot, "connect_s": 0.01})

    # When it is over

    def _finished(self) -> bool:
        engines = self.cluster.live()
        if len(engines) < sum(node.world is not None for node in self.cluster.nodes.values()):
            return False
        written = all(engine.ledger.durable_clock == engine.ledger.next_clock for engine in engines)
        done = all(list(engine.claims.open) == ["poll:outside"] for engine in engines)
        equal = self.cluster.converged() and len({engine.memory.texts.document.digest for engine in engines}) == 1
        return written and done and equal and not any(self.polls_wrong(self.cluster))

    async def outcome(self) -> Outcome:
        found = await super().outcome()
        found.sometimes += self.shadow.sometimes
        return found

    # What must hold

    def _shown(self) -> set[str]:
        """Tasks that had an effect, and those that are reported as late."""
        late = {task for engine in self.cluster.live() for task in engine.ledger.state.late}
        return {post.key.rpartition("/")[0] for post in self.cluster.feed.posts} | late

    def memory_wrong(self, cluster: Cluster) -> Iterator[str]:
        """What the notes wrote is there: once for each side on which one of them ran to its end."""
        notes = [one for one in self.shadow.outcomes if one.ok and one.key.startswith("note/")]
        for engine in cluster.live():
            texts = engine.memory.texts.read("notes").text
            for text in (*remembered_wrong(engine.ledger.state, notes), *text_wrong(texts, notes)):
                yield f"memory on {engine.me.name}: {text}"

    def polls_wrong(self, cluster: Cluster) -> Iterator[str]:
        """No item is lost; a cursor never goes back, also not to nothing."""
        shown = self._shown()
        yield from (f"item/m{number}: was lost" for number in range(self.items) if f"item/m{number}" not in shown)
        for pid, known in self.known.items():
            for earlier, later in itertools.pairwise(known):
                if later < earlier:
                    yield f"process {pid}: cursor {later} after {earlier}"

    def slots_wrong(self, cluster: Cluster) -> Iterator[str]:
        """Each slot of the schedule had its effect."""
        shown, first = self._shown(), int(EPOCH_S) + 6
        for slot in range(first - first % SLOT_S, int(EPOCH_S + self.scenario.seconds), SLOT_S):
            task = f"cron:tick:{slot_text(slot)}"
            if task not in shown:
                yield f"{task}: was lost"

    def shadowed(self, cluster: Cluster) -> Iterator[str]:
        """See `differences`."""
        yield from differences(cluster, self.shadow)


def remembered_wrong(state: State, notes: list[Done]) -> Iterator[str]:
    """What memory says, against the outcomes."""
    if not notes:
        return
    tasks = {one.key for one in notes}
    counted = state.tallies.get(place("c", "done"), TallyState()).value
    if counted != len(notes):
        yield f"the counter says {counted}, outcomes are {len(notes)}"
    for name in ("seen", "by task"):
        found = memory_report.recall(state, name, 0)
        if found is None or set(found["value"]) != tasks:
            yield f"{name!r} is {found and sorted(found['value'])}, outcomes are of {sorted(tasks)}"
    log = memory_report.recall(state, "log", 0)
    if log is None or Counter(log["value"]) != Counter(one.key for one in notes):
        yield "the list has other items than there are outcomes"
    last: tuple[Cell, ...] = state.cells.get(place("r", "last"), CellState()).live
    if not last or not {one.task for one in last} <= tasks:
        yield f"'last' is {last}"


def text_wrong(text: str, notes: list[Done]) -> Iterator[str]:
    """What the notes put in is in the text, whole, and nothing else."""
    runs, due = Counter(re.findall(r"\[[^]]*\]", text)), Counter(f"[{one.key}@{one.author}]" for one in notes)
    yield from (f"{run} was written and is not in the text" for run in due - runs)
    yield from (f"{run} is in the text and nobody wrote it" for run in runs - due)


def old_are_forgotten(cluster: Cluster) -> Iterator[str]:
    """Nothing that was over long ago is remembered, and no document is much longer than what is alive."""
    now = cluster.loop.time()
    for engine in cluster.live():
        state, document = engine.ledger.state, engine.ledger.document
        for task in state.tasks:
            over_s = now - cluster.history.outcomes.get(task, (now,))[0]
            waits = task in state.late or not all(is_settled(state.effects[key]) for key in state.effects_of(task))
            if not waits and over_s > OLD_S + MARK_EVERY_S * task.startswith("cron:"):
                yield f"{engine.me.name} still remembers {task}"
                break
        alive = sum(1 for shelf in set(state._shelves.values()) for _ in shelf.all_joined())
        if document.entry_count > 3 * alive + 2 * PASS_MIN * len(document.logs()):
            yield f"{engine.me.name} holds {document.entry_count} entries, of which {alive} would do"


def run_everything(seed: int, scenario: Scenario = SCENARIO, plan: Plan | None = None) -> Outcome:
    """Deterministic."""

    async def go() -> Outcome:
        return await Everything(seed, scenario, plan).outcome()

    with small_steps(PASS_MIN):
        return simulate(go)
