"""Who should hold how many rights, and who gives to whom. Pure; policy only: no choice made here can harm safety.

Every replica computes the same from what it knows of the others (the transfer matrix, and what they say they need), so
that a giver need not be asked. Where views differ, the next round corrects it.
"""

from __future__ import annotations

from collections.abc import Mapping


def targets(capacity: int, demands: Mapping[str, int]) -> dict[str, int]:
    """Max-min fair shares of `capacity`: nobody gets less than an equal part unless it needs less; what nobody needs
    is divided equally, ahead of demand. They add up to `capacity`; ties go by name.
    """
    shares, left = dict.fromkeys(sorted(demands), 0), capacity
    for count, name in enumerate(sorted(demands, key=lambda name: (demands[name], name))):
        fair = left // (len(demands) - count)
        shares[name] = min(demands[name], fair)
        left -= shares[name]
    for count, name in enumerate(list(shares)):
        part = -(-left // (len(shares) - count))
        shares[name] += part
        left -= part
    return shares


def gifts(
    me: str,
    held: Mapping[str, int],
    wanted: Mapping[str, int],
    queued: Mapping[str, int],
    *,
    idle_step: int,
) -> dict[str, int]:
    """What `me` should give to whom now.

    Args:
        held: rights of everybody in touch.
        wanted: what `targets` says.
        queued: how many each waits for: these are helped first, and at once.
        idle_step: a shortage of nobody who waits is worth a transfer from this size on.
    """
    surplus = {name: max(0, held[name] - wanted[name]) for name in held}
    missing = {name: max(0, wanted[name] - held[name]) for name in held if name != me}
    urgent = {name: count for name, count in missing.items() if count and queued.get(name, 0)}
    lack = urgent or {name: count for name, count in missing.items() if count >= idle_step}
    mine, everybody = surplus.get(me, 0), sum(surplus.values())
    given: dict[str, int] = {}
    for name in sorted(lack):
        # In proportion to what all others could give, rounded up; so that not everybody gives everything.
        count = min(mine, -(-lack[name] * surplus[me] // max(1, everybody)))
        if count > 0:
            given[name] = count
            mine -= count
    return given
