"""What the agent remembers, for people and programs: JSON-like facts of one replica's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actonce_crdt import SHAPES, Cell, Record, State, Tally, parse_place, stamp_wall_s, unpack_value

NO_TEXTS: Mapping[str, str] = {}


def names(
    state: State, prefix: str, now_ms: int, limit: int, texts: Mapping[str, str] = NO_TEXTS
) -> list[dict[str, Any]]:
    """Names that begin with `prefix` and hold something, sorted: name, shape, number of values, and of conflicts."""
    rows: list[dict[str, Any]] = []
    for name in state.remembered:
        if not name.startswith(prefix) or len(rows) >= limit:
            continue
        for shape, keys in _by_shape(state, name).items():
            held = [len(state.cells[key].values(now_ms)) for key in keys if key in state.cells]
            values = sum(count > 0 for count in held)
            if shape in "ct":
                values = 1 if shape == "c" else int(bool(texts.get(name)))
            if values:
                row = {"name": name, "shape": SHAPES[shape], "values": values}
                rows.append({**row, "conflicts": sum(count > 1 for count in held) if shape != "t" else 0})
    return rows


def recall(
    state: State, name: str, now_ms: int, texts: Mapping[str, str] = NO_TEXTS
) -> dict[str, Any] | None:
    """What is under a name: its value as JSON, where it comes from, and what conflicts. None when there is nothing.

    Of a name that was used in two shapes on two sides of a partition: the first by letter.
    """
    for shape, keys in sorted(_by_shape(state, name).items()):
        if shape == "c":
            return {"name": name, "shape": "counter", "value": state.tallies[keys[0]].value, "conflicts": []}
        if shape == "t":
            if not texts.get(name):
                continue
            newest = {_member(key): _source(state.cells[key].live[0]) for key in keys}
            return {"name": name, "shape": "text", "value": texts[name], "sources": newest, "conflicts": []}
        found = {key: values for key in keys if (values := state.cells[key].values(now_ms))}
        if not found:
            continue
        read = {_member(key): unpack_value(values[0].value) for key, values in found.items()}
        value = {"r": read.get(""), "s": list(read), "m": read, "l": list(read.values())}[shape]
        sources = {_member(key): _source(values[0]) for key, values in found.items()}
        clashes = [_clash(key, values) for key, values in found.items() if len(values) > 1]
        source = {"source": sources[""]} if shape == "r" else {"sources": sources}
        return {"name": name, "shape": SHAPES[shape], "value": value, **source, "conflicts": clashes}
    return None


def history(state: State, name: str) -> list[dict[str, Any]]:
    """Every write to a name that is not compacted away, the oldest first, and whether it still counts."""
    return [_write(state, record) for record in state.writes(name)]


def _write(state: State, record: Record) -> dict[str, Any]:
    assert isinstance(record, Cell | Tally)
    parsed = parse_place(record.key)
    shape, member = (SHAPES[parsed[0]], parsed[2]) if parsed is not None else ("?", "")
    row: dict[str, Any] = {"shape": shape, "member": member, **_source(record)}
    if isinstance(record, Tally):
        return {**row, "added": record.plus, "taken_off": record.minus, "counts": _counts(state, record)}
    value = {"value": unpack_value(record.value)} if record.value else {"taken_away": True}
    expires = {"expires": record.expires_ms / 1000} if record.expires_ms else {}
    return {**row, **value, **expires, "counts": _counts(state, record)}


def _counts(state: State, record: Cell | Tally) -> bool:
    if isinstance(record, Cell):
        return record in state.cells[record.key].live
    return record in state.tallies[record.key].words


def _source(record: Cell | Tally) -> dict[str, Any]:
    return {"replica": record.author, "task": record.task, "at": stamp_wall_s(record.stamp)}


def _clash(key: str, values: list[Cell]) -> dict[str, Any]:
    return {"member": _member(key), "values": [{"value": unpack_value(one.value), **_source(one)} for one in values]}


def _member(key: str) -> str:
    parsed = parse_place(key)
    return parsed[2] if parsed is not None else ""


def _by_shape(state: State, name: str) -> dict[str, list[str]]:
    shapes: dict[str, list[str]] = {}
    for key in state.places(name):
        parsed = parse_place(key)
        if parsed is not None:
            shapes.setdefault(parsed[0], []).append(key)
    return shapes
