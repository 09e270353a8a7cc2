"""What the user writes: an agent, its handlers and its sinks. Declarations only; nothing runs here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from actonce.errors import ConfigError
from actonce.limits import CALENDAR, REQUESTS, QuotaSpec, make_quota
from actonce.locks import LockService, parse_lock_url
from actonce.merging import Merge, Merging
from actonce.naming import check_name as check_name
from actonce.naming import parse_duration_s as parse_duration_s
from actonce.placement import SPREAD, Placement, Way
from actonce.reclaim import RECLAIM, reclaim_rights
from actonce.schedule import Missed, Overlap, Rhythm, Schedule, check_rules, read_cron, read_every
from actonce.sinks import Sink
from actonce.sources import Poll, Source, Sourcing, Webhook

Handler = TypeVar("Handler", bound=Callable[..., Any])
OnDoubt = Literal["resend", "skip", "ask"]
OnChanged = Literal["fail", "restart", "keep"]
GuardName = Literal["available", "majority", "fenced"]
GUARDS: tuple[GuardName, ...] = ("available", "majority", "fenced")
Options = tuple[int, str | float | None, OnDoubt, OnChanged, str, str | float | None, GuardName]
"""What tasks and schedules have in common: see `Agent.task`."""

LEASE_S_MIN = 3.0
"""Shorter leases of a lock service would need many renewals, and fall to a short pause."""

REGION_STAND_IN_S = 10.0


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
    guard: GuardName = "available"
    """What a claim needs before it is acted under: see `Agent.task`."""
    placement: Placement = SPREAD
    stand_in_after_s: float = 0.0
    """How long a replica that is not the first choice waits before it takes such tasks over."""
    example: object = None
    """A payload to simulate with."""
    on_changed: OnChanged = "fail"
    """When remembered steps do not fit the handler: see `Agent.task`."""
    poll: Poll | None = None
    """Its one task never ends: whoever has it polls this source."""
    merge: Merge | None = None
    """Its tasks merge conflicts in memory."""
    retention_s: float | None = None
    """How long its outcomes are remembered; None for what the settings say."""

    @property
    def is_async(self) -> bool:
        """Whether the handler is a coroutine function; others run in a worker thread."""
        return any(map(inspect.iscoroutinefunction, (self.handler, type(self.handler).__call__)))


_RECLAIM_SPEC = TaskSpec(RECLAIM, reclaim_rights, 1_000, None, "skip", guard="majority", on_changed="keep")


def _check_handler(kind: str, handler: Callable[..., Any]) -> None:
    """
    Raises:
        ConfigError: it can never work.
    """
    if not callable(handler):
        raise ConfigError(f"{handler!r} cannot handle {kind!r}: it is no function")
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise ConfigError(f"{handler!r} cannot handle {kind!r}: it yields, and a handler returns its result")
    try:
        inspect.signature(handler).bind(None, None)
    except TypeError as error:
        raise ConfigError(f"{handler!r} cannot handle {kind!r}: called with ctx and payload: {error}") from None
    except ValueError:
        pass  # of a builtin, which does not tell


@dataclass(slots=True)
class Agent(Sourcing, Merging):
    """One identity, run by any number of replicas. Every replica should run the same declarations."""

    name: str
    tasks: dict[str, TaskSpec] = field(default_factory=dict)
    sinks: dict[str, Sink] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    polls: dict[str, Poll] = field(default_factory=dict)
    webhooks: dict[str, Webhook] = field(default_factory=dict)
    merges: dict[str, Merge] = field(default_factory=dict)
    quotas: dict[str, QuotaSpec] = field(default_factory=dict)
    locks: str | LockService | None = None
    """The lock service of fenced kinds, as a URL or ready-made: see `lock`."""

    def __post_init__(self) -> None:
        check_name("an agent", self.name)

    def task(
        self,
        kind: str,
        *,
        retries: int = 3,
        timeout: str | float | None = "10m",
        on_doubt: OnDoubt = "resend",
        on_changed: OnChanged = "fail",
        placement: str = "spread",
        stand_in_after: str | float | None = None,
        example: object = None,
        guard: GuardName = "available",
        retention: str | float | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated function as the handler of `kind`.

        The handler is called with a `Context` and the payload; what it returns is the task's result. It may be
        async, or a plain function, which runs in a worker thread and gets a `SyncContext`.

        Args:
            retries: attempts after the first, counted over all replicas.
            timeout: of one attempt: seconds, or text such as "90s", "2m", "1h"; None for no limit.
            on_doubt: an effect was under way when its replica stopped, and nobody knows whether it happened. A sink
                that can look up a key is always asked. Otherwise "resend" sends it again if the sink still refuses
                repeated keys (its `dedupe_window_s`), and skips it if not; "skip" never sends again; "ask" does as
                "resend", but where that would skip it, the handler waits until a person has looked and said what
                to do (`actonce doubts`). Either way it is listed as a doubt.
            on_changed: the handler runs again, and the names and order of its steps are not those that are remembered,
                as after an update of its code. "fail" gives the task up, and its outcome says which step; "restart"
                forgets its steps and runs all of them again (effects that were made are still not made again);
                "keep" uses whatever is remembered under a name, wherever it stands now.
            placement: who takes the tasks: "spread" over all replicas; "primary", the replica with the highest
                --priority takes all, the others stand by; "local", whoever received it, so that the same key submitted
                on two replicas is two tasks; "region=NAME", replicas started with --region NAME first.
            stand_in_after: how long others wait, after the replica or the region of a "primary", "local" or "region"
                kind is gone, before they take its tasks: on top of the time that it takes to notice. Default: 0, and
                "10s" for regions.
            example: a payload that `actonce simulate` submits.
            guard: what happens in a partition that outlasts the takeover grace. "available": each side acts, once.
                "majority": only a side that holds a majority of the roster acts (`actonce roster`); the other waits.
                "fenced": only a side that the lock service gave the task to acts (`Agent.lock`); the other waits.
            retention: how long the outcome of a task is remembered, and its key, as "1h" or "30d"; 7 days by default.
                Whoever submits the key again within that time gets that outcome; later it is a new task.
        """
        check_name("a kind of task", kind)
        options = (retries, timeout, on_doubt, on_changed, placement, stand_in_after, guard)
        register = self._task(kind, *options, example)
        if retention is None:
            return register
        retention_s = parse_duration_s(retention)

        def keep(handler: Handler) -> Handler:
            registered = register(handler)
            self.tasks[kind] = replace(self.tasks[kind], retention_s=retention_s)
            return registered

        return keep

    def _task(
        self,
        kind: str,
        retries: int,
        timeout: str | float | None,
        on_doubt: OnDoubt,
        on_changed: OnChanged,
        placement: str,
        stand_in_after: str | float | None,
        guard: GuardName,
        example: object = None,
    ) -> Callable[[Handler], Handler]:
        if kind in self.tasks:
            raise ConfigError(f"two handlers for {kind!r}: {self.tasks[kind].handler.__name__} is already registered")
        if type(retries) is not int or retries < 0:
            raise ConfigError(f"retries={retries!r}: the number of further attempts is a whole number, 0 or more")
        if on_doubt not in ("resend", "skip", "ask"):
            raise ConfigError(f"on_doubt={on_doubt!r}: use 'resend', 'skip' or 'ask'")
        if on_changed not in ("fail", "restart", "keep"):
            raise ConfigError(f"on_changed={on_changed!r}: use 'fail', 'restart' or 'keep'")
        if guard not in GUARDS:
            raise ConfigError(f"guard={guard!r}: use {' or '.join(map(repr, GUARDS))}")
        timeout_s = None if timeout is None else parse_duration_s(timeout)
        placed = Placement.parse(placement)
        if stand_in_after is not None and placed == SPREAD:
            raise ConfigError("stand_in_after: with placement='spread' every replica is the first choice of some tasks")
        wait_s = REGION_STAND_IN_S if placed.way is Way.REGION else 0.0
        if stand_in_after is not None:
            wait_s = parse_duration_s(stand_in_after) if stand_in_after else 0.0

        def register(handler: Handler) -> Handler:
            _check_handler(kind, handler)
            self.tasks[kind] = TaskSpec(
                *(kind, handler, retries, timeout_s, on_doubt), guard, placed, wait_s, example, on_changed
            )
            return handler

        return register

    def cron(
        self,
        line: str,
        *,
        name: str | None = None,
        tz: str = "UTC",
        missed: Missed = "once",
        overlap: Overlap = "skip",
        retries: int = 3,
        timeout: str | float | None = "10m",
        on_doubt: OnDoubt = "resend",
        on_changed: OnChanged = "fail",
        placement: str = "spread",
        stand_in_after: str | float | None = None,
        guard: GuardName = "available",
    ) -> Callable[[Handler], Handler]:
        """Run the decorated function at the times of a cron line, each of them once, whatever replicas there are.

        The handler is called with a `Context` and ``{"slot": "2026-11-21T09:00:00Z"}``: the time that it stands for, in
        UTC. Its task is called ``cron:{name}:{slot}``.

        Args:
            line: five fields, or six with the seconds first; or @hourly, @daily, @weekly, @monthly, @yearly.
            name: of the schedule; that of the function by default. A new name is a new schedule.
            tz: the zone whose local time the line speaks of.
            missed: slots whose time passed while no replica was up, by more than a minute: "skip" them, do the newest
                "once", or "all" of them, of which there are at most 100.
            overlap: a slot comes while an earlier one is not over: "skip" it, "queue" it behind that one, or "allow"
                both at once.
            retries, timeout, on_doubt, on_changed, placement, stand_in_after, guard: as for `task`, but not "local":
                nobody receives a slot.
        """
        check_rules(missed, overlap)
        options = (retries, timeout, on_doubt, on_changed, placement, stand_in_after, guard)
        return self._schedule(read_cron(line, tz), name, missed, overlap, options)

    def every(
        self,
        period: str | float,
        *,
        name: str | None = None,
        missed: Missed = "skip",
        overlap: Overlap = "skip",
        retries: int = 3,
        timeout: str | float | None = "10m",
        on_doubt: OnDoubt = "resend",
        on_changed: OnChanged = "fail",
        placement: str = "spread",
        stand_in_after: str | float | None = None,
        guard: GuardName = "available",
    ) -> Callable[[Handler], Handler]:
        """As `cron`, every `period` (whole seconds, as 30 or "5m"), at its multiples since 1970."""
        check_rules(missed, overlap)
        options = (retries, timeout, on_doubt, on_changed, placement, stand_in_after, guard)
        return self._schedule(read_every(parse_duration_s(period), period), name, missed, overlap, options)

    def _schedule(
        self,
        rhythm: Rhythm,
        name: str | None,
        missed: Missed,
        overlap: Overlap,
        options: Options,
    ) -> Callable[[Handler], Handler]:
        if options[4] == Way.LOCAL.value:
            raise ConfigError("placement='local': nobody receives the slots of a schedule; use 'spread' or 'primary'")

        def register(handler: Handler) -> Handler:
            made = Schedule(name if name is not None else handler.__name__, rhythm, missed, overlap)
            check_name("a schedule", made.name)
            self._task(made.kind, *options)(handler)
            self.schedules[made.name] = made
            return handler

        return register

    def sink(self, name: str, sink: Sink) -> Sink:
        """Let handlers post to `sink` as `ctx.post(name, body)`."""
        check_name("a sink", name)
        if not callable(getattr(sink, "publish", None)):
            raise ConfigError(f"{sink!r} is no sink: it has no publish; make one of a function by CallableSink(fn)")
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
        reclaim: str | float | None = None,
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
            reclaim: a majority of the roster (`actonce roster`) takes the rights of a replica that it has not heard of
                for so long. The price: a replica out of touch with a majority for so long uses none, so that the side
                of a minority stops; and a call must leave within `flight` of getting its turn. None: rights of a
                dead replica wait for its return, and every side keeps what it holds.
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
        if reclaim is not None:
            spec = replace(spec, reclaim_s=parse_duration_s(reclaim))
            self.tasks.setdefault(RECLAIM, _RECLAIM_SPEC)
        self.quotas[name] = spec
        return spec

    def lock(self, service: str | LockService) -> None:
        """Declare the lock service that decides about fenced kinds, the same for all replicas.

        Args:
            service: a URL, `nats://host:4222/bucket` or `etcd://host:2379/prefix` (see `actonce.locks.address` for
                TLS and credentials), or anything that keeps the contract of `actonce.locks.LockService`.
        """
        if isinstance(service, str):
            parse_lock_url(service)
        self.locks = service

    @property
    def is_fenced(self) -> bool:
        """Whether a lock service is needed."""
        return any(spec.guard == "fenced" for spec in self.tasks.values())

    @property
    def lease_s(self) -> float:
        """How long a lease at the lock service lasts. The gate needs more of it left than a publish may take, and a
        third of it may be used up when it is renewed."""
        return max(LEASE_S_MIN, 2 * max((sink.publish_timeout_s for sink in self.sinks.values()), default=0.0))

    def check(self) -> None:
        """
        Raises:
            ConfigError: the declarations do not go together.
        """
        self._check_sources()
        if self.is_fenced and self.locks is None:
            kinds = ", ".join(sorted(kind for kind, spec in self.tasks.items() if spec.guard == "fenced"))
            raise ConfigError(
                f"{kinds}: guard='fenced' needs a lock service: declare one with "
                "agent.lock('nats://HOST:4222/BUCKET') or agent.lock('etcd://HOST:2379/PREFIX'), or run with --lock URL"
            )
