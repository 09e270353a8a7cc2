"""Pictures of what `actonce bench convergence` and `growth` found. Needs matplotlib: the extra `bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actonce.errors import ConfigError

SIZE_INCHES = (11.0, 4.5)
DOTS_AN_INCH = 120


def check_plot(path: Path) -> None:
    """Before an hour of measuring: can the picture be made at all?

    Raises:
        ConfigError: matplotlib is missing, or the file cannot be written there.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("--plot needs matplotlib, which is not installed: pip install 'actonce[bench]'") from None
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--plot {path}: a picture ends in .png, .svg or .pdf")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--plot {path}: there is no folder {path.absolute().parent}")


def plot_convergence(path: Path, sweep: Sequence[Mapping[str, Any]], heals_s: Sequence[float], title: str) -> None:
    """Left: time to heal beside its limit; right: what a link carries. By the number of replicas, where there are
    several; else each heal by itself.

    Raises:
        ConfigError: see `check_plot`; or the file could not be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    left, right = figure.subplots(1, 2)
    if len(sweep) > 1:
        replicas = [row["replicas"] for row in sweep]
        for key, label in (("heal_p50_s", "p50"), ("heal_p99_s", "p99"), ("limit_s", "limit")):
            style = "k--" if key == "limit_s" else "o-"
            left.plot(replicas, [row[key] * 1000 for row in sweep], style, label=label)
        left.set(xlabel="replicas", xticks=replicas, ylim=(0, None))
    else:
        ranked = sorted(heals_s)
        shares = [(number + 1) / len(ranked) * 100 for number in range(len(ranked))]
        left.plot(shares, [value * 1000 for value in ranked], "o-", label="each heal")
        left.axhline(sweep[0]["limit_s"] * 1000, color="k", linestyle="--", label="limit")
        left.set(xlabel="share of the heals, %", ylim=(0, None))
    left.set(ylabel="ms from the heal to equal digests")
    left.legend()
    names = [str(row["replicas"]) for row in sweep]
    places = range(len(names))
    bars = (
        ("idle_bytes_per_s_per_link", "a link, idle, bytes/s"),
        ("bytes_per_task", "a task, bytes to each other replica"),
    )
    for number, (key, label) in enumerate(bars):
        offsets = [place + (number - 0.5) * 0.4 for place in places]
        right.bar(offsets, [row[key] for row in sweep], 0.4, label=label)
    right.set(xlabel="replicas", ylabel="bytes", xticks=list(places), xticklabels=names)
    right.legend(loc="lower center")
    _save(figure, path, title)


def plot_growth(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Left: document and journal, beside one key a task; right: resident memory. By the number of tasks done.

    Raises:
        ConfigError: see `check_plot`; or the file could not be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    tasks = [row["tasks"] for row in rows]
    sides = (
        (("document_bytes", "document"), ("journal_bytes", "journal"), ("naive_bytes", "one key a task, document")),
        (("rss_bytes", "three replicas"), ("naive_rss_bytes", "one key a task, three documents")),
    )
    names = ("MB on the wire, on the disk", "MB resident")
    for axes, lines, what in zip(figure.subplots(1, 2), sides, names, strict=True):
        for key, label in lines:
            axes.plot(tasks, [row[key] / 1e6 for row in rows], "k--" if key.startswith("naive") else "-", label=label)
        axes.set(xlabel="tasks done", ylabel=what, ylim=(0, None))
        axes.legend()
    _save(figure, path, title)


def _save(figure: Any, path: Path, title: str) -> None:
    figure.suptitle(title)
    try:
        figure.savefig(path, dpi=DOTS_AN_INCH)
    except OSError as error:
        raise ConfigError(f"--plot {path}: {error}") from None
