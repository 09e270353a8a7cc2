"""Joins of optional records under a total order.

The maximum (or minimum) over a total order is commutative, associative and idempotent, so a field that keeps it is
a join-semilattice with None as bottom (Shapiro, Preguica, Baquero, Zawirski: "Conflict-free replicated data types",
2011). Two different records that agree in every named component of their order are told apart by their bytes.
"""

from collections.abc import Callable
from typing import TypeVar

from .entries import Record, encode

R = TypeVar("R", bound=Record)


def greatest(a: R | None, b: R | None, order: Callable[[R], tuple[int | str, ...]]) -> R | None:
    """The larger of two records by (`order`, bytes)."""
    if a is None or b is None:
        return b if a is None else a
    if a == b:
        return a
    left, right = order(a), order(b)
    if left == right:
        return a if encode(a) >= encode(b) else b
    return a if left > right else b


def least(a: R | None, b: R | None, order: Callable[[R], tuple[int | str, ...]]) -> R | None:
    """The smaller of two records by (`order`, bytes)."""
    if a is None or b is None:
        return b if a is None else a
    if a == b:
        return a
    left, right = order(a), order(b)
    if left == right:
        return a if encode(a) <= encode(b) else b
    return a if left < right else b


def each_greatest(
    a: tuple[R, ...],
    b: tuple[R, ...],
    name: Callable[[R], tuple[str, ...]],
    order: Callable[[R], tuple[int | str, ...]],
) -> tuple[R, ...]:
    """The largest record of each name, sorted by name. Both sides hold one record a name, sorted."""
    if not a or not b or a == b:
        return a or b
    joined = {name(record): record for record in a}
    for record in b:
        larger = greatest(joined.get(name(record)), record, order)
        assert larger is not None
        joined[name(record)] = larger
    return tuple(joined[key] for key in sorted(joined))
