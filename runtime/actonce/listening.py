"""Listeners: the user's functions that hear the outside, on every replica that runs, and submit what they hear.

Each replica hears each message. What makes it one task is its key: the same on every replica, as the id that the
outside gave the message. A listener never ends by itself: one that raises or returns is started again after a pause
that grows (exponential, with jitter), and `status` names it meanwhile. It is cancelled when its replica leaves.

Not promised: that a message is heard at all. While every replica is down or deaf, nobody hears it, unless the outside
delivers again.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from actonce.desk import Desk
from actonce.executor import printable
from actonce.inbox import Submitted, pack_payload
from actonce.pauses import pause_s
from actonce.readiness import make_terms
from actonce.sources import Source
from actonce.world import Cancel

log = logging.getLogger("actonce.sources")

HEALTHY_S = 30.0
"""A listener that ran for so long is well: its failures are forgotten."""
ERROR_CHARS_MAX = 300


class SourceContext:
    """The first argument of a listener."""

    def __init__(self, desk: Desk, replica: str, name: str) -> None:
        self._desk = desk
        self.replica = replica
        """Name of the replica that this listener runs on."""
        self.name = name
        """Name of the source."""

    async def submit(
        self,
        kind: str,
        payload: object,
        *,
        key: str,
        priority: int = 0,
        delay: str | float | None = None,
        after: Sequence[str] = (),
    ) -> Submitted:
        """Ask for a task. Returns when it is on disk here and read by one live peer, where there is one.

        Before that it waits, as long as it takes: a listener that acknowledges its message afterwards loses none.

        Args:
            key: the same on every replica, such as the id that the outside gave the message: equal kind and key are one
                task. If replicas heard different payloads under one key, that of the first submission counts.
            priority, delay, after: as in `Replica.submit`.

        Raises:
            UnknownKind, PayloadInvalid, PayloadTooLarge: refused; nothing was stored. Catch it to go on listening.
        """
        desk = self._desk
        packed = pack_payload("the payload", payload)
        terms = make_terms(desk.world.wall(), priority=priority, delay=delay, after=list(after))
        submit = partial(desk.inbox.submit, kind, packed, key, terms=terms, first_counts=True)
        submitted: Submitted = await desk.ask(lambda reply: submit(reply=reply))
        return submitted


async def run_listener(desk: Desk, replica: str, source: Source, ended: Callable[[str], None]) -> None:
    """Run it once, over at the hands, and tell the engine how it ended."""
    how = "it was cancelled, and not by its replica"
    try:
        await source.listen(SourceContext(desk, replica, source.name))
        how = "it returned; a listener that has nothing to do waits for ever"
    except Exception as error:
        log.warning("source %s on %s: %s", source.name, replica, printable(traceback.format_exc()))
        how = printable(f"{type(error).__name__}: {error}")[:ERROR_CHARS_MAX]
    finally:
        desk.tell(lambda: ended(how))


@dataclass(slots=True)
class _Listener:
    source: Source
    failures: int = 0
    """In a row."""
    error: str = ""
    began_at: float = 0.0
    again_at: float | None = None
    """On our clock: when it starts again, if it does not run."""
    handle: Cancel | None = None
    """Of its job while it runs, of the timer while it waits."""


class Listeners:
    """The listeners of one replica, seen from the engine."""

    def __init__(self, desk: Desk, replica: str, sources: Mapping[str, Source], note: Callable[[str], None]) -> None:
        self._desk, self._replica, self._note = desk, replica, note
        self._listeners = [_Listener(source) for _, source in sorted(sources.items())]
        self._began = self._stopped = False

    def begin(self) -> None:
        """The replica has settled. Again is nothing."""
        if not self._began and not self._stopped:
            self._began = True
            for listener in self._listeners:
                self._start(listener)

    def stop(self) -> None:
        """Cancel them all, for good."""
        self._stopped = True
        for listener in self._listeners:
            if listener.handle is not None:
                listener.handle.cancel()
                listener.handle = None

    def troubles(self) -> Iterator[str]:
        """Those that failed and are not well yet, each as a sentence."""
        now = self._desk.world.now()
        for one in self._listeners:
            if one.failures and not self._is_well(one):
                again = f"it starts again in {max(0.0, one.again_at - now):.0f} s" if one.again_at else "it runs again"
                times = f"{one.failures} times in a row" if one.failures > 1 else "once"
                yield f"source {one.source.name!r} failed {times}: {one.error}; {again}"

    def facts(self) -> dict[str, Any]:
        """For `status`: by name, whether it runs, and its failures in a row."""
        return {
            one.source.name: {
                "running": one.again_at is None and self._began and not self._stopped,
                "failures": one.failures,
            }
            for one in self._listeners
        }

    def _start(self, listener: _Listener) -> None:
        world = self._desk.world
        listener.began_at, listener.again_at = world.now(), None
        run = partial(run_listener, self._desk, self._replica, listener.source, partial(self._ended, listener))
        listener.handle = world.hands.start(run)

    def _is_well(self, listener: _Listener) -> bool:
        return listener.again_at is None and self._desk.world.now() - listener.began_at >= HEALTHY_S

    def _ended(self, listener: _Listener, how: str) -> None:
        if self._stopped:
            return
        if self._is_well(listener):
            listener.failures = 0
        listener.failures, listener.error = listener.failures + 1, how
        if listener.failures == 1:
            self._note(f"source {listener.source.name} failed: {how}")
        world = self._desk.world
        wait_s = pause_s(listener.failures, world.rng.random())
        listener.again_at = world.now() + wait_s
        listener.handle = world.call_later(wait_s, partial(self._start, listener))
