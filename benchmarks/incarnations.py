"""What a restart costs after many restarts: bytes until a replica is in step with its mesh, and how long that takes.

    python -m benchmarks.incarnations [--incarnations 10000] [--rounds 15] [--vectors] [--json]

Replica `a` has run so many times; each run appended a few entries and compacted the log, so the document holds so many
client ids and hardly anything else. Its journal is exported, and imported for `a` and for `b`. Then `b` is started, on
its journal, again and again; each time `a` has done a few tasks meanwhile. Real journals, sockets and engines; both
replicas in one process, on loopback; a process for each row of the table.

sync        from the moment when `b` listens and dials until it has settled: read all that `a` had, and been told so;
            and the CPU time of both replicas, which says more where a machine is busy
bytes       sent by both sides from the link on until then, tasks that were missing included
--vectors   once more with whole state vectors in place of fingerprints, as below `CLIENTS_FEW` client ids
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import actonce.comparing
from actonce import Agent, Context, Replica
from actonce.bench.naive import rss_bytes
from actonce.edge.transfer import import_journal, write_export
from actonce_crdt import Change, Cut, Document, Json, Mark, Rules, State, decode, encode, rewrite
from benchmarks.tables import conditions, table

AGENT = "often"
MISSED_TASKS = 10
"""Done by `a` while `b` is away."""
ENTRIES_A_RUN = 4
TIMEOUT_S = 60.0
FIGURES = ("handshake_bytes", "sync_ms", "sync_cpu_ms", "start_ms", "rss_mb")
HEADS = (
    *("process runs", "client ids", "handshake, bytes", "sync, ms", "CPU ms", "start, ms"),
    *("document, bytes", "state vector, bytes", "memory of both, MB"),
)


def make_past(runs: int) -> Document:
    """A replica that was started so many times: each run writes its entries and moves what is alive of the others."""
    random, document, state = Random(runs), Document("a", 1), State()
    rules, stamp = Rules(lambda task: 0, lambda task: False), 0

    def took(change: Change) -> None:
        for entry in change.added:
            state.add(entry.id, decode(entry.data))
        for entry_id in change.removed:
            state.remove(entry_id)

    for run in range(runs):
        document.client_id = random.getrandbits(53) | 1
        old = document.count("a")
        marks = [Mark(f"daily-{number}", stamp + number + 1, "a", run) for number in range(ENTRIES_A_RUN)]
        stamp += ENTRIES_A_RUN
        took(document.append([encode(mark) for mark in marks]))
        if old:
            made = rewrite(state, document.front("a", old), {}, document.client_id, rules, Cut("a", stamp, "a"))
            took(document.compact("a", old, made.entries))
    return document


def make_agent() -> Agent:
    agent = Agent(AGENT)

    @agent.task("note")
    async def note(ctx: Context, payload: Json) -> Json:
        return payload

    return agent


def make_journals(folder: Path, runs: int) -> dict[str, int]:
    """Journals of `a` and `b` on the same past; how large it is."""
    document = make_past(runs)
    file = folder / "past.export"
    write_export(file, {"agent": AGENT, "replica": "a", "id": "0" * 32}, [document.diff({})], [])
    for name in "ab":
        (folder / name).mkdir()
        import_journal(folder / name, file, agent=AGENT, replica=name)
    return {"document_bytes": len(document.diff({})), "state_vector_bytes": len(document.encoded_state_vector())}


async def measure(runs: int, rounds: int) -> dict[str, Any]:
    """Medians over `rounds` restarts of `b`."""
    with tempfile.TemporaryDirectory(prefix="actonce-incarnations-") as place:
        folder = Path(place)
        sizes = json.loads(in_process("--make", str(folder), "--incarnations", str(runs)))
        found: dict[str, list[float]] = {figure: [] for figure in FIGURES}
        async with Replica(make_agent(), name="a", data=folder / "a", listen="127.0.0.1:0", new=True) as a:
            await a.settled()
            for number in range(rounds + 1):
                for task in range(MISSED_TASKS):
                    await (await a.submit("note", task, key=f"{number}/{task}")).result(TIMEOUT_S)
                for figure, value in (await restart(a, folder / "b")).items():
                    found[figure].append(value)
                gc.collect()
            clients = await a.inspect(lambda engine: engine.ledger.document.client_count)
    # The first start of b has all tasks to read that a did before it, and nothing is warm.
    medians = {figure: statistics.median(values[1:]) for figure, values in found.items()}
    medians["rss_mb"] = found["rss_mb"][0]  # what ended leaves holes behind
    rounded = {figure: round(value, 2) for figure, value in medians.items()}
    return {"incarnations": runs, "client_ids": clients, **rounded, **sizes}


async def restart(a: Replica, data: Path) -> dict[str, float]:
    before = await a.inspect(lambda engine: engine.gossip.counts["bytes_sent"])
    began = time.perf_counter()
    async with Replica(make_agent(), name="b", data=data, listen="127.0.0.1:0", join=[a.address]) as b:
        listens, cpu = time.perf_counter(), time.process_time()
        async with asyncio.timeout(TIMEOUT_S):
            await b.settled()
            synced, cpu = time.perf_counter(), time.process_time() - cpu
            while (await digest(a)) != (await digest(b)):  # noqa: ASYNC110 - of other threads
                await asyncio.sleep(0.001)
        sent = [await one.inspect(lambda engine: engine.gossip.counts["bytes_sent"]) for one in (a, b)]
    return {
        "handshake_bytes": sum(sent) - before,
        "sync_ms": (synced - listens) * 1000,
        "sync_cpu_ms": cpu * 1000,
        "start_ms": (listens - began) * 1000,
        "rss_mb": rss_bytes() / 1e6,
    }


async def digest(replica: Replica) -> bytes:
    return await replica.inspect(lambda engine: engine.ledger.document.digest)


def rows_of(found: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """The table, and what the longest past costs beside the shortest."""
    cells = [
        (
            f"{one['incarnations']:,}{note}",
            *(f"{one[key]:,}" for key in ("client_ids", "handshake_bytes")),
            *(f"{one[key]:.1f}" for key in ("sync_ms", "sync_cpu_ms", "start_ms")),
            *(f"{one[key]:,}" for key in ("document_bytes", "state_vector_bytes")),
            f"{one['rss_mb']:.0f}",
        )
        for note, one in found
    ]
    return table(HEADS, cells)


def one_process(runs: int, rounds: int, *, vectors: bool = False) -> dict[str, Any]:
    """The same in a process of its own."""
    options = ["--one", "--incarnations", str(runs), "--rounds", str(rounds), *(["--vectors"] if vectors else [])]
    figures: dict[str, Any] = json.loads(in_process(*options))
    return figures


def in_process(*options: str) -> str:
    """What this command prints."""
    command = [sys.executable, "-m", "benchmarks.incarnations", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compare(runs: int, rounds: int, *, vectors: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """One run, many runs, in turn, in one go; and their ratio."""
    found = []
    for count, note in ((1, ""), (runs, ""), *(((runs, ", whole state vectors"),) if vectors else ())):
        say(f"{count:,} process runs{note}")
        found.append((note, one_process(count, rounds, vectors=bool(note))))
    few, many = found[0][1], found[1][1]
    return {
        "rows": found,
        "handshake_bytes": many["handshake_bytes"],
        "sync_ratio": round(many["sync_ms"] / few["sync_ms"], 3),
        "sync_cpu_ratio": round(many["sync_cpu_ms"] / few["sync_cpu_ms"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incarnations", type=int, default=10_000, help="process runs of a before it is measured")
    parser.add_argument("--rounds", type=int, default=15, help="restarts of b; medians of these")
    parser.add_argument("--vectors", action="store_true", help="also with whole state vectors, for comparison")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.incarnations < 1 or options.rounds < 1:
        parser.error("--incarnations and --rounds are 1 or more")
    if options.make:
        print(json.dumps(make_journals(options.make, options.incarnations)))
        return
    if options.one:
        if options.vectors:
            actonce.comparing.CLIENTS_FEW = actonce.comparing.NEWS_MAX = 10**9
        print(json.dumps(asyncio.run(measure(options.incarnations, options.rounds))))
        return
    where = conditions(options.rounds)
    found = compare(
        options.incarnations, options.rounds, vectors=options.vectors, say=lambda text: print(text, file=sys.stderr)
    )
    if options.json:
        print(json.dumps({"where": where, **found}))
        return
    print("\n".join((where, "", *rows_of(found["rows"]))))
    ratios = f"{found['sync_ratio']} times as long, {found['sync_cpu_ratio']} times the CPU"
    print(f"\nsync after {options.incarnations:,} process runs, beside 1: {ratios}")


if __name__ == "__main__":
    main()
