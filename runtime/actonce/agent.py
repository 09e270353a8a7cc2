"""What the user writes: an agent, its handlers and its sinks. Declarations only; nothing runs here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from actonce.errors import ConfigError
from actonce.limits import CALENDAR, REQUESTS, QuotaSpec, make_quota
from actonce.sinks import Sink
from actonce_crdt import Json

Handler = TypeVar("Handler", bound=Callable[..., Any])
OnDoubt = Literal["resend", "skip"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One kind of task and how to run it."""

    kind: str
    handler: Callable[..., Any]
    retries: int
    """Attempts after the first, over all replicas."""
    timeout_s: float | None
    """Of one attempt."""
    on_doubt: OnDoubt
    """When an effect may or may not have happened and its sink cannot be asked: see `Agent.task`."""
    example: Json = None
    """A payload to simulate with."""

    @property
    def is_async(self) -> bool:
        """Whether the handler is a coroutine function; others run in a worker thread."""
        return inspect.iscoroutinefunction(self.handler)


@dataclass(slots=True)
class Agent:
    """One identity, run by any number of replicas. Every replica should run the same declarations."""

    name: str
    tasks: dict[str, TaskSpec] = field(default_factory=dict)
    sinks: dict[str, Sink] = field(default_factory=dict)
    quotas: dict[str, QuotaSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("an agent", self.name)

    def task(
        self,
        kind: str,
        *,
        retries: int = 3,
        timeout: str | float | None = "10m",
        on_doubt: OnDoubt = "resend",
        example: Json = None,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated function as the handler of `kind`.

        The handler is called with a `Context` and the payload; what it returns is the task's result. It may be
        async, or a plain function, which runs in a worker thread and gets a `SyncContext`.

        Args:
            retries: attempts after the first, counted over all replicas.
            timeout: of one attempt: seconds, or text such as "90s", "2m", "1h"; None for no limit.
            on_doubt: an effect was under way when its replica stopped, and nobody knows whether it happened. A sink
                that can look up a key is always asked. Otherwise "resend" sends it again if the sink still refuses
                repeated keys (its `dedupe_window_s`), and skips it if not; "skip" never sends again. Either way it
                is listed as a doubt.
            example: a payload that `actonce simulate` submits.
        """
        check_name("a kind of task", kind)
        if kind in self.tasks:
            raise ConfigError(f"two handlers for {kind!r}: {self.tasks[kind].handler.__name__} is already registered")
        if retries < 0:
            raise ConfigError(f"retries={retries}: the number of further attempts cannot be negative")
        if on_doubt not in ("resend", "skip"):
            raise ConfigError(f"on_doubt={on_doubt!r}: use 'resend' or 'skip'")
        timeout_s = None if timeout is None else parse_duration_s(timeout)

        def register(handler: Handler) -> Handler:
            self.tasks[kind] = TaskSpec(kind, handler, retries, timeout_s, on_doubt, example)
            return handler

        return register

    def sink(self, name: str, sink: Sink) -> Sink:
        """Let handlers post to `sink` as `ctx.post(name, body)`."""
        check_name("a sink", name)
        self.sinks[name] = sink
        return sink

    def quota(
        self,
        name: str,
        limit: int | None = None,
        per: str | float = "1m",
        *,
        burst: int | None = None,
        zone: str = "UTC",
        adaptive: bool = False,
        flight: str | float = "10s",
        **units: int | tuple[int, str | float],
    ) -> QuotaSpec:
        """Let all replicas together use no more than this, as `async with ctx.quota(name, ...)` in handlers.

        Rights are divided among the replicas and moved to where they are needed; none is ever made, so that no split,
        crash or join lets the total exceed the limit. See `limits` for what renews them.

        Args:
            limit: requests; each `ctx.quota` takes one.
            per: a duration ("1m", 0.5), in any interval of which the limit holds; or "day", "week", "month": budgets
                that are renewed at midnight in `zone`, survive restarts, and raise alarms at 80 and 100 percent.
            burst: so many requests at once at most, as from a token bucket of this size.
            adaptive: halve the limit when the provider answers 429, and let a tenth of it come back in each window.
            flight: how long a request whose answer never came may still arrive at the provider.
            units: further limits, all acquired together: tokens=90_000, or cents=(5_000, "day").

        Raises:
            ConfigError: not a limit, no such window.
        """
        check_name("a quota", name)
        if name in self.quotas:
            raise ConfigError(f"quota {name!r} is declared twice")
        limits = units if limit is None else {REQUESTS: limit, **units}
        windows = [given[1] if isinstance(given, tuple) else per for given in limits.values()]
        seconds = {str(window): parse_duration_s(window) for window in windows if window not in CALENDAR}
        spec = make_quota(
            name,
            limits,
            per,
            burst=burst,
            zone=zone,
            adaptive=adaptive,
            flight_s=parse_duration_s(flight),
            seconds=seconds,
        )
        self.quotas[name] = spec
        return spec


def check_name(what: str, name: object) -> None:
    """Names of agents, replicas, kinds and sinks share one form."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name {what}: use 1 to 64 of a-z, 0-9, '.', '_', '-', starting with a letter or digit"
        )


def parse_duration_s(text: str | float) -> float:
    """Seconds of "250ms", "30s", "2m", "1.5h", "1d", or of a number of seconds."""
    if isinstance(text, str):
        match = _DURATION.fullmatch(text.strip())
        seconds = float(match[1]) * _UNIT_S[match[2]] if match else -1.0
    else:
        seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{text!r} is not a duration: write 250ms, 30s, 2m, 1h, 1d, or seconds as a number")
    return seconds
