"""What `actonce bench failover` found."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

CERTAIN = ("killed",)
SILENT = ("stopped", "vanished")
GOALS_S = {"certain": 0.3, "silent": 3.0}
"""For the p99 of the takeover, with the `lan` settings."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A task whose replica fell."""

    kind: str
    """Of the fault."""
    task: str
    at: float
    """When the fault was made. Monotonic seconds."""
    until: float
    """When its handler began elsewhere, or its effect arrived."""

    @property
    def wait_s(self) -> float:
        return self.until - self.at

    def with_effect(self, at: float) -> Sample:
        """The same, to the arrival of its effect."""
        return replace(self, until=at)


@dataclass(frozen=True, slots=True)
class Figures:
    """One run."""

    samples: Sequence[Sample]
    """To the beginning of the handler on a survivor."""
    effects: Sequence[Sample]
    """To the arrival of the effect, the work of the handler included."""
    messages: int
    lost: int
    doubled: int
    """Posts beyond the first for the same message."""
    doubts: int
    found: int
    """Doubts that ended by asking the feed, which had the post."""
    resent: int
    """Doubts that ended by posting again."""
    stuck: int
    """Tasks that nobody took over in time."""
    digests: int
    """Different digests at the end: 1 when all replicas agree."""

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, nothing stuck, and the replicas agree. Says nothing of speed."""
        return self.lost == self.doubled == self.stuck == 0 and self.digests == 1

    def as_json(self) -> dict[str, Any]:
        """For one line of JSON; durations in seconds, rounded to milliseconds, None without samples."""
        first, again = by_deaths([sample for sample in self.samples if sample.kind in CERTAIN])
        made = {**spread("certain", first), **spread("again", again)}
        for name, kinds in (("silent", SILENT), *((kind, (kind,)) for kind in SILENT)):
            made |= spread(f"{name}", [sample.wait_s for sample in self.samples if sample.kind in kinds])
        for name, kinds in (("certain", CERTAIN), ("silent", SILENT)):
            made |= spread(f"{name}_effect", [effect.wait_s for effect in self.effects if effect.kind in kinds])
        names = ("messages", "lost", "doubled", "doubts", "found", "resent", "stuck", "digests")
        return {**made, **{name: getattr(self, name) for name in names}}

    def rows(self) -> list[tuple[str, str]]:
        """For people."""
        found = self.as_json()
        rows = []
        for name, what in (
            ("certain", "killed"),
            ("again", "killed, not for the first time with this task"),
            ("stopped", "stopped"),
            ("vanished", "vanished"),
            ("certain_effect", "killed, until the effect"),
            ("silent_effect", "silent, until the effect"),
        ):
            if found[f"{name}_n"]:
                spreads = (f"{part} {found[f'{name}_{part}_s']:.3f} s" for part in ("p50", "p99", "max"))
                rows.append((what, f"{', '.join(spreads)} ({found[f'{name}_n']} tasks)"))
        for name, goal_s in GOALS_S.items():
            p99_s = found[f"{name}_p99_s"]
            if p99_s is not None:
                rows.append((f"goal: {name} p99 {goal_s:g} s", "met" if p99_s <= goal_s else "MISSED"))
        doubts = f"{self.doubts:,} ({self.found} found at the feed, {self.resent} sent again)"
        counts = [(name, f"{getattr(self, name):,}") for name in ("messages", "lost", "doubled")]
        return [*rows, *counts, ("doubts", doubts), ("never taken over", f"{self.stuck:,}")]


def by_deaths(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Waits of tasks whose first process died, and of those that had lost one before: these begin one by one, for one
    of them may be what kills (`actonce.poison`)."""
    first, again, seen = list[float](), list[float](), set[str]()
    for sample in sorted(samples, key=lambda sample: sample.at):
        (again if sample.task in seen else first).append(sample.wait_s)
        seen.add(sample.task)
    return first, again


def spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    """p50, p99 and largest by nearest rank: with fewer than a hundred values the p99 is the largest."""
    ranked = sorted(values)
    shares = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    made: dict[str, Any] = {
        f"{name}_{part}_s": round(rank(ranked, share), 3) if ranked else None
        for part, share in shares
    }
    return {**made, f"{name}_n": len(ranked)}


def rank(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies, by nearest rank. There must be some."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy that was."""
    return {
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
