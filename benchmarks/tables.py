"""Markdown of measurements, and the places in `README.md` where it goes."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from actonce.bench.figures import machine


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def spread(found: Mapping[str, Any], name: str, digits: int = 0) -> str:
    """The median of a figure, and its least and largest where there were several runs."""
    least, most = found["spread"][name]
    if found["runs"] == 1:
        return f"{found[name]:,.{digits}f}"
    return f"{found[name]:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


def conditions(runs: int) -> str:
    """Where and how it was measured: a sentence. Call it before measuring: it looks how busy the machine is."""
    found, system = machine(), f"{platform.system()} {platform.release().partition('-')[0]}"
    how = "One run." if runs == 1 else f"{runs} runs: medians (least to largest)."
    where = f"{found['cpus']} cores, load {found['load']} before it, {system}"
    return f"{how} {where}, Python {found['python']}, pycrdt {version('pycrdt')}."


def insert(text: str, key: str, lines: Sequence[str]) -> str:
    """`text` with these lines between the markers `<!-- results:KEY -->` and `<!-- /results:KEY -->`.

    Raises:
        KeyError: there are no such markers.
    """
    begin, end = f"<!-- results:{key} -->", f"<!-- /results:{key} -->"
    if begin not in text or end not in text:
        raise KeyError(f"benchmarks/README.md has no markers for the results of {key!r}")
    body = "\n".join(lines)
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{body}\n{end}", text, flags=re.DOTALL)
