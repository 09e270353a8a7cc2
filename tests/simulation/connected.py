"""Bad days without a single cut: replicas join, leave, crash, are stopped, sleep, are overloaded, have wrong clocks.

No link is ever cut or slowed down, so "once" has no exception: nothing is lost, and nothing is done twice. Even
seeds post to a feed that can be asked; odd ones to one that cannot, where an effect may be missing, if it is listed as
a doubt. Two to seven replicas, rather few than many; few slots or many; on one host, whose process table proves a
death, or each on its own.

    python -m tests.simulation.connected [--first 1] [--seeds 100]      # prints totals as one line of JSON
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio

from actonce.agent import Agent
from actonce.context import Context
from actonce.settings import LAN
from actonce.sim.cluster import Feed, simulate
from actonce.sim.plan import Mix, Plan, to_json
from actonce.sim.run import MakeAgent, Outcome, Run, Scenario, Work
from actonce.sim.world import SimWorld
from actonce_crdt import Json

from .planted import TRAVEL_S, ConnectingSink, only

FAULTS = {"Crash": 5, "Pause": 4, "Suspend": 2, "Leave": 3, "Join": 3, "Burst": 1, "Skew": 1, "Drift": 1, "SlowDisk": 1}
MIX = Mix(pause_s=(0.05, 3.5), down_s=(0.0, 2.5))
SECONDS = 5.0
TASKS = 16
SLOTS = (2, 8, 32)
LARGEST = (2, 3, 4, 5, 7)
DELAYS_S = ((0.0002, 0.005), (0.005, 0.08), (0.02, 0.2))
WORK_S = (0.02, 0.1, 0.5, 2.0)
CONNECT_S = (0.02, 0.2, 1.0)
"""How long an effect whose intent is known waits, at most, before the gate."""


def agent_maker(*, can_lookup: bool) -> MakeAgent:
    """Work, with a step in every third task; then one post, or two."""

    def make(world: SimWorld, feed: Feed) -> Agent:
        agent = Agent("kevin")
        agent.sink("room", ConnectingSink(feed, world, can_lookup=can_lookup))
        feed.delay_s = TRAVEL_S

        @agent.task("reply")
        async def reply(ctx: Context, payload: dict[str, Any]) -> Any:
            if payload["n"] % 3 == 0:
                await ctx.step("think", anyio.sleep, world.rng.uniform(0.0, payload["work_s"]))
            else:
                await anyio.sleep(world.rng.uniform(0.0, payload["work_s"]))
            for part in range(payload["posts"]):
                await ctx.post("room", {"n": payload["n"], "part": part, "connect_s": payload["connect_s"]})
            return payload["n"]

        return agent

    return make


def payload(number: int) -> Json:
    connect_s = CONNECT_S[number % len(CONNECT_S)]
    return {"n": number, "work_s": WORK_S[number % len(WORK_S)], "connect_s": connect_s, "posts": 1 + (number % 5 == 0)}


def scenario(seed: int) -> Scenario:
    """What this seed is made of, besides its faults."""
    dice = random.Random(f"{seed}/scenario")
    return Scenario(
        replicas=(2, dice.choice(LARGEST)),
        seconds=SECONDS,
        tasks=TASKS,
        mix=only((0.1, 0.8), MIX, **FAULTS),
        delay_s=dice.choice(DELAYS_S),
        settings=replace(LAN, slots=dice.choice(SLOTS)),
        work=(Work("reply", payload),),
        one_host=dice.random() < 0.5,
    )


async def one_day(seed: int, plan: Plan | None = None) -> tuple[Outcome, Counter[str]]:
    """One seed: what the checkers say, and what became of each task, counted here by what reached the feed."""
    run = Run(seed, scenario(seed), agent_maker(can_lookup=seed % 2 == 0), plan)
    outcome = await run.outcome()
    return outcome, count(run)


def count(run: Run) -> Counter[str]:
    """Of all acknowledged tasks: lost, doubled, missing but listed."""
    posts = Counter(run.cluster.feed.keys())
    state = run.cluster.live()[0].ledger.state
    counts = Counter(doubled=sum(posts.values()) - len(posts))
    for task in set(run.cluster.acknowledged):
        known = state.tasks.get(task)
        number = int(task.rpartition("/m")[2])
        if known is not None and known.done is not None and known.done.how == "aside":
            counts["set_aside"] += 1  # by rule, after three processes died with it; `actonce dead list` names it
            continue
        for part in range(1 + (number % 5 == 0)):
            key = f"{task}/#{part + 1}"
            effect = state.effects.get(key)
            listed = effect is not None and effect.doubt is not None and effect.doubt.settled == "skipped"
            if not posts[key]:
                counts["skipped" if listed else "lost"] += 1
    return counts


def violations(outcome: Outcome, counts: Counter[str]) -> list[str]:
    """All that is wrong with one seed."""
    found = list(outcome.violations)
    found += [f"{counts[name]} {name}" for name in ("lost", "doubled") if counts[name]]
    if outcome.seed % 2 == 0 and counts["skipped"]:
        found.append(f"{counts['skipped']} skipped, though the feed can be asked")
    return [f"seed {outcome.seed}: {text} (plan {to_json(outcome.plan)})" for text in found]


def run_days(seeds: range, told: Callable[[str], None]) -> dict[str, Any]:
    """Totals of these seeds. `told` gets each violation as it is found."""
    began_s = time.process_time()
    totals: dict[str, Counter[str]] = {"asked": Counter(), "unasked": Counter()}
    sometimes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    wrong = 0
    for seed in seeds:
        outcome, counts = simulate(lambda seed=seed: one_day(seed))  # type: ignore[misc]
        found = violations(outcome, counts)
        wrong += bool(found)
        for text in found:
            told(text)
        total = totals["asked" if seed % 2 == 0 else "unasked"]
        total.update(seeds=1, acknowledged=outcome.acknowledged, posts=outcome.posts, doubts=outcome.doubts)
        total.update(lost=counts["lost"], doubled=counts["doubled"], skipped=counts["skipped"])
        total.update(set_aside=counts["set_aside"])
        sometimes.update(outcome.sometimes)
        faults.update(type(fault).__name__ for fault in outcome.plan)
    return {
        "first": seeds.start,
        "seeds": len(seeds),
        "wrong": wrong,
        **{name: dict(total) for name, total in totals.items()},
        "faults": dict(sorted(faults.items())),
        "sometimes": {name: sometimes[name] for name in sorted(sometimes) if sometimes[name]},
        "cpu_s": round(time.process_time() - began_s, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.connected", description=__doc__)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    found = run_days(range(options.first, options.first + options.seeds), lambda text: print(text, file=sys.stderr))
    print(json.dumps(found))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
