"""`actonce bench throughput` and `convergence --real`: what the workers answer becomes figures; one small run."""

import json

import anyio
import click.testing
import pytest

from actonce.bench import partition
from actonce.bench.crew import WorkerFailed
from actonce.bench.partition import Real, equal_from, run_real
from actonce.bench.speed import heard_waits, percentiles, spreads
from actonce.cli.bench_speed import latency_rows
from actonce.cli.main import commands


def run(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(commands, ["bench", *arguments])


def test_equal_digests_count_from_the_heal_on_and_not_before() -> None:
    one = [(0.0, "x"), (2.0, "y"), (3.0, "z")]
    other = [(0.1, "w"), (1.0, "y"), (2.5, "z")]
    assert equal_from([one, other], 0.5) == 2.0
    assert equal_from([one, other], 2.2) == 2.2, "equal already, and still so at the heal"
    assert equal_from([one, other], 2.6) == 3.0
    with pytest.raises(WorkerFailed):
        equal_from([one, other[:1]], 0.5)


def test_figures_are_medians_with_their_spread() -> None:
    waits = ([wait / 1000] * 99 + [1.0] for wait in (3, 1, 2))
    runs = [percentiles({"started": started, "returned": [0.5], "heard": [0.25]}) for started in waits]
    found = spreads(runs)
    assert (found["started_p50_ms"], found["started_p99_ms"], found["returned_p99_ms"]) == (2.0, 2.0, 500.0)
    assert found["spread"]["started_p50_ms"] == [1.0, 3.0]
    shown = dict(latency_rows({**found, "tasks": 100, "rate": 50.0, "replicas": 3}))
    assert shown["submit to start, p50"] == "2.00 (1.00 to 3.00 in 3 runs) ms"


def test_what_all_heard_is_timed_from_the_submit_of_the_replica_that_began_it() -> None:
    began = [[1, 5.5], [2, 6.25], [2, 7.5]]
    a = {"pid": 1, "submitted": [5.0, 6.0, 7.0], "began": began}
    b = {"pid": 2, "submitted": [5.25, 6.5, 7.25], "began": began}
    assert heard_waits([a, b]) == [0.5, 0.25, 0.25], "b began the second before it had heard of it by itself"


def test_a_small_run_of_each_latency() -> None:
    done = run("latency", "--tasks", "10", "--replicas", "2", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["tasks"], found["rate"], found["replicas"]) == (10, 50.0, 2)
    for name in ("started", "returned", "heard"):
        assert 0 < found[f"{name}_p50_ms"] <= found[f"{name}_p99_ms"] < 10_000


def test_a_small_run() -> None:
    done = run("throughput", "--tasks", "30", "--replicas", "2", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["tasks"], found["replicas"], found["runs"]) == (30, 2, 1)
    assert found["tasks_per_s"] > 1
    assert found["cpu_s_per_1000"] > 0


def test_a_real_cut_heals_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLE_S", "WHOLE_S", "BEFORE_S"):
        monkeypatch.setattr(partition, name, 0.3)
    found = anyio.run(run_real, 1, Real(replicas=2, partition_s=0.6, rate=10.0))
    assert not found.problems
    assert (found.lost, found.doubled_bound) == (0, 0)
    assert found.tasks > 3
    assert 0 < found.trips_s < found.heal_s < 30


def test_options_of_the_simulation_are_refused_for_real_processes() -> None:
    done = run("convergence", "--real", "--loss", "0.1")
    assert done.exit_code == 1
    assert "--loss is for the simulation" in done.stderr
