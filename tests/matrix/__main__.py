"""Three replicas of the Matrix example against a real Synapse, while they are killed, stopped and cut off.

    python -m tests.matrix [--messages 200] [--devices shared|own|both] [--seed 1] [--folder DIR]

Needs an interpreter with Synapse: see `tests.matrix.synapse`. Prints one line of JSON for each run. Exit status: 0, 1
for any violation, 75 where there is no Synapse: then nothing was tested, and a line says so.
"""

import argparse
import asyncio
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.matrix.story import tell
from tests.matrix.synapse import DEFAULT_MESSAGES, FAST, Unavailable, homeserver

from actonce.demo.mesh import free_port
from actonce.demo.messages import bundled, load
from actonce.errors import ActonceError

NOT_RUN = 75
"""EX_TEMPFAIL of sysexits(3)."""


def texts(file: Path | None, seed: int, count: int) -> list[str]:
    """Of a file of messages as the demo takes it, or of the bundled ones, over and over."""
    messages = bundled(seed) if file is None else load(file, print)
    return [message.payload["text"] for message in itertools.islice(itertools.cycle(messages), count)]


async def run(folder: Path, options: argparse.Namespace) -> int:
    """The number of violations."""
    violations = 0
    said = texts(options.texts, options.seed, options.messages + options.cut)
    port = free_port(random.Random(f"synapse {options.seed}"))
    async with homeserver(folder / "synapse", port, DEFAULT_MESSAGES if options.limited else FAST) as synapse:
        for devices in ("shared", "own") if options.devices == "both" else (options.devices,):
            began = time.monotonic()
            (folder / devices).mkdir()
            story = await tell(
                folder / devices, synapse, devices, said[: options.messages], said[options.messages :], options.seed
            )
            for violation in story.violations[:50]:
                print(f"matrix: WRONG: {violation}")
            facts = {"devices": devices, **story.facts, "violations": len(story.violations)}
            print(json.dumps({**facts, "seconds": round(time.monotonic() - began, 1)}), flush=True)
            violations += len(story.violations)
    return violations


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=200, help="said while one replica is killed and one stopped")
    parser.add_argument("--cut", type=int, default=20, help="said while one replica is cut off from the others")
    parser.add_argument("--texts", type=Path, help="a file of JSON lines, each with an id and a text: what is said")
    parser.add_argument("--devices", choices=["shared", "own", "both"], default="both")
    parser.add_argument("--limited", action="store_true", help="with the rate limits that Synapse has by default: slow")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where journals and logs stay; else they go when nothing was wrong")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="actonce-matrix-"))
    try:
        violations = asyncio.run(run(folder, options))
    except Unavailable as error:
        print(f"matrix: NOT RUN: {error}", flush=True)
        return NOT_RUN
    except ActonceError as error:
        print(f"matrix: WRONG: {error}; see {folder}", flush=True)
        return 1
    if violations:
        print(f"matrix: see {folder}", flush=True)
    elif options.folder is None:
        shutil.rmtree(folder)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
