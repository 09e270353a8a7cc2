"""Runs a merge over at the hands: shows the function the values in conflict, and writes what it returns over them."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from actonce.context import Context, SyncContext
from actonce.desk import Desk
from actonce.errors import MemoryInvalid
from actonce.memory import Put, Value, pack_memory, to_value
from actonce.merges import Dispute, seen_by, still_there, unpack_dispute
from actonce.merging import Merge
from actonce.running import Run
from actonce_crdt import Cell, CellState, Json, parse_place, place

LOOK_S = 0.2
UNKNOWN_S = 10.0
"""How long one attempt waits for a write that the replica which began the merge has read, and this one has not."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Values of one register, or of one field of a map, whose writers had not seen each other."""

    name: str
    field: str
    """Of the map; "" for a register."""
    values: tuple[Value, ...]
    """Two or more, all different, the newest first; each says by whom, when, and for which task it was written. What
    was taken away at the same time is not among them: as ever, what is there wins."""


async def resolve(desk: Desk, run: Run, context: Context, merge: Merge) -> Json:
    """The attempt of a task that merges. Returns what became of the conflict.

    Raises:
        MemoryInvalid: the payload is no conflict; or a part of it did not come; or the result cannot be remembered.
        MemoryFull: a limit would be passed.
    """
    dispute = unpack_dispute(run.payload)
    live = await _read(desk, dispute)
    values = _different(live, int(desk.world.wall() * 1000))
    parsed = parse_place(dispute.place)
    if parsed is None or len(values) < 2:
        return "resolved meanwhile"
    shape, name, field = parsed
    conflict = Conflict(name, field, tuple(map(to_value, values)))
    if run.spec.is_async:
        value = await merge.function(context, conflict)
    else:
        plain = desk.world.hands.plain
        value = await plain(lambda run_async: merge.function(SyncContext(context, run_async), conflict))
    ends = [cell.expires_ms for cell in values]
    put = Put(shape, name, field, pack_memory(value), tuple(seen_by(dispute)), 0 if 0 in ends else max(ends))
    rest = [one for one in run.writes if not (isinstance(one, Put) and _place(one) == dispute.place)]
    desk.memory.check([*rest, put])
    run.writes[:] = [*rest, put]
    return "merged"


async def _read(desk: Desk, dispute: Dispute) -> list[Cell]:
    """The writes in dispute that nobody has replaced, once all of them are known here."""
    ends = desk.world.now() + UNKNOWN_S
    while True:
        live, known = still_there(dispute, desk.memory.cells.get(dispute.place, CellState()))
        if known:
            return live
        if desk.world.now() >= ends:
            raise MemoryInvalid(f"a part of the conflict did not reach this replica within {UNKNOWN_S:g} s")
        await anyio.sleep(LOOK_S)


def _place(put: Put) -> str:
    return place(put.shape, put.name, put.member)


def _different(live: list[Cell], now_ms: int) -> list[Cell]:
    """Those that are to be read, one of each value."""
    found: dict[bytes, Cell] = {}
    for cell in CellState((), tuple(live)).values(now_ms):
        found.setdefault(cell.value, cell)
    return list(found.values())
