"""Many seeds at once, over worker processes; and the check that a seed means the same in each of them.

A worker is `python -m actonce.sim.batch`: one JSON line with the order on its standard input, one JSON line a seed on
its output. Workers get different PYTHONHASHSEEDs, and the first seeds run on all of them: a trace that differs shows a
handler (or a bug of ours) that depends on something that the simulation does not control.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from actonce.errors import ConfigError
from actonce.loading import load_agent
from actonce.sim.adopt import Adopted, left_out, work_of
from actonce.sim.plan import Mix, Plan, from_json, to_json
from actonce.sim.run import Outcome, Scenario, run_seed
from actonce_crdt import Json

COLLECT_EACH_S = 1.0
"""Of CPU: no seed makes so much garbage in it that it matters."""

SAMPLE = 3
"""Seeds that every worker runs."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to simulate. JSON-like, for it goes to other processes."""

    target: str
    """MODULE:AGENT or path/file.py:AGENT."""
    replicas: tuple[int, int] = (3, 3)
    seconds: float = 60.0
    tasks: int = 30
    loss: float = 0.0
    weights: tuple[tuple[str, int], ...] = Mix().weights
    partition_s: tuple[float, float] = Mix().partition_s
    payloads: dict[str, Json] = field(default_factory=dict)
    plan: str | None = None


@dataclass(slots=True)
class Summary:
    """Totals over seeds."""

    seeds: int = 0
    failing: dict[int, list[str]] = field(default_factory=dict)
    plans: dict[int, str] = field(default_factory=dict)
    """Plans of failing seeds."""
    traces: dict[int, str] = field(default_factory=dict)
    nondeterministic: dict[int, str] = field(default_factory=dict)
    """Seeds whose trace differed between processes, with the first event that did."""
    totals: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    simulated_s: float = 0.0
    took_s: float = 0.0
    """Real time, of all workers together."""
    heal_s_max: float = 0.0
    wait_s_max: float = 0.0
    left_out: list[str] = field(default_factory=list)
    """Kinds of which no task was submitted."""

    @property
    def trace(self) -> str:
        """One hash over the traces of all seeds."""
        return hashlib.sha256(json.dumps(sorted(self.traces.items())).encode()).hexdigest()


def scenario(order: Order) -> tuple[Scenario, Adopted, Plan | None]:
    """What an order means, in this process.

    Raises:
        ConfigError: the agent cannot be loaded, or there is nothing to submit.
    """
    agent = load_agent(order.target)
    mix = Mix(weights=order.weights, partition_s=order.partition_s)
    made = Scenario(
        replicas=order.replicas,
        seconds=order.seconds,
        tasks=order.tasks,
        mix=mix,
        loss=order.loss,
        work=work_of(agent, order.payloads),
    )
    return made, Adopted(agent), from_json(order.plan) if order.plan is not None else None


def run_batch(order: Order, seeds: range, jobs: int, progress: Callable[[Summary], None]) -> Summary:
    """Run all seeds on `jobs` processes. `progress` is called after each.

    Raises:
        ConfigError: the order cannot be carried out; a worker failed.
    """
    scenario(order)  # errors of the user are found here, once
    shares = [[*seeds[:SAMPLE], *seeds[SAMPLE + job :: jobs]] for job in range(max(jobs, 2 if seeds else 0))]
    if jobs == 1:
        shares = [list(seeds), list(seeds[:SAMPLE])]
    summary, seen, began = Summary(), dict[int, dict[str, Any]](), time.monotonic()
    for line in _work(order, [share for share in shares if share]):
        seed = int(line["seed"])
        if seed in seen:
            if line["trace"] != seen[seed]["trace"]:
                summary.nondeterministic[seed] = _first_difference(seen[seed]["events"], line["events"])
            continue
        seen[seed] = line
        _add(summary, line)
        summary.took_s = time.monotonic() - began
        progress(summary)
    return summary


def _add(summary: Summary, line: dict[str, Any]) -> None:
    seed = int(line["seed"])
    summary.seeds += 1
    summary.traces[seed] = line["trace"]
    if line["violations"]:
        summary.failing[seed] = line["violations"]
        summary.plans[seed] = line["plan"]
    for name in ("tasks", "acknowledged", "posts", "doubled", "doubts"):
        summary.totals[name] += line[name]
    summary.sometimes.update(line["sometimes"])
    summary.simulated_s += line["simulated_s"]
    summary.heal_s_max = max(summary.heal_s_max, line["heal_s"])
    summary.wait_s_max = max(summary.wait_s_max, line["wait_s"])
    summary.left_out = line["left_out"]


def _first_difference(one: list[str], other: list[str]) -> str:
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            named = re.search(r"'([^'/]+)/", mine) or re.search(r"'([^'/]+)/", theirs)
            culprit = f"look at the handler of {named[1]!r}; " if named else ""
            return f"{culprit}two runs differ first in\n  {mine}\n  {theirs}"
    return "one run is longer than the other"


def _work(order: Order, shares: list[list[int]]) -> Iterator[dict[str, Any]]:
    """Lines of all workers as they come."""
    lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    workers = []
    for number, share in enumerate(shares):
        # What this process can import, its workers can: also when it runs from a checkout.
        path = os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONHASHSEED": str(number + 1), "PYTHONPATH": path}
        worker = subprocess.Popen(
            [sys.executable, "-m", "actonce.sim.batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        workers.append(worker)
        text = json.dumps({"order": asdict(order), "seeds": share})
        Thread(target=_read, args=(worker, text, lines), daemon=True).start()
    try:
        left = len(workers)
        while left:
            line = lines.get()
            if line is None:
                left -= 1
            else:
                yield line
        if any(worker.wait() for worker in workers):
            raise ConfigError("a worker process of the simulation failed; what it said is above")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _read(worker: subprocess.Popen[str], text: str, lines: SimpleQueue[dict[str, Any] | None]) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    with worker.stdin, worker.stdout:
        worker.stdin.write(text)
        worker.stdin.close()
        for line in worker.stdout:
            if line.startswith("{"):  # handlers may print
                lines.put(json.loads(line))
    lines.put(None)


def describe(outcome: Outcome, *, events: bool) -> dict[str, Any]:
    """One seed as JSON."""
    facts = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    return facts | {"plan": to_json(outcome.plan), "events": outcome.events if events else []}


def main() -> None:
    """A worker."""
    job = json.load(sys.stdin)
    order = Order(**job["order"])
    made, make_agent, plan = scenario(order)
    gc.freeze()
    gc.disable()  # now and then, between seeds, is enough: a tenth of the time, and half of it where seeds are short
    collected = time.process_time()
    for number, seed in enumerate(job["seeds"]):
        outcome = run_seed(seed, made, make_agent, plan)
        if time.process_time() - collected > COLLECT_EACH_S:
            gc.collect()
            collected = time.process_time()
        line = describe(outcome, events=number < SAMPLE) | {"left_out": left_out(make_agent.agent, order.payloads)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
