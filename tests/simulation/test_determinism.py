"""One seed, one history: in every process, whatever the order of its sets."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ("1", "2", "3")
TIMEOUT_S = 50


def traces(hash_seed: str) -> list[str]:
    path = os.pathsep.join(str(ROOT / root) for root in ("crdt", "transports", "runtime"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.trace", *SEEDS],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    first = traces("1")
    assert len(set(first)) == len(SEEDS), "different seeds give different traces"
    assert traces("2") == first
