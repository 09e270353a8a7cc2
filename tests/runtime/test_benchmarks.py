"""`python -m benchmarks`: what it measured goes between the markers of the README, and nowhere else."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click.testing
import pytest
from benchmarks import __main__ as command
from benchmarks import parts
from benchmarks.parts import PARTS, NotMeasured, Options
from benchmarks.rivals.catalog import RIVALS
from benchmarks.tables import conditions, insert, spread, table

from actonce.bench.growth import Weight, judge
from actonce.bench.healing import Healed, summary
from actonce.bench.naive import Size

README = Path(__file__).resolve().parents[2] / "benchmarks" / "README.md"


def test_each_part_has_its_place_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    for name in PARTS:
        changed = insert(text, name, ["one", "two"])
        assert f"<!-- results:{name} -->\none\ntwo\n<!-- /results:{name} -->" in changed
        assert insert(changed, name, ["one", "two"]) == changed
        assert len(text.partition(f"<!-- results:{name} -->")[0]) == len(
            changed.partition(f"<!-- results:{name} -->")[0]
        )
    with pytest.raises(KeyError, match="no markers for the results of 'nothing'"):
        insert(text, "nothing", [])


def test_tables_are_markdown_with_medians_and_their_spread() -> None:
    found = {"runs": 3, "x": 2_000.4, "spread": {"x": [1.0, 3_000.0]}}
    assert spread(found, "x") == "2,000 (1 to 3,000)"
    assert spread({**found, "runs": 1}, "x", 1) == "2,000.4"
    assert table(("a", "b"), [("1|2", "3")]) == ["| a | b |", "| --- | --- |", "| 1/2 | 3 |"]
    assert conditions(3).startswith("3 runs: medians (least to largest). ")


def test_only_what_is_asked_for_is_measured_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(command, "README", copy)
    asked: list[Options] = []

    def measured(options: Options) -> list[str]:
        asked.append(options)
        return ["| measured |"]

    def failing(options: Options) -> list[str]:
        raise NotMeasured("it was raining")

    monkeypatch.setitem(PARTS, "speed", measured)
    monkeypatch.setitem(PARTS, "quota", failing)
    arguments = ["--only", "speed", "--only", "quota", "--runs", "2", "--rivals", "nats,celery"]
    done = click.testing.CliRunner().invoke(command.main, arguments)
    assert done.exit_code == 0, done.output
    assert "quota is left as it was: it was raining" in done.stderr
    assert [(one.runs, [rival.key for rival in one.rivals]) for one in asked] == [(2, ["nats", "celery"])]
    assert copy.read_text(encoding="utf-8") == insert(README.read_text(encoding="utf-8"), "speed", ["| measured |"])
    assert len(RIVALS) > 2
    assert click.testing.CliRunner().invoke(command.main, ["--rivals", "nobody"]).exit_code == 2


WAITS = ("started", "returned", "heard")
SPREAD = {"runs": 2, **{f"{name}_{part}_ms": 1.0 for name in WAITS for part in ("p50", "p99")}}
FELL = ("certain", "again", "stopped", "vanished")
FAILED_OVER = {f"{name}_{part}_s": 1.0 for name in FELL for part in ("p50", "p99", "max")}


def found_by(command: Sequence[str]) -> list[dict[str, Any]]:
    """What each measurement prints, made up."""
    made = dict.fromkeys([*SPREAD, "tasks_per_s", "cpu_s_per_1000"], 1.0) | {"runs": 2}
    match command[4] if "bench" in command else "quota":
        case "throughput" | "latency":
            return [{**made, "spread": {name: [0.5, 1.5] for name in made}}]
        case "failover":
            counts = dict.fromkeys(("messages", "lost", "doubled", "doubts"), 1)
            return [{**FAILED_OVER, **counts, **{f"{name}_n": 4 for name in FELL}}]
        case "convergence":
            ones: dict[str, Any] = {field.name: 1 for field in fields(Healed)} | {"problems": ()}
            row = {"replicas": 3, **summary([Healed(**ones)])}
            return [{**row, "sweep": [row, row]}]
        case "growth":
            weights = [Weight(n, 10, 10, 1, 1, 10, n / 10) for n in range(1, 9)]
            return [asdict(judge(weights, [Size(n, n, n) for n in range(1, 9)]))]
        case _:
            return [{"run": "with", "taken": 5}, {"run": "without", "taken": 9}]


@pytest.mark.parametrize("name", ["own", "failover", "convergence", "growth", "quota"])
def test_what_a_measurement_prints_becomes_a_table(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parts, "_run", found_by)
    lines = PARTS[name](Options(2, tmp_path, lambda sentence: None))
    assert lines[0].startswith(("`actonce bench ", "`python -m benchmarks."))
    width = lines[2].count("|")
    rows = [line for line in lines[2:] if line.startswith("|")]
    assert len(rows) >= 3
    assert {line.count("|") for line in rows} == {width}
