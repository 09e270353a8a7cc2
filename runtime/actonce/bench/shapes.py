"""How a mesh is cut: which directions are dead, and which groups may come to act each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from actonce.errors import ConfigError
from actonce.settings import Settings

SURE = 0.85
"""Of suspicion and grace: a cut may be so long before anybody can take a silence that began earlier for a death. As the
simulator's checkers have it."""

SHAPES = ("halves", "one", "islands", "one-way", "bridge")
BRIDGE_MIN = 3


@dataclass(frozen=True, slots=True)
class Cut:
    """One shape on certain replicas."""

    pairs: tuple[tuple[str, str], ...]
    """(from, to): nothing arrives; sorted."""
    sides: tuple[frozenset[str], ...]
    """Groups that, when the cut outlasts the takeover grace, each go on alone. One group: all keep together."""


def outlasts(settings: Settings, silence_s: float) -> bool:
    """Whether a silence of this length may let a side give the other up: else nothing may happen twice."""
    return silence_s >= SURE * (settings.suspicion_s + settings.grace_s)


def make_cut(shape: str, names: Sequence[str]) -> Cut:
    """The cut of these replicas.

    halves: one half from the other. one: the last one from all others. islands: everybody from everybody. one-way:
    nothing arrives from the second half at the first. bridge: halves, but the first replica still reaches everybody.

    Raises:
        ConfigError: no such shape, or too few replicas for it.
    """
    if shape not in SHAPES:
        raise ConfigError(f"there is no shape {shape!r} of a partition; there are: {', '.join(SHAPES)}")
    if len(names) < 2 or (shape == "bridge" and len(names) < BRIDGE_MIN):
        raise ConfigError(f"{len(names)} replicas cannot be cut as {shape!r}")
    half = len(names) // 2
    match shape:
        case "one":
            groups = [names[:-1], names[-1:]]
        case "islands":
            groups = [[name] for name in names]
        case "bridge":
            groups = [names[1 : (len(names) + 1) // 2], names[(len(names) + 1) // 2 :]]
        case _:
            groups = [names[:half], names[half:]]
    sides = tuple(map(frozenset, groups))
    dead = [
        (source, target)
        for one, other in permutations(sides, 2)
        for source in one
        for target in other
        if shape != "one-way" or one is sides[1]
    ]
    return Cut(tuple(sorted(dead)), sides if shape != "bridge" else (frozenset(names),))
