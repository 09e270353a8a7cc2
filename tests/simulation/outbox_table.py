"""The table of runtime/docs/effects.md: what happens to an effect when its replica is killed at a point of its way."""

from __future__ import annotations

from pathlib import Path

from actonce.agent import OnDoubt

PAGE = Path(__file__).resolve().parents[2] / "runtime" / "docs" / "effects.md"
POINTS = ("before the intent", "after the intent", "during the send", "after the send", "after the receipt")
RULES: tuple[OnDoubt, ...] = ("resend", "skip", "ask")


def documented() -> dict[tuple[str, OnDoubt, str], str]:
    """(sort, rule, point) -> cell, from the table of that page."""
    found: dict[tuple[str, OnDoubt, str], str] = {}
    heads = ("a sink that ...", "on_doubt", *POINTS)
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if cells(line) == list(heads))
    for line in lines[start + 2 :]:
        row = cells(line)
        if len(row) != len(heads):
            break
        for rule in row[1].split(", "):
            for point, text in zip(POINTS, row[2:], strict=True):
                found[row[0], next(known for known in RULES if known == rule), point] = text
    return found


def cells(line: str) -> list[str]:
    return [part.strip().strip("`") for part in line.strip().strip("|").split("|")] if line.startswith("|") else []
