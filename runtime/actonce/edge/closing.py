"""Sinks are closed by the last replica that used them: several of one program may share an agent, hence its sinks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import anyio

from actonce.sinks import Sink

log = logging.getLogger("actonce")

CLOSE_S = 5.0
"""How long all sinks together have for it. What is open after that ends with the process."""

_users: Counter[int] = Counter()
"""Replicas of this process that may use the sink with this `id`; they hold it, so that its id stays its own."""


def open_sinks(sinks: Mapping[str, Sink]) -> None:
    """A replica is about to use these."""
    _users.update({id(sink) for sink in sinks.values()})


async def close_sinks(sinks: Mapping[str, Sink]) -> None:
    """It does so no more. To be called on the event loop that its handlers ran on, when none of them runs.

    Never raises: all has been done that was to be done, so an error is reported in the log only.
    """
    left: dict[int, tuple[str, Sink]] = {}
    for name, sink in sinks.items():
        left.setdefault(id(sink), (name, sink))  # one sink may have two names
    for key in left:
        _users[key] -= 1
    with anyio.move_on_after(CLOSE_S):
        async with anyio.create_task_group() as group:
            for key, (name, sink) in left.items():
                if _users[key] <= 0:
                    del _users[key]
                    group.start_soon(_close, name, sink)


async def _close(name: str, sink: Sink) -> None:
    try:
        await sink.aclose()
    except anyio.get_cancelled_exc_class():
        log.warning("sink %r was not closed within %g s: what it holds open ends with this process", name, CLOSE_S)
        raise
    except Exception as error:
        log.warning("sink %r could not be closed: %s: %s", name, type(error).__name__, error)
