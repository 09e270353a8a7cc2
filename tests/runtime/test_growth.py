"""`actonce bench growth`: what it measures, and that its figures are of the right thing."""

import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

import click.testing
import pytest

from actonce.bench import growth
from actonce.bench.growth import Weight, judge, line, run_growth
from actonce.bench.lasting import count_posts, heaviest
from actonce.bench.naive import Naive, Size, measure_naive
from actonce.bench.plot import plot_growth
from actonce.cli import bench_growth


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "ROWS", 4)


def test_every_figure_is_measured_in_one_run() -> None:
    found = run_growth(120)
    assert found.tasks == 120
    assert len(found.rows) == 4
    assert found.rows[-1].remembered == 120
    assert min(found.document_bytes, found.journal_bytes, found.naive_document_bytes, *found.cpu_ms_per_task) > 0


def test_the_naive_layout_never_shrinks() -> None:
    naive, grown = Naive(), []
    for number in range(1, 601):
        naive.task(number)
        if number % 200 == 0:
            grown.append(naive.bytes)
    assert grown[2] - grown[1] > 0.9 * (grown[1] - grown[0]) > 1_000
    assert [size.tasks for size in measure_naive(30, 10)] == [10, 20, 30]


def test_the_slope_of_a_line_and_its_error() -> None:
    assert line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0]) == (2.0, 0.0)
    slope, error = line([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 1.0])
    assert 0 < slope < 2 * error
    assert line([1.0], [1.0]) == (0.0, 0.0)


def test_slopes_are_of_the_second_half_and_sizes_its_largest() -> None:
    done = range(100, 900, 100)
    memory = [1, 2, 3, 4, 10, 12, 14, 16]
    weights = [Weight(n, 900 - n, n, 1, 1, rss * 100, n / 100) for n, rss in zip(done, memory, strict=True)]
    found = judge(weights, [Size(n, 3 * n, 5 * n) for n in done])
    assert (found.document_bytes, found.journal_bytes) == (400, 800)
    assert (found.rss_slope_bytes_per_task, found.rss_noise_bytes_per_task) == (2.0, 0.0)
    assert (found.naive_document_bytes, found.naive_rss_slope_bytes_per_task) == (2_400, 5.0)
    assert found.cpu_ms_per_task == (10.0, 10.0)


def test_of_three_replicas_the_largest_counts_and_memory_adds_up() -> None:
    names = ("document_bytes", "journal_bytes", "entries", "remembered", "rss_bytes", "cpu_s")
    found = [dict.fromkeys(names, number) for number in (1, 3, 2)]
    assert heaviest(5, found) == Weight(5, 3, 3, 3, 3, 6, 6)


def test_posts_that_are_missing_or_there_twice_are_counted(tmp_path: Path) -> None:
    posts = tmp_path / "posts"
    keys = [f"post/{name}{number}/0" for name in "ab" for number in range(3)]
    posts.write_text("\n".join([*keys, "post/b1/0"]) + "\n")
    assert count_posts(posts, "ab", 3) == (0, 1)
    assert count_posts(posts, "ab", 4) == (2, 1)


def test_what_was_measured_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = MagicMock()
    drawn.Figure.return_value.subplots.return_value = sides = [MagicMock(), MagicMock()]
    monkeypatch.setitem(sys.modules, "matplotlib", MagicMock())  # whether it is installed or not
    monkeypatch.setitem(sys.modules, "matplotlib.figure", drawn)
    names = ("tasks", "document_bytes", "journal_bytes", "rss_bytes", "naive_bytes", "naive_rss_bytes")
    plot_growth(tmp_path / "growth.png", [dict.fromkeys(names, number * 1e6) for number in (1, 2)], "two")
    assert [side.plot.call_count for side in sides] == [3, 2]
    assert all(call.args[:2] == ([1e6, 2e6], [1.0, 2.0]) for side in sides for call in side.plot.call_args_list)
    assert drawn.Figure.return_value.savefig.call_args.args == (tmp_path / "growth.png",)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--rate", "5/s"], "add --real"), (["--real", "--rate", "fast"], "write messages a second")],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], says: str) -> None:
    done = click.testing.CliRunner().invoke(bench_growth.growth, arguments)
    assert done.exit_code != 0
    assert says in done.output + str(done.exception)


def test_one_line_of_json_has_what_is_promised() -> None:
    done = click.testing.CliRunner().invoke(bench_growth.growth, ["--tasks", "120", "--json"])
    found = json.loads(done.output)
    assert {"tasks", "document_bytes", "journal_bytes", "rss_slope_bytes_per_task", "rows", "machine"} <= found.keys()
    assert found["real"] is False
