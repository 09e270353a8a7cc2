"""The way of effects to a sink, at one replica: its endpoints, a breaker for each, and failover to the next.

A request that an endpoint refused for the moment surely was not done, so it goes to the next one at once. One that may
have been done goes nowhere: it is a doubt, which is settled as ever, and then sent, if at all, to an endpoint that did
not fail lately. While no endpoint may be tried, effects wait here, before the gate, and that does not count as a try.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import anyio

from actonce.breaker import Breaker
from actonce.errors import ConfigError, GateClosed, SinkRefused, SinkUnknown
from actonce.sinks import Gate, Sink, Stamping
from actonce_crdt import Json


class Failover:
    """Several endpoints as one sink, in order of preference.

    Args:
        one_store: all of them are doors to one service, which refuses a repeated key whichever door it comes through,
            and answers look-ups for all. Without that, what may have been done at one of them is never sent to another:
            it is looked up at all of them, where all can be asked; else it is a doubt for the rule of the task.
    """

    def __init__(self, *sinks: Sink, one_store: bool = False) -> None:
        if not sinks:
            raise ConfigError("Failover() needs at least one sink")
        self.sinks, self.one_store = sinks, one_store
        windows = [sink.dedupe_window_s for sink in sinks]
        self.dedupe_window_s = min(windows) if one_store or len(sinks) == 1 else 0.0
        self.publish_timeout_s = max(sink.publish_timeout_s for sink in sinks)
        asked = [sink.can_lookup for sink in sinks]
        self.can_lookup = any(asked) if one_store else all(asked)
        self._line = line_to(self)

    async def publish(self, body: Json, key: str, fence: int, gate: Gate) -> Json:
        """As `Sink.publish`."""
        return await self._line.publish(body, key, fence, gate)

    async def lookup(self, key: str) -> Json | None:
        """As `Sink.lookup`."""
        return await self._line.lookup(key)

    def stamped(self, body: Json, wall_s: float) -> Json:
        """As `Stamping.stamped`: the same for all of them."""
        for sink in self.sinks:
            body = sink.stamped(body, wall_s) if isinstance(sink, Stamping) else body
        return body

    async def aclose(self) -> None:
        """Of all of them."""
        for sink in self.sinks:
            await sink.aclose()


@dataclass(slots=True, eq=False)
class Endpoint:
    """One door."""

    sink: Sink
    breaker: Breaker = field(default_factory=Breaker)

    @property
    def label(self) -> str:
        """For people."""
        named = getattr(self.sink, "url", None) or getattr(self.sink, "path", None)
        return str(named) if named is not None else type(self.sink).__name__


class Line:
    """Publishes and looks up through the endpoints of one sink. Over at the hands only."""

    def __init__(self, sinks: Iterable[Sink], *, one_store: bool) -> None:
        self.endpoints, self._one_store = [Endpoint(sink) for sink in sinks], one_store
        self._moved = anyio.Event()

    async def publish(self, body: Json, key: str, fence: int, gate: Gate) -> Json:
        """As `Sink.publish`, by the first endpoint that may be tried and does not refuse it for the moment.

        Raises:
            SinkRefused, SinkUnknown: nothing else, but for what `gate` raises.
        """
        left = list(self.endpoints)
        while True:
            endpoint = await self._chosen(left)
            left.remove(endpoint)
            try:
                with _Told(self, endpoint):
                    receipt: Json = await endpoint.sink.publish(body, key, fence, gate)
                    return receipt
            except SinkRefused as refusal:
                if refusal.permanent or not any(_wait_s(other) == 0.0 for other in left):
                    raise

    async def lookup(self, key: str) -> Json | None:
        """As `Sink.lookup`: of one store any endpoint will do, of several all must have been asked."""
        left = [endpoint for endpoint in self.endpoints if endpoint.sink.can_lookup]
        while True:
            endpoint = await self._chosen(left)
            left.remove(endpoint)
            try:
                with _Told(self, endpoint):
                    receipt: Json = await endpoint.sink.lookup(key)
            except (SinkRefused, SinkUnknown):
                if not self._one_store or not left:
                    raise
                continue
            if receipt is not None or self._one_store or not left:
                return receipt

    async def _chosen(self, among: Sequence[Endpoint]) -> Endpoint:
        """The first that may be tried; one that failed lately only if no other may. Waits until there is one."""
        while True:
            now = anyio.current_time()
            free = [endpoint for endpoint in among if _wait_s(endpoint) == 0.0]
            if free:
                chosen = min(free, key=lambda endpoint: endpoint.breaker.shy_until > now)
                chosen.breaker.enter()
                return chosen
            with anyio.move_on_after(min(map(_wait_s, among), default=math.inf)):
                await self._moved.wait()

    def moved(self) -> None:
        """A breaker changed: whoever waits looks again."""
        moved, self._moved = self._moved, anyio.Event()
        moved.set()


class _Told:
    """Tells the breaker of an endpoint how a request ended; any strange error becomes SinkUnknown."""

    def __init__(self, line: Line, endpoint: Endpoint) -> None:
        self._line, self._endpoint = line, endpoint

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        breaker, now = self._endpoint.breaker, anyio.current_time()
        match error:
            case None | SinkRefused(permanent=True):
                breaker.succeeded()
            case SinkRefused():
                breaker.failed(now, error.reason, error.retry_after_s or 0.0)
            case SinkUnknown():
                breaker.failed(now, error.reason)
            case GateClosed():
                breaker.left()
            case Exception():  # a sink that breaks its contract may have done anything
                breaker.failed(now, f"{type(error).__name__}: {error}")
                self._line.moved()
                raise SinkUnknown(breaker.why) from error
            case _:
                breaker.left()
        self._line.moved()


def _wait_s(endpoint: Endpoint) -> float:
    return endpoint.breaker.wait_s(anyio.current_time())


def line_to(sink: Sink) -> Line:
    """A new way to this sink, with all breakers closed."""
    if isinstance(sink, Failover):
        return Line(sink.sinks, one_store=sink.one_store)
    return Line((sink,), one_store=True)


class Lines:
    """The ways of one replica to all of its sinks. None is ever shared: see `breaker`."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def to(self, name: str, sink: Sink) -> Line:
        """The one way to this sink. Over at the hands."""
        if name not in self._lines:
            self._lines[name] = line_to(sink)
        return self._lines[name]

    def resting(self) -> list[str]:
        """For people: which endpoints are left alone, and why. From any thread."""
        return [
            f"sink {name} ({endpoint.label}) is left alone after {endpoint.breaker.failures} failures in a row: "
            f"{endpoint.breaker.why}"
            for name, line in sorted(self._lines.copy().items())
            for endpoint in line.endpoints
            if endpoint.breaker.rests
        ]
