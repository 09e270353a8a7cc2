"""The fault lab: real replicas, each in a network namespace, on a wire that we hold in our hands.

    python -m tests.lab [--long] [--rate 30] [--seed 1] [--folder DIR]

Prints what happens, at the end one line of JSON. Exit status: 0, 1 for any violation, 75 where this machine does not
let us make network namespaces: then nothing was tested, and a line says so.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab.namespaces import Node, Unavailable, isolate, nodes
from tests.lab.stage import NAMES, Stage
from tests.lab.story import LONG, SHORT, Lengths, Story

from actonce.errors import ActonceError

NOT_RUN = 75
"""EX_TEMPFAIL of sysexits(3)."""
WORK_S = 0.1
HOUR_S = 3600
SKEWED = "c"


async def lab(folder: Path, hosts: Sequence[Node], lengths: Lengths, rate: float, seed: int) -> Story:
    """One run."""
    environment = {"ACTONCE_BENCH_WORK_S": str(WORK_S), "ACTONCE_BENCH_ASKABLE": "0"}
    stage = Stage(folder, hosts, seed, environment, {SKEWED: {"ACTONCE_LAB_AHEAD_S": str(HOUR_S)}})
    async with stage:
        story = Story(stage, lengths, seed, rate, SKEWED)
        try:
            await story.run()
        except* ActonceError as failures:
            story.violations += [str(failure) for failure in failures.exceptions]
    return story


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__.partition("\n")[0])
    parser.add_argument("--long", action="store_true", help="the long form: about two minutes instead of one")
    parser.add_argument("--rate", type=float, default=30.0, help="messages a second, each to all replicas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where journals and logs stay; else they go when nothing was wrong")
    options = parser.parse_args()
    try:
        isolate()
        hosts = nodes(1 + len(NAMES))
    except Unavailable as error:
        print(f"lab: NOT RUN: this machine does not let us make network namespaces: {error}", flush=True)
        return NOT_RUN
    folder = options.folder or Path(tempfile.mkdtemp(prefix="actonce-lab-"))
    story = asyncio.run(lab(folder, hosts, LONG if options.long else SHORT, options.rate, options.seed))
    for violation in story.violations[:50]:
        print(f"lab: WRONG: {violation}")
    print(json.dumps({**story.facts, "violations": len(story.violations), "folder": str(folder)}))
    if not story.violations and options.folder is None:
        shutil.rmtree(folder)
    return 1 if story.violations else 0


if __name__ == "__main__":
    sys.exit(main())
