"""Twenty thousand hostile updates in a process of their own: no crash, no hang, no half-taken update."""

import json
import os
import subprocess
import sys
from pathlib import Path

import actonce_crdt

ROOT = Path(__file__).resolve().parents[2]
SEED = 2
INPUTS = 20_000


def test_hostile_updates_do_no_harm() -> None:
    crdt = Path(actonce_crdt.__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(crdt), str(ROOT))), "RUST_BACKTRACE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crdt.fuzz", str(SEED), str(INPUTS)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"seed {SEED}: exit {done.returncode}\n{done.stderr[-4000:]}"
    counts = json.loads(done.stdout)
    assert sum(counts.values()) >= INPUTS
    # The inputs reach every outcome, or they test nothing.
    assert min(counts[name] for name in ("changed", "nothing new", "gap", "invalid")) > INPUTS // 100
    assert counts["vector taken"] > 0
    assert counts["vector invalid"] > 0
