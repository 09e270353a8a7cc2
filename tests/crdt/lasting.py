"""Entries that belong to no task, as replicas that follow the rules write them: what they say lives for ever."""

from random import Random

from actonce_crdt import (
    Cell,
    CellState,
    ControlState,
    Cool,
    Cursor,
    Lapse,
    Record,
    Roster,
    Share,
    Shut,
    State,
    Switch,
    Tally,
    place,
)

LASTING = ("quotas", "marks", "rosters", "cells", "tallies", "controls", "cursors")
"""The parts of a state that they are about."""


def lasting(random: Random, state: State, stamp: int, me: str, number: int) -> Record:
    """One that replaces what the same, or another, said before. `number` grows from one to the next."""
    match random.randrange(9):
        case 0 | 1:
            key = place("s", "seen", random.choice("xy"))
            value = random.choice((b"", b"%d" % number))
            return Cell(key, stamp, me, value, state.cells.get(key, CellState()).context(), 0, "")
        case 2:
            return Tally(place("c", "posts"), stamp, me, "1", number, number, 0, "")
        case 3:
            known = state.controls.get("agent", ControlState())
            mode = random.choice(("run", "halt"))
            return Switch("agent", stamp, me, known.next_number, mode, known.known, "")
        case 4:
            return Shut("agent", stamp, me, state.controls.get("agent", ControlState()).known)
        case 5:
            return Cursor("feed", stamp, me, number // 100, number, b"")
        case 6:
            return Share("q/requests", stamp, me, f"{me}/1", number, 1, 0, 0)
        case 7:
            return Lapse("q/requests", stamp, me, random.choice("abc"), number, "1", 1)
        case _:
            cool = Cool("q/requests", stamp, me, random.randrange(9), 500)
            step = Roster("1", stamp, me, "propose", (number, me), "1", ((me, "1"),), (0, ""))
            return random.choice((cool, step))
