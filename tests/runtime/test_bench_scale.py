"""`actonce bench scale`: the figures are of what happened, and a mesh that does not hold together fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actonce.bench import scale
from actonce.broadcast import Broadcast
from actonce.cli.main import commands
from actonce.state_transfer import StateTransfer


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(commands, ["bench", "scale", *arguments])


def test_it_measures_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []

    class Figure:
        def __getattr__(self, name: str) -> Any:
            return {"subplots": lambda *_: (Figure(), Figure()), "savefig": lambda path, dpi: drawn.append(path)}.get(
                name, lambda *_, **__: None
            )

    monkeypatch.setattr(scale, "load_figure", Figure)
    done = invoke("--replicas", "9", "--json", "--plot", str(tmp_path / "scale.png"))
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)["scales"][0]
    assert row["reached"]
    assert 1.0 <= row["pushes_per_update"] <= 1.3
    assert row["spread_p50_s"] <= row["formed_max_s"] <= row["spread_max_s"] < 2.0
    assert 1 <= row["hops_max"] <= 7
    assert drawn == [tmp_path / "scale.png"]


def test_a_seed_gives_the_same_figures() -> None:
    assert scale.measure(5, seed=3) == scale.measure(5, seed=3)


def test_followers_that_are_sent_nothing_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broadcast, "grew", lambda *_: [])
    monkeypatch.setattr(StateTransfer, "asked", lambda *_: None)
    monkeypatch.setattr(scale, "LIMIT_S", 2.0)
    done = invoke("--replicas", "5")
    assert done.exit_code == 1
    assert "not everything reached everybody: seed 1" in done.output


@pytest.mark.parametrize("sizes", ["3", "ten", "10,,100", "10001"])
def test_sizes_that_cannot_be_are_refused(sizes: str) -> None:
    done = invoke("--replicas", sizes)
    assert done.exit_code == 2
    assert "replicas" in done.output


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    done = invoke("--replicas", "5", "--plot", "x.png")
    assert done.exit_code == 1
    assert "pip install 'actonce[bench]'" in done.output
