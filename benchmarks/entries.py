"""What one entry costs to take in, in CPU, beside what the library alone takes for it.

    python -m benchmarks.entries [--entries 20000] [--runs 5] [--json]

A document of tasks, each with a claim, an effect, its receipt and an outcome, is taken in by a fresh replica in the
steps of a heal or a join: `raw` is pycrdt's apply of the whole update, without any check; `integrate` is ours (parse,
check, write anew, apply, digest); `decode` makes records of the entries, `fold` adds them to a state. Microseconds an
entry, medians of the runs, all in one process; the ratios are to `raw` of the same run, and survive a busy machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

from pycrdt import Doc

from actonce_crdt import Claim, Document, Done, Entry, Intent, Receipt, Record, State, Task, decode, encode, pack_value

KINDS = ("Task", "Claim", "Intent", "Receipt", "Done")
STAMP = 1_700_000_000_000 << 16
INCARNATION = 1_700_000_000_123


def life(number: int) -> list[Record]:
    """The entries of one task, done by one replica."""
    task, stamp = f"reply/message-{number}", STAMP + 5 * number
    effect = f"{task}/#1"
    body = pack_value({"text": "an answer of some length"})
    return [
        Task(task, stamp, "node-1", "reply", pack_value({"n": number, "text": "a question of some length"})),
        Claim(task, stamp + 1, "node-1", 7, INCARNATION),
        Intent(effect, stamp + 2, "node-1", task, 7, "room", body),
        Receipt(effect, stamp + 3, "node-1", 7, pack_value({"id": number})),
        Done(task, stamp + 4, "node-1", 7, True, pack_value(None)),
    ]


def measure(entries: int, runs: int) -> dict[str, Any]:
    """Medians over the runs."""
    lives = max(1, entries // len(KINDS))
    writer = Document("node-1", 1)
    writer.append([encode(record) for number in range(lives) for record in life(number)])
    update = writer.diff({})
    found = [_run(update) for _ in range(runs)]
    costs = {name: median(run[name] for run in found) for name in found[0]}
    parts = ("integrate", "decode", "fold")
    ratios = {name: median(run[name] / run["raw"] for run in found) for name in parts}
    ratios["all"] = median(sum(run[name] for name in parts) / run["raw"] for run in found)
    return {
        "entries": lives * len(KINDS),
        "bytes": len(update),
        "runs": runs,
        "us_an_entry": {name: round(cost * 1e6, 3) for name, cost in costs.items()},
        "times_raw": {name: round(ratio, 2) for name, ratio in ratios.items()},
    }


def _run(update: bytes) -> dict[str, float]:
    """Seconds an entry, of each step."""
    raw: Doc[Any] = Doc()
    raw_s = _timed(lambda: raw.apply_update(update))
    reader, added = Document("node-2", 2), list[Entry]()
    integrate_s = _timed(lambda: added.extend(reader.integrate(update).added))
    found = {"raw": raw_s / len(added), "integrate": integrate_s / len(added)}
    state, sorts = State(), [added[at :: len(KINDS)] for at in range(len(KINDS))]
    for kind, some in zip(KINDS, sorts, strict=True):
        records = list[Record]()
        found[f"decode {kind}"] = _timed(partial(_decode, some, records)) / len(some)
        found[f"fold {kind}"] = _timed(partial(_fold, state, some, records)) / len(some)
    for part in ("decode", "fold"):
        found[part] = sum(found[f"{part} {kind}"] for kind in KINDS) / len(KINDS)
    return found


def _decode(some: Sequence[Entry], records: list[Record]) -> None:
    for entry in some:
        records.append(decode(entry.data))  # noqa: PERF401 - one at a time, as in life


def _fold(state: State, some: Sequence[Entry], records: Sequence[Record]) -> None:
    for entry, record in zip(some, records, strict=True):
        state.add(entry.id, record)


def _timed(call: Callable[[], object]) -> float:
    gc.collect()  # the garbage of the step before is not ours
    began = time.thread_time()
    call()
    return time.thread_time() - began


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.entries", description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=20_000, help="in the document (default 20000)")
    parser.add_argument("--runs", type=int, default=5, help="medians of so many (default 5)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args()
    if options.entries < 1 or options.runs < 1:
        parser.error("--entries and --runs are at least 1")
    found = measure(options.entries, options.runs)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['entries']:,} entries, {found['bytes']:,} bytes, medians of {found['runs']} runs")
    for name, cost in found["us_an_entry"].items():
        times = found["times_raw"].get(name)
        print(f"{name:16} {cost:8.3f} us an entry{f'   {times:6.2f} x raw' if times is not None else ''}")
    print(f"{'all':16} {'':20}   {found['times_raw']['all']:6.2f} x raw")


if __name__ == "__main__":
    main()
