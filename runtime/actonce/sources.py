"""Where work comes from, as the user declares it: listeners, polls, webhooks. Declarations only; nothing runs here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from actonce.errors import ConfigError
from actonce.naming import check_name, parse_duration_s

Function = TypeVar("Function", bound=Callable[..., Any])
_PATH = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
_HEADER = re.compile(r"[a-z0-9-]{1,64}")
PATH_CHARS_MAX = 100
ATTEMPTS = 2**40
"""Of the task that polls: it never fails for good."""


@dataclass(frozen=True, slots=True)
class Source:
    """A listener: `listen(ctx)` runs on every replica, for as long as the replica does."""

    name: str
    listen: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Poll:
    """A function that one replica at a time calls again and again with the cursor that it returned last."""

    name: str
    function: Callable[..., Any]
    kind: str
    """Of the tasks that items become, where they do not say."""
    period_s: float
    timeout_s: float
    """Of one call."""

    @property
    def task(self) -> str:
        """The task that never ends: whoever has its claim, polls. Also the name of its kind."""
        return f"poll:{self.name}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A path of the replica's HTTP port: what is sent there becomes tasks of `kind`."""

    path: str
    kind: str
    id_header: str | None
    """Lower case; None: events are CloudEvents."""


class Item(NamedTuple):
    """Something that a poll found: a task to be. A tuple of its parts serves as well."""

    key: str
    """The id that the outside gave it: equal kind and key are one task, however often they are found."""
    payload: Any
    """JSON-like."""
    kind: str | None = None


class Polled(NamedTuple):
    """What a poll returns. A tuple of its parts serves as well."""

    items: Sequence[Item | tuple[str, Any] | tuple[str, Any, str | None]]
    cursor: Any
    """Where the next call goes on. Opaque; always of the same type. None only as long as there is none."""
    more: bool = False
    """Call again at once: there is more where this came from."""


class Sourcing:
    """The part of an `Agent` that declares sources."""

    __slots__ = ()
    if TYPE_CHECKING:
        tasks: dict[str, Any]
        sources: dict[str, Source]
        polls: dict[str, Poll]
        webhooks: dict[str, Webhook]

        def _task(self, *options: Any) -> Callable[[Function], Function]: ...

    @overload
    def source(self, listen: Function) -> Function: ...

    @overload
    def source(self, *, name: str | None = None) -> Callable[[Function], Function]: ...

    def source(self, listen: Any = None, *, name: str | None = None) -> Any:
        """Run the decorated `async def listen(ctx)` on every replica; it submits what it hears: `ctx.submit(...)`.

        As `@agent.source`, or `@agent.source(name="room")`; the name is that of the function by default. Each replica
        hears each message, and equal keys are one task. See `SourceContext`, and `listening` for how it is restarted.
        """

        def register(listen: Function) -> Function:
            if not inspect.iscoroutinefunction(listen):
                it = getattr(listen, "__name__", repr(listen))  # a thread could not be stopped when its replica leaves
                raise ConfigError(f"{it!r} cannot be a source: it has to be an async function (async def {it}(ctx))")
            named = self._name_source(listen, name)
            self.sources[named] = Source(named, listen)
            return listen

        return register if listen is None else register(listen)

    def poll(
        self,
        period: str | float,
        *,
        kind: str,
        name: str | None = None,
        timeout: str | float = "1m",
        placement: str = "spread",
        stand_in_after: str | float | None = None,
        guard: str = "available",
    ) -> Callable[[Function], Function]:
        """Call the decorated `poll(ctx, cursor)` every `period`, on one replica at a time; the others stand by.

        It returns `(items, cursor)`: see `Polled`. Items become tasks; once these are on disk and read by every replica
        in play, the cursor is remembered, and with that the next call begins, on whichever replica. The first call gets
        None. One that raises, or returns what cannot be stored, changes nothing: it is repeated with a growing pause.

        Args:
            kind: of the tasks that items become, where they do not say; "local" placement is not for them.
            name: of the source; that of the function by default. A new name begins without a cursor.
            timeout: of one call.
            placement, stand_in_after, guard: which replica polls: as for `task`, but not "local". With "majority", the
                minority side of a partition does not poll.
        """
        if placement == "local":
            raise ConfigError("placement='local': nobody receives a poll; use 'spread' or 'primary'")
        period_s, timeout_s = parse_duration_s(period), parse_duration_s(timeout)

        def register(function: Function) -> Function:
            made = Poll(self._name_source(function, name), function, kind, period_s, timeout_s)
            self._task(made.task, ATTEMPTS, None, "resend", "keep", placement, stand_in_after, guard)(function)
            self.tasks[made.task] = replace(self.tasks[made.task], poll=made)
            self.polls[made.name] = made
            return function

        return register

    def webhook(self, path: str, *, kind: str, id_header: str | None = None) -> None:
        """Make tasks of `kind` from what is sent to `POST /hook/PATH` on any replica's port.

        Args:
            path: such as "orders" or "shop/orders".
            id_header: the header that names an event, such as "X-GitHub-Delivery", for senders of plain JSON. Without
                it events are CloudEvents 1.0, and named by their `source` and `id`.
        """
        if len(path) > PATH_CHARS_MAX or not _PATH.fullmatch(path):
            raise ConfigError(f"webhook {path!r}: use a path such as 'orders' or 'shop/orders', without a leading '/'")
        if path in self.webhooks:
            raise ConfigError(f"webhook {path!r} is declared twice")
        if id_header is not None and not _HEADER.fullmatch(id_header.lower()):
            raise ConfigError(f"id_header={id_header!r} is not the name of a header, such as 'X-GitHub-Delivery'")
        self.webhooks[path] = Webhook(path, kind, id_header.lower() if id_header is not None else None)

    def _name_source(self, function: Any, name: object) -> str:
        named = getattr(function, "__name__", repr(function)) if name is None else name
        check_name("a source", named)
        if named in self.sources or named in self.polls:
            raise ConfigError(f"source {named!r} is declared twice: give one of them another name")
        assert isinstance(named, str)
        return named

    def _check_sources(self) -> None:
        """
        Raises:
            ConfigError: items of a poll, or events of a webhook, have no handler.
        """
        wanted = {f"poll {one.name!r}": one.kind for one in self.polls.values()}
        wanted |= {f"webhook {one.path!r}": one.kind for one in self.webhooks.values()}
        for what, kind in sorted(wanted.items()):
            spec = self.tasks.get(kind)
            if spec is None or spec.poll is not None:
                known = ", ".join(sorted(name for name, one in self.tasks.items() if one.poll is None)) or "none"
                raise ConfigError(f"{what}: the agent has no handler for {kind!r}; it has: {known}")
            if str(spec.placement) == "local":
                raise ConfigError(f"{what}: {kind!r} is placed 'local': what comes in twice would be two tasks")
