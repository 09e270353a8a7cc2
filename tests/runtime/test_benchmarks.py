"""`python -m benchmarks`: what it measured goes between the markers of the README, and nowhere else."""

from pathlib import Path

import click.testing
import pytest
from benchmarks import __main__ as command
from benchmarks.parts import PARTS, NotMeasured, Options
from benchmarks.rivals.catalog import RIVALS
from benchmarks.tables import conditions, insert, spread, table

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
