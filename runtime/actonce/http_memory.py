"""`/memory` of a replica's port: what the agent remembers, and what a person or a program tells it to remember."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from actonce import memory_report
from actonce.agent import parse_duration_s
from actonce.engine import Engine
from actonce.errors import ConfigError, MemoryInvalid
from actonce.inbox import Submitted
from actonce.memory import COUNT_MAX, MEMBER_BYTES_MAX, NAME_BYTES_MAX, Put, Revision, check_text, pack_memory
from actonce_crdt import CellState, place
from actonce_crdt.drafts import Draft, difference

BODY = (
    'the body is {"value": any JSON, "ttl": seconds or absent}, {"value": "...", "text": true} or {"remove": true}; '
    '"field" names one of a map'
)


def look(engine: Engine, name: str, query: Mapping[str, str], limit: int) -> tuple[int, object]:
    """Status and answer of GET /memory (all names) and GET /memory/NAME."""
    state = engine.ledger.state
    if not name:
        return 200, memory_report.names(state, query.get("prefix", ""), _now_ms(engine), limit, _texts(engine))
    if "history" in query:
        rows = memory_report.history(state, name)
        return (200, rows) if rows else (404, {"error": f"nothing is remembered under {name!r}"})
    found = recall(engine, name)
    return (200, found) if found else (404, {"error": f"nothing is remembered under {name!r}"})


def recall(engine: Engine, name: str) -> dict[str, Any] | None:
    """What is remembered under a name; None for nothing: see `memory_report`."""
    return memory_report.recall(engine.ledger.state, name, _now_ms(engine), _texts(engine))


def _now_ms(engine: Engine) -> int:
    return int(engine.world.wall() * 1000)


def _texts(engine: Engine) -> dict[str, str]:
    return {text: engine.memory.texts.read(text).text for text in engine.memory.texts.names}


def order(engine: Engine, name: str, body: bytes, reply: Callable[[str], None]) -> None:
    """Remember, or forget, what the body says; `reply` comes once it is on disk here and read by one live peer.

    Raises:
        MemoryInvalid, MemoryFull: refused; nothing was written.
    """
    name = check_text("the name", name, NAME_BYTES_MAX)
    put = _read(engine, name, _parse(body))
    engine.memory.check([put])
    clock = engine.memory.write([put], "")
    word = "remembered" if (put.text if isinstance(put, Revision) else put.value) else "forgotten"
    engine.inbox.when_kept(clock, Submitted(name, new=False), lambda kept: reply(word))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MemoryInvalid(f"the body is not JSON: {error}") from None
    if not isinstance(asked, dict) or ("value" in asked) == (asked.get("remove") is True):
        raise MemoryInvalid(BODY)
    return asked


def _read(engine: Engine, name: str, asked: dict[str, Any]) -> Put | Revision:
    if asked.get("text") is True or engine.memory.shape(name) == "t":
        return _read_text(engine, name, asked)
    field, wall = asked.get("field", ""), engine.world.wall()
    if field != "":
        check_text("the field", field, MEMBER_BYTES_MAX)
    there = engine.memory.shape(name)
    shape = "s" if there == "s" and "remove" in asked and field else "m" if field else "r"
    key = place(shape, name, field)
    seen = engine.memory.cells.get(key, CellState())
    if "remove" in asked:
        if not seen.values(int(wall * 1000)):
            raise MemoryInvalid(f"nothing is remembered under {name!r}" + (f", field {field!r}" if field else ""))
        return Put(shape, name, field, b"", seen.context())
    ttl = asked.get("ttl")
    try:
        expires_ms = 0 if ttl is None else min(COUNT_MAX, int((wall + parse_duration_s(ttl)) * 1000))
    except ConfigError as error:
        raise MemoryInvalid(f"ttl: {error}") from None
    return Put(shape, name, field, pack_memory(asked["value"]), seen.context(), expires_ms)


def _read_text(engine: Engine, name: str, asked: dict[str, Any]) -> Revision:
    """Make a text this, by one edit over what is known here; or delete all of it."""
    base, new = engine.memory.texts.read(name), asked.get("value", "")
    if not isinstance(new, str) or "field" in asked or "ttl" in asked:
        raise MemoryInvalid(f"{name!r} is a text: its value is a string, and it has neither fields nor an end")
    try:
        new.encode()
    except UnicodeEncodeError as error:
        raise MemoryInvalid(f"this cannot be written into a text: it has no UTF-8 form ({error.reason})") from None
    if "remove" in asked and not base.text:
        raise MemoryInvalid(f"nothing is remembered under {name!r}")
    draft = Draft(base.text)
    draft.splice(*difference(base.text, new))
    return Revision(name, base, draft.pieces, new)
