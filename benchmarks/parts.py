"""What `python -m benchmarks` measures: each part is a function of the number of runs, to lines of Markdown."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from benchmarks import incarnations as often
from benchmarks.rivals.catalog import OURS, RIVALS, Rival
from benchmarks.rivals.measure import measure_speed, measure_takeover
from benchmarks.rivals.servers import Missing
from benchmarks.rivals.stage import TROUBLE, versions
from benchmarks.tables import conditions, spread, table

FLOOD_S, TRICKLE_TASKS, TRICKLE_RATE = 2.0, 100, 50.0
TAKEOVER_LIMIT_S = 65.0
AT_ONCE = 6
"""Takeovers that are waited for at once: they take seconds, and hardly any CPU."""
PLOT, GROWTH_PLOT = "convergence.png", "growth.png"
GROWTH_ROWS = 10
PROCESS_RUNS, RESTARTS = 10_000, 15

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """Of one run of everything."""

    runs: int
    folder: Path
    """Where pictures go."""
    say: Say
    rivals: Sequence[Rival] = RIVALS
    growth: Sequence[str] = ()
    """Further options of `actonce bench growth`."""


class NotMeasured(Exception):
    """A part has no figures; the message says why."""


def speed(options: Options) -> list[str]:
    """Throughput, CPU and latency, ours and all rivals."""
    where, rows = conditions(options.runs), list[Sequence[str]]()
    for rival in options.rivals:
        options.say(f"speed: {rival.name}")
        try:
            found = anyio.run(_speed_of, rival, options.runs)
        except TROUBLE as error:
            options.say(str(error))
            why = str(error) if isinstance(error, Missing) else "did not get there in time"
            rows.append((rival.name, f"not measured: {why}", "", "", "", rival.settings))
            continue
        figures = [spread(found, *which) for which in (("tasks_per_s", 0), ("cpu_s_per_1000", 2))]
        waits = [spread(found, f"start_{part}_ms", 2) for part in ("p50", "p99")]
        rows.append((_versioned(rival), *figures, *waits, rival.settings))
    heads = (
        *("", "tasks/s, enqueue while draining", "CPU s per 1,000 tasks, all processes"),
        *("submit to start at 50/s, p50 ms", "p99 ms", "settings"),
    )
    return [_repeat("python -m benchmarks --only speed", where), "", *table(heads, rows)]


async def _speed_of(rival: Rival, runs: int) -> dict[str, Any]:
    return await measure_speed(rival, runs=runs, seconds=FLOOD_S, tasks=TRICKLE_TASKS, rate=TRICKLE_RATE)


def takeover(options: Options) -> list[str]:
    """From kill -9 of a worker at work until another begins its task, ours and all rivals."""
    where = conditions(1)
    compared = [rival for rival in options.rivals if rival.takeover]
    options.say(f"takeover: {len(compared)} systems, {AT_ONCE} at a time")
    found = anyio.run(_takeovers, compared, options)
    rows = []
    for rival in compared:
        cells = [f"{found[rival.key, False]}: {rival.documented}", f"{found[rival.key, True]}: {rival.fastest}"]
        rows.append((rival.name, *cells))
    heads = ("", "as documented", "at the fastest setting that makes sense")
    return [_repeat("python -m benchmarks --only takeover", where), "", *table(heads, rows)]


async def _takeovers(rivals: Sequence[Rival], options: Options) -> dict[tuple[str, bool], str]:
    free, found = asyncio.Semaphore(AT_ONCE), dict[tuple[str, bool], str]()

    async def one(rival: Rival, fast: bool) -> None:
        async with free:
            try:
                took_s = (await measure_takeover(rival, fast=fast, limit_s=TAKEOVER_LIMIT_S))["takeover_s"]
                found[rival.key, fast] = f"{took_s:.2f} s" if took_s is not None else f"not in {TAKEOVER_LIMIT_S:g} s"
            except TROUBLE as error:
                options.say(str(error))
                found[rival.key, fast] = "not measured"
            options.say(f"takeover: {rival.name}{', fastest' if fast else ''}: {found[rival.key, fast]}")

    quiet = [rival for rival in rivals if rival is OURS]  # milliseconds: nothing else may run beside them
    for rival in quiet:
        await one(rival, False)
        found[rival.key, True] = found[rival.key, False]
    jobs = [(rival, fast) for rival in rivals if rival not in quiet for fast in (False, True)]
    await asyncio.gather(*(one(rival, fast) for rival, fast in jobs))
    return found


def own_speed(options: Options) -> list[str]:
    """`actonce bench throughput` and `latency`."""
    where = conditions(options.runs)
    flow, wait = ("throughput", "--runs", str(options.runs)), ("latency", "--runs", str(options.runs))
    fast, soon = _actonce(options, *flow), _actonce(options, *wait)
    rows = [
        ("tasks/s", spread(fast, "tasks_per_s")),
        ("CPU s per 1,000 tasks, all processes", spread(fast, "cpu_s_per_1000", 3)),
        *(
            (f"{what}, p50 / p99, ms", " / ".join(spread(soon, f"{name}_{part}_ms", 2) for part in ("p50", "p99")))
            for what, name in (
                ("submit to start at 50/s", "started"),
                ("submit returns", "returned"),
                ("heard by all replicas, to start at 50/s", "heard"),
            )
        ),
    ]
    commands = " and ".join(f"actonce bench {' '.join(one)}" for one in (flow, wait))
    return [_repeat(commands, where), "", *table(("three replicas", "value"), rows)]


def failover(options: Options) -> list[str]:
    """`actonce bench failover`."""
    where, command = conditions(1), ("failover", "--seed", "7")
    found = _actonce(options, *command)
    rows = []
    again = ("again", "killed, not for the first time with this task")
    kinds = (("certain", "killed"), again, ("stopped", "stopped"), ("vanished", "vanished with its machine"))
    for name, what in kinds:
        if not found[f"{name}_n"]:
            continue
        times = [f"{found[f'{name}_{part}_s']:.3f} s" for part in ("p50", "p99", "max")]
        rows.append((f"{what}, until a survivor's handler begins ({found[f'{name}_n']} tasks)", *times))
    counts = ", ".join(f"{found[name]} {name}" for name in ("messages", "lost", "doubled", "doubts"))
    made = table(("", "p50", "p99", "largest"), rows)
    return [_repeat(f"actonce bench {' '.join(command)}", where), "", *made, "", f"Counts: {counts}."]


def convergence(options: Options) -> list[str]:
    """`actonce bench convergence`: simulated, large, real."""
    where = conditions(1)
    sweep = ["convergence", "--replicas", "2,3,5,10", "--partition", "4s", "--seeds", "3"]
    plot, picture = _picture(options, PLOT, "time to heal, and traffic")
    shapes = [
        (sweep, _actonce(options, *sweep, *plot)["sweep"]),
        *(
            (command, [_actonce(options, *command)])
            for command in (
                ["convergence", "--entries", "100000", "--seeds", "1"],
                ["convergence", "--real", "--partition", "4s", "--seeds", "2"],
            )
        ),
    ]
    rows = []
    for command, found in shapes:
        sort = "real" if "--real" in command else "simulated"
        for row in found:
            heal = f"{row['heal_p50_s'] * 1000:.1f} / {row['heal_p99_s'] * 1000:.1f}"
            limit = f"{row['limit_s'] * 1000:.2f} ({row['ratio_p50']:.1f} x)"
            wire = f"{row['idle_bytes_per_s_per_link']:,}", f"{row['bytes_per_task']:,} ({row['facts_per_task']:,})"
            rows.append((f"{row['replicas']}, {sort}", f"{row['missing_entries']:,}", heal, limit, *wire, _counts(row)))
    heads = (
        *("replicas", "entries missing on a side", "heal to equal digests, p50 / p99 ms", "limit ms (heal / limit)"),
        *("a link, idle, bytes/s", "a task, bytes to each other replica (its facts)", "lost, doubled (allowed)"),
    )
    commands = "; ".join(f"actonce bench {' '.join(command)}" for command, _ in shapes)
    return [_repeat(commands, where), "", *table(heads, rows), *picture]


def _counts(row: Mapping[str, Any]) -> str:
    return f"{row['lost']}, {row['doubled']} ({row['doubled_bound']})"


def growth(options: Options) -> list[str]:
    """`actonce bench growth`: the unchanged engine in virtual time, beside one key for each task."""
    where, command = conditions(1), ["growth", *options.growth]
    plot, picture = _picture(options, GROWTH_PLOT, "document, journal and memory by tasks done")
    found = _actonce(options, *command, *plot)
    heads = (
        *("tasks done", "document, KB", "journal, KB", "tasks remembered", "memory of three replicas, MB"),
        *("one key a task: document, KB", "its memory, three documents, MB"),
    )
    units = (
        *(("tasks", 1), ("document_bytes", 1e3), ("journal_bytes", 1e3), ("remembered", 1), ("rss_bytes", 1e6)),
        *(("naive_bytes", 1e3), ("naive_rss_bytes", 1e6)),
    )
    shown = found["rows"][:: -max(1, len(found["rows"]) // GROWTH_ROWS)][::-1]
    rows = [[f"{row[name] / unit:,.{int(unit == 1e6)}f}" for name, unit in units] for row in shown]
    slopes = (
        f"Memory over the second half: {found['rss_slope_bytes_per_task']:,.2f} bytes a task (two standard errors: "
        f"{found['rss_noise_bytes_per_task']:,.2f}), one key a task {found['naive_rss_slope_bytes_per_task']:,.2f}. "
        f"CPU a task, all three: {found['cpu_ms_per_task'][0]:.2f} ms in the first half, "
        f"{found['cpu_ms_per_task'][1]:.2f} ms in the second."
    )
    return [_repeat(f"actonce bench {' '.join(command)}", where), "", *table(heads, rows), "", slopes, *picture]


def _picture(options: Options, name: str, what: str) -> tuple[list[str], list[str]]:
    """The option that draws a picture, and the line that shows it; nothing without matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        options.say("no picture: matplotlib is not installed: pip install 'actonce[bench]'")
        return [], []
    return ["--plot", str(options.folder / name)], ["", f"![{what}]({name})"]


def incarnations(options: Options) -> list[str]:
    """`python -m benchmarks.incarnations`."""
    where = conditions(RESTARTS)
    found = often.compare(PROCESS_RUNS, RESTARTS, vectors=True, say=options.say)
    command = f"python -m benchmarks.incarnations --incarnations {PROCESS_RUNS} --rounds {RESTARTS} --vectors"
    return [_repeat(command, where), "", *often.rows_of(found["rows"])]


def quota(options: Options) -> list[str]:
    """`python -m benchmarks.quota`."""
    options.say("quota")
    where = conditions(1)
    runs = _run([sys.executable, "-m", "benchmarks.quota", "--json"])
    rows = [[name.replace("_", " "), *(json.dumps(run[name]) for run in runs)] for name in runs[0] if name != "run"]
    return [_repeat("python -m benchmarks.quota", where), "", *table(("", *(run["run"] for run in runs)), rows)]


def _actonce(options: Options, *arguments: str) -> dict[str, Any]:
    options.say(f"actonce bench {' '.join(arguments)}")
    return _run([sys.executable, "-m", "actonce", "bench", *arguments, "--json"])[-1]


def _run(command: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of JSON that it prints.

    Raises:
        NotMeasured: it failed; its last words.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise NotMeasured(f"{' '.join(command[2:])}: {said}")
    return [json.loads(line) for line in lines]


def _versioned(rival: Rival) -> str:
    found = ", ".join(f"{name} {number}" for name, number in versions(rival).items())
    return f"{rival.name} ({found or 'this checkout'})"


def _repeat(command: str, where: str) -> str:
    return f"`{command}`. {where}"


PARTS: dict[str, Callable[[Options], list[str]]] = {
    "speed": speed,
    "takeover": takeover,
    "own": own_speed,
    "failover": failover,
    "convergence": convergence,
    "growth": growth,
    "incarnations": incarnations,
    "quota": quota,
}
