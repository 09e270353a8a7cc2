"""Polling from the handler's side: call the user's function, check what it returned, hand it to the engine, wait."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio

from actonce.agent import TaskSpec
from actonce.desk import Desk
from actonce.errors import PollInvalid
from actonce.executor import printable
from actonce.inbox import pack_payload, task_id
from actonce.listening import SourceContext
from actonce.placement import Way
from actonce.polls import Batch
from actonce.running import Run
from actonce.sources import Poll
from actonce.stepping import call
from actonce_crdt import Cursor, Json, unpack_value

log = logging.getLogger("actonce.sources")

ITEMS_MAX = 1_000
"""Items that one call may return."""
CURSOR_BYTES_MAX = 16_384
"""A cursor, as canonical msgpack: each call that moves it writes it down."""
ERROR_CHARS_MAX = 300
Found = tuple[str, str, bytes]
"""Task, kind, payload."""


async def poll_forever(desk: Desk, run: Run, poll: Poll) -> Json:
    """Until the run is revoked, and then the job is cancelled."""
    while not run.revoked:
        since: Cursor | None = await desk.ask(lambda reply: desk.polls.begin(run, poll, reply))
        if run.revoked:
            break
        if not desk.gate.is_open(run):
            continue  # it closed on the way from the engine to here
        began_at = desk.world.now()
        try:
            batch = await _call(desk, poll, since)
        except Exception as error:
            await anyio.sleep(await _failed(desk, poll, error))
            continue
        moved: bool = await desk.ask(partial(desk.polls.take, run, poll, batch))
        if not (batch.more and moved):
            await anyio.sleep(max(0.0, began_at + poll.period_s - desk.world.now()))
    return None


async def _call(desk: Desk, poll: Poll, since: Cursor | None) -> Batch:
    context = SourceContext(desk, desk.polls.me, poll.name)
    cursor = unpack_value(since.value) if since is not None else None
    try:
        with anyio.fail_after(poll.timeout_s) as scope:
            value = await call(desk, poll.function, (context, cursor), {})
    except TimeoutError:
        if not scope.cancelled_caught:
            raise
        raise PollInvalid(f"no answer within {poll.timeout_s:g} s") from None
    items, moved, more = read_polled(poll, value, cursor, desk.agent.tasks)
    return Batch(since, items, moved, more)


async def _failed(desk: Desk, poll: Poll, error: Exception) -> float:
    expected = isinstance(error, PollInvalid)
    log.warning("source %s: %s", poll.name, error if expected else printable(traceback.format_exc()))
    text = printable(str(error) if expected else f"{type(error).__name__}: {error}")[:ERROR_CHARS_MAX]
    wait_s: float = await desk.ask(lambda reply: reply(desk.polls.failed(poll, text)))
    return wait_s


def read_polled(
    poll: Poll, value: Any, cursor: Json, tasks: Mapping[str, TaskSpec]
) -> tuple[tuple[Found, ...], bytes, bool]:
    """What a call that began at `cursor` returned, checked: items, cursor, more.

    Raises:
        PollInvalid: it cannot be stored, or makes no sense; then nothing of it is.
        PayloadInvalid, PayloadTooLarge: the same of one key, payload, or of the cursor.
    """
    if not isinstance(value, tuple) or not 2 <= len(value) <= 3:
        raise PollInvalid(f"a poll returns (items, cursor), not {_shape(value)}")
    items, moved, more = (*value, False)[:3]
    if not isinstance(items, list | tuple):
        raise PollInvalid(f"a poll returns (items, cursor) with a list of items, not {_shape(items)}")
    if len(items) > ITEMS_MAX:
        raise PollInvalid(f"{len(items):,} items at once; the limit is {ITEMS_MAX:,}: return the rest with more=True")
    if cursor is not None and type_name(moved) != type_name(cursor):
        raise PollInvalid(
            f"the cursor is {type_name(moved)}, and was {type_name(cursor)}: return the same type as before, or give "
            "the source another name, with which it begins anew"
        )
    packed = pack_payload("the cursor", moved)
    if len(packed) > CURSOR_BYTES_MAX:
        raise PollInvalid(f"the cursor has {len(packed):,} bytes; the limit is {CURSOR_BYTES_MAX:,} bytes")
    return tuple(_read_item(poll, item, tasks) for item in items), packed, bool(more)


def _read_item(poll: Poll, item: Any, tasks: Mapping[str, TaskSpec]) -> Found:
    if not isinstance(item, tuple) or not 2 <= len(item) <= 3:
        raise PollInvalid(f"an item is (key, payload) or (key, payload, kind), not {_shape(item)}")
    key, payload, kind = (*item, None)[:3]
    kind = poll.kind if kind is None else kind
    spec = tasks.get(kind) if isinstance(kind, str) else None
    if spec is None or spec.poll is not None or spec.placement.way is Way.LOCAL:
        raise PollInvalid(
            f"item {key!r} is of kind {kind!r}, for which the agent has no handler that any replica may run"
        )
    return task_id(kind, key), kind, pack_payload(f"the payload of item {key!r}", payload)


def type_name(value: object) -> str:
    """As people say it. All numbers are of one type."""
    names = {bool: "a truth value", int: "a number", float: "a number", str: "text", bytes: "bytes", dict: "a mapping"}
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list | tuple) else names.get(type(value), f"of type {type(value).__name__}")


def _shape(value: object) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type_name(value)
