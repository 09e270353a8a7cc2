"""Short bad days with little to share: windows of a third of a second to one, so that each fault meets several of them.

A seed draws its limits (one, two together, bursts, a budget, rights under a lease, ...), its kind of day (everything,
churn, slow disks, long cuts, wrong clocks), two to four replicas, and faults one after the other for some seconds; then
all faults end and everything must be done. The provider's log is checked by a sliding window and by a token bucket,
rights are counted every 20 ms and at each arrival, as in the long form (`test_limits.py`). Ten times as cheap, so that
10,000 seeds take less than an hour of one processor; what is rare in a long day is common here.

    python -m tests.simulation.scarce [--first 1] [--seeds 100] [--jobs 1] [--json]
    python -m tests.simulation.scarce --plant given_twice       # a deliberate fault: the first seed that finds it
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from actonce.agent import Agent
from actonce.context import Context
from actonce.sim.cluster import Feed, FeedSink, simulate
from actonce.sim.plan import Fault, Leave, Mix, Partition, Plan, Wipe, to_json
from actonce.sim.run import MakeAgent, Outcome, Run, Scenario, Work
from actonce.sim.world import SimWorld
from actonce_crdt import TAKEN, Json

from . import limited, planted_leases
from .limited import SETTINGS, Patch, about_limits
from .planted import only

SECONDS = 4.0
TASKS = 8
ALONE_S = 2.0
"""A restarted replica that finds nobody acts alone after this, so that a short day sees it; and ends soon."""
DRAIN_S = 2.0
"""Shorter than some handlers wait, so that some replicas leave without them."""
WIPED_S = 5.0
"""Where a disk was lost, its rights are, for ever: then nothing has to be done in the end, and this long is waited."""
WIPED = ("without an outcome", "acknowledged, and lost", "not everything was done", ": 0 rights were founded")
"""... nor is it a fault if the only replica lost everything that it knew."""
DAY_S, SKEW_S = 3.0, 0.5
"""A calendar day, and how far clocks may differ around its end."""

QUICK, FAR = (0.001, 0.06), (0.0, 0.45)
LIMITS: dict[str, tuple[tuple[float, float], dict[str, Any]]] = {
    "one": (QUICK, {"limit": 6, "per": 0.5}),
    "two": (QUICK, {"limit": 8, "per": 0.6, "tokens": 100}),
    "burst": (QUICK, {"limit": 12, "per": 1.0, "burst": 4}),
    "few": (QUICK, {"limit": 3, "per": 0.3}),
    "far": (FAR, {"limit": 5, "per": 0.6}),
    "budget": (QUICK, {"limit": (20, "day")}),
    "leased": (QUICK, {"limit": 8, "per": 1.0, "flight": 1.0, "reclaim": 2.5}),
}
"""By name: how long a request travels one way, and the limits."""

BETWEEN_S = (0.1, 0.7)
SHORT = Mix(pause_s=(0.05, 0.8), down_s=(0.0, 1.0), partition_s=(0.1, 3.0), cut_s=(0.1, 3.0))
"""No pause is longer than `flight`, for rights under a lease promise nothing then."""
CUTS = {"Partition": 4, "OneWay": 2, "CutLink": 2}
DAYS: dict[str, Mix] = {
    "everything": only(
        BETWEEN_S,
        SHORT,
        **{"Crash": 4, "Leave": 3, "Join": 3, "Pause": 2, "Suspend": 1, "SlowLink": 1, "SlowPeer": 1, "DropLink": 1},
        **{"Skew": 1, "Drift": 1, "SlowDisk": 2, "DiskFull": 1, "Wipe": 1},
        **CUTS,
    ),
    "churn": only(BETWEEN_S, SHORT, Crash=3, Leave=4, Join=3, Partition=2),
    "slow disks": only(BETWEEN_S, SHORT, Crash=3, SlowDisk=3, Leave=1, Partition=1),
    "cuts": only((0.2, 1.0), replace(SHORT, partition_s=(0.5, 5.0)), Crash=2, Leave=1, Drift=1, **CUTS),
    "clocks": only(BETWEEN_S, SHORT, Skew=3, Drift=2, Suspend=2, Crash=2, Partition=1),
}
ABSENT = replace(SHORT, partition_s=(3.0, 5.0), down_s=(2.8, 4.0))
LEASED_DAYS = only((0.6, 1.8), ABSENT, Crash=2, Pause=1, Leave=1, Vote=1, Partition=6)
"""Absences long enough for rights to be taken, and back again; and the roster changes."""


@dataclass
class Day:
    """What a seed is made of, and what it went through."""

    seed: int
    limits: str = ""
    kind: str = ""
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(f"{self.seed}/scarce")
        limits, kind = self.dice.choice(list(LIMITS)), self.dice.choice(list(DAYS))
        self.limits, self.kind = self.limits or limits, self.kind or kind

    def scenario(self) -> Scenario:
        leased = self.limits == "leased"
        replicas = self.dice.choice((3, 3, 4) if leased else (2, 3, 3, 4))
        return Scenario(
            replicas=(replicas, replicas),
            seconds=SECONDS + 4.0 * leased,
            tasks=TASKS * (3 if leased else 1),
            mix=LEASED_DAYS if leased else DAYS[self.kind],
            settings=replace(SETTINGS, start_alone_after_s=ALONE_S, drain_s=DRAIN_S),
            work=(Work("reply", payload),),
            voters=replicas if leased else None,
            one_host=self.dice.random() < 0.7,
        )

    def agent(self) -> MakeAgent:
        """A task is a few calls, one after the other, and a post; some report less than they estimated."""
        travel_s, quota = LIMITS[self.limits]

        def make(world: SimWorld, feed: Feed) -> Agent:
            agent = Agent("kevin")
            feed.provider.delay_s = travel_s
            agent.quota("llm", **{"flight": 0.5, **quota})
            agent.sink("room", FeedSink(feed, world))

            @agent.task("reply")
            async def reply(ctx: Context, payload: dict[str, Any]) -> Any:
                units = {"tokens": payload["tokens"]} if "tokens" in quota else {}
                for _ in range(payload["calls"]):
                    async with ctx.quota("llm", **units) as spend:
                        used = {"tokens": payload["used"]} if units else {}
                        await feed.provider.call(world, "llm", requests=1, **used)
                        spend.used(**used)
                await ctx.post("room", {"n": payload["n"]})
                return payload["n"]

            return agent

        return make


def payload(number: int) -> Json:
    tokens = 1 + (number * 7) % 40
    return {"n": number, "calls": 3 + number % 5, "tokens": tokens, "used": max(1, tokens - number % 3 * 5)}


class ScarceRun(Run):
    """A run that counts which faults met calls that waited."""

    def __init__(self, day: Day, plan: Plan | None) -> None:
        super().__init__(day.seed, day.scenario(), day.agent(), plan)
        self.counts = day.counts
        self.wiped = any(isinstance(fault, Wipe) for fault in self.plan)
        self.healed_at = 0.0

    def _heal(self) -> None:
        super()._heal()
        self.healed_at = self.cluster.loop.time()

    def _finished(self) -> bool:
        return super()._finished() or (self.wiped and self.cluster.loop.time() - self.healed_at > WIPED_S)

    async def _carry_out(self, fault: Fault) -> None:
        name = type(fault).__name__
        engines = self.cluster.live()
        self.counts[name] += 1
        self.counts[f"{name} while calls waited"] += any(e.quotas.pools["llm"].waiting for e in engines)
        await super()._carry_out(fault)
        if isinstance(fault, Leave | Partition):
            self.counts[f"{name} ended"] += 1

    def look_back(self) -> None:
        """What became of the rights, by the document in which all agree."""
        for engine in self.cluster.live()[:1]:
            for slot in engine.quotas.slots.values():
                gifts = slot.account.state().gifts
                self.counts["rights moved"] += sum(g.total for (a, b), g in gifts.items() if a != b)
                self.counts["rights moved late"] += sum(g.late for (a, b), g in gifts.items() if a != b)
                self.counts["rights reclaimed"] += sum(g.total for (a, _), g in gifts.items() if a.endswith(TAKEN))
                self.counts["holders"] += len(slot.account.state().holders)
        voted = [event.facts for event in self.cluster.history.of("voted")]
        self.counts["roster changes"] += sum(refusal == "None" for _, refusal in voted)
        self.counts["calls"] += len(self.cluster.feed.provider.calls)
        windows = [slot.account.resource for engine in self.cluster.live()[:1] for slot in engine.quotas.slots.values()]
        shortest = min(DAY_S if one.calendar else one.window_s for one in windows)
        self.counts["windows"] += int(self.cluster.loop.time() / shortest)


def run_day(seed: int, plan: Plan | None = None, limits: str = "", kind: str = "") -> tuple[Outcome, Day]:
    """One seed; with `plan`, `limits`, `kind` those instead of drawn ones."""
    logging.getLogger("actonce.handlers").setLevel(logging.CRITICAL)
    day = Day(seed, limits, kind)

    async def run() -> Outcome:
        made = ScarceRun(day, plan)
        outcome = await made.outcome()
        made.look_back()
        return outcome

    return simulate(run), day


def violations(outcome: Outcome, day: Day) -> list[str]:
    """All that is wrong with one seed."""
    excused = WIPED if any(isinstance(fault, Wipe) for fault in outcome.plan) else ()
    found = [text for text in about_limits(outcome) if not any(words in text for words in excused)]
    return [f"{text} ({day.limits}, {day.kind}, plan {to_json(outcome.plan)})" for text in found]


def totals_of(seeds: Iterable[int], limits: str = "") -> tuple[Counter[str], list[str]]:
    """What these seeds went through, and everything wrong with them."""
    totals: Counter[str] = Counter()
    wrong: list[str] = []
    with Patch.context() as patch:
        limited.short_days(patch, DAY_S, SKEW_S)
        for count, seed in enumerate(seeds):
            began_s = time.process_time()
            outcome, day = run_day(seed, limits=limits)
            if count % 10 == 9 and not gc.isenabled():
                gc.collect()
            found = violations(outcome, day)
            wrong += found
            totals.update(day.counts)
            totals.update({name: outcome.sometimes[name] for name in ("quota waits", "transfers", "takeovers")})
            totals.update({"seeds": 1, "wrong": bool(found), f"limits {day.limits}": 1, f"day {day.kind}": 1})
            totals["cpu_ms"] += round(1000 * (time.process_time() - began_s))
            totals["simulated_s"] += round(outcome.simulated_s)
    return totals, wrong


def first_found(name: str, seeds: Iterable[int], limits: str = "") -> tuple[int, list[str]] | None:
    """The first seed that finds a deliberate fault, and what it says."""
    fault = getattr(limited, name, None) or getattr(planted_leases, name)
    with Patch.context() as patch:
        fault(patch)
        for seed in seeds:
            _, wrong = totals_of([seed], limits)
            if any("llm/" in text for text in wrong):
                return seed, wrong
    return None


def run_days(seeds: range, jobs: int) -> tuple[Counter[str], list[str]]:
    """The same over several processes."""
    totals: Counter[str] = Counter()
    wrong: list[str] = []
    with ProcessPoolExecutor(jobs, initializer=begin) as workers:
        for some, texts in workers.map(totals_of, pieces(seeds, 20)):
            totals.update(some)
            wrong += texts
            for text in texts:
                print(text, file=sys.stderr, flush=True)
    return totals, wrong


def begin() -> None:
    """A worker: garbage is collected between some seeds, which is enough."""
    gc.freeze()
    gc.disable()


def pieces(seeds: range, size: int) -> Iterator[list[int]]:
    left = iter(seeds)
    while piece := list(islice(left, size)):
        yield piece


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.scarce", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--plant", metavar="FAULT", help="a function of limited.py or planted_leases.py")
    parser.add_argument("--limits", default="", choices=["", *LIMITS], help="with --plant: only these")
    parser.add_argument("--json", action="store_true", help="totals as one line of JSON")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    if options.plant:
        found = first_found(options.plant, seeds, options.limits)
        print(f"{options.plant}: seed {found[0]}: {found[1][0]}" if found else f"{options.plant}: not found")
        return 0 if found else 1
    totals, wrong = run_days(seeds, options.jobs)
    facts = {"first": seeds.start, "seeds": len(seeds), "wrong": len(wrong), "totals": dict(sorted(totals.items()))}
    print(json.dumps(facts) if options.json else "\n".join(f"{name}: {totals[name]}" for name in sorted(totals)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
