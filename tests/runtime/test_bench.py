"""`actonce bench failover`: its diary, its figures, and one small run."""

import json
import os
import subprocess
import sys
from pathlib import Path

from actonce.bench.diary import BEGAN, ENDED, Reader, Writer, elsewhere, under_way
from actonce.bench.figures import Figures, Sample, by_deaths, spread

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("crdt", "transports", "runtime"))
WAIT_S = 120.0


def test_a_diary_is_followed_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "diary"
    reader = Reader(file)
    assert reader.read() == []
    writer = Writer(file)
    writer.write(BEGAN, "reply/1", 7)
    writer.write(BEGAN, "reply/2", 7)
    with file.open("a") as other:
        other.write(f"5.0\t{BEGAN}\treply/1\t8\t1\n6.0\t{BEGAN}\trep")
    lines = reader.read()
    assert [(line.subject, line.fence) for line in lines] == [("reply/1", 7), ("reply/2", 7), ("reply/1", 8)]
    assert under_way(lines[:2], os.getpid()) == ["reply/1", "reply/2"]
    assert under_way(lines, os.getpid()) == ["reply/2"], "another one has taken reply/1 over"
    assert elsewhere(lines, BEGAN, os.getpid()) == {"reply/1": 5.0}
    with file.open("a") as other:
        other.write("ly/2\t8\t1\n")
    writer.write(ENDED, "reply/1", 7)
    lines = reader.read()
    assert len(lines) == 5
    assert under_way([line for line in lines if line.pid == os.getpid()], os.getpid()) == ["reply/2"]
    assert elsewhere(lines, BEGAN, os.getpid()) == {"reply/1": 5.0, "reply/2": 6.0}


def test_a_spread_is_by_nearest_rank() -> None:
    assert spread("x", []) == {"x_p50_s": None, "x_p99_s": None, "x_max_s": None, "x_n": 0}
    values = [number / 100 for number in range(200, 0, -1)]
    assert spread("x", values) == {"x_p50_s": 1.0, "x_p99_s": 1.98, "x_max_s": 2.0, "x_n": 200}
    assert spread("x", [3.0]) == {"x_p50_s": 3.0, "x_p99_s": 3.0, "x_max_s": 3.0, "x_n": 1}


def figures(*, lost: int = 0, doubled: int = 0, stuck: int = 0, digests: int = 1, slow: bool = False) -> Figures:
    samples = [Sample("killed", "reply/1", 1.0, 5.0 if slow else 1.1), Sample("stopped", "reply/2", 1.0, 2.5)]
    counts = {"messages": 2, "doubts": 1, "found": 1, "resent": 0}
    return Figures(samples=samples, effects=[], lost=lost, doubled=doubled, stuck=stuck, digests=digests, **counts)


def test_whatever_is_wrong_is_not_ok_but_slowness_is_a_goal_missed() -> None:
    assert figures().ok
    assert not any(wrong.ok for wrong in (figures(lost=1), figures(doubled=1), figures(stuck=1), figures(digests=2)))
    made = figures().as_json()
    assert (made["certain_p99_s"], made["silent_p50_s"]) == (0.1, 1.5)
    assert (made["stopped_n"], made["vanished_p50_s"]) == (1, None)
    assert figures(slow=True).ok
    assert dict(figures().rows())["goal: certain p99 0.3 s"] == "met"
    assert dict(figures(slow=True).rows())["goal: certain p99 0.3 s"] == "MISSED"


def test_a_task_that_lost_a_process_before_is_counted_apart() -> None:
    one, other = "reply/1", "reply/2"
    samples = [Sample("killed", one, 5.0, 8.0), Sample("killed", one, 1.0, 1.1), Sample("killed", other, 5.0, 5.2)]
    first, again = by_deaths(samples)
    assert [round(wait_s, 3) for wait_s in first] == [0.1, 0.2]
    assert again == [3.0]


def test_a_small_run() -> None:
    command = [sys.executable, "-W", "error", "-m", "actonce", "bench", "failover", "--json"]
    options = ["--kills", "1", "--stops", "1", "--vanishes", "1", "--work", "0.2"]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    command += options
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["lost"], found["doubled"], found["stuck"], found["digests"]) == (0, 0, 0, 1)
    assert found["certain_n"] >= 1
    assert 0 < found["certain_p50_s"] < found["silent_p99_s"]
    assert found["silent_p99_s"] > 1.0, "suspicion cannot be that fast"
    assert {"killed", "stopped", "vanished"} <= {word for line in done.stderr.splitlines() for word in line.split()[:1]}
