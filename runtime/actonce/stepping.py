"""One step from the handler's side: ask the engine what is known, run the function, have its result remembered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from actonce.desk import Desk
from actonce.errors import ConfigError, GateClosed, KeyReused, StepsChanged
from actonce.inbox import pack_payload
from actonce.running import Run
from actonce.settings import KEY_BYTES_MAX
from actonce.steps import NOTHING_BEFORE, Begin, Changed, Known, Plan, fingerprint
from actonce_crdt import Json, unpack_value

inside: ContextVar[str] = ContextVar("actonce_step", default="")
"""Label of the step whose function runs here, or ""."""


@dataclass(slots=True)
class Stepping:
    """The steps of one attempt of a handler."""

    desk: Desk
    run: Run
    _before: str = NOTHING_BEFORE
    _counts: dict[str, int] = field(default_factory=dict)
    _active: set[str] = field(default_factory=set)

    def label(self, name: object) -> str:
        """The name of the next step called `name`: the second one in a row is `name#2`.

        Raises:
            ConfigError: not a name, or inside another step.
            KeyReused: two of one name at once.
        """
        if not isinstance(name, str) or not name or not name.isprintable() or len(name.encode()) > KEY_BYTES_MAX:
            raise ConfigError(f"{name!r} cannot name a step: use printable text of at most {KEY_BYTES_MAX} bytes")
        if inside.get():
            raise ConfigError(f"step {name!r} begins inside step {inside.get()!r}: a step cannot hold another one")
        if name in self._active:
            raise KeyReused(f"two steps {name!r} at once: give each its own name")
        self._active.add(name)
        self._counts[name] = self._counts.get(name, 0) + 1
        return name if self._counts[name] == 1 else f"{name}#{self._counts[name]}"

    def ended(self, name: str) -> None:
        """The step called `name` is over."""
        self._active.discard(name)

    async def known(self, label: str, before: str) -> Known | None:
        """What is remembered of it; None when it is to be run now.

        Raises:
            StepsChanged: what is remembered does not fit this handler; the rule of the task says what follows.
            GateClosed: another replica has the task.
        """
        desk = self.desk
        plan: Plan = await desk.ask(lambda reply: desk.steps.begin(self.run, label, before, reply))
        self._check()
        match plan:
            case Changed(why):
                raise StepsChanged(why)
            case Known():
                desk.watch("step finished", self.run, label)
                return plan
            case Begin():
                while not desk.gate.is_open(self.run):  # it may have closed on the way from the engine to here
                    await desk.wait(lambda reply: desk.outbox.when_open(self.run, reply))
                    self._check()
                desk.watch("step begun", self.run, label)
                return None

    def follow(self, label: str) -> str:
        """The fingerprint of the steps started before this one; it is started now."""
        before, self._before = self._before, fingerprint(self._before, label)
        return before

    async def remember(self, label: str, before: str, value: Json) -> Json:
        """Returns the value as a later attempt would get it, once it is remembered."""
        self.desk.watch("step ran", self.run, label)
        packed = pack_payload(f"the result of step {label!r}", value)
        await self.desk.wait(lambda reply: self.desk.steps.finish(self.run, label, before, packed, reply))
        self._check()
        self.desk.watch("step finished", self.run, label)
        result: Json = unpack_value(packed)
        return result

    def _check(self) -> None:
        if self.run.revoked:
            raise GateClosed(f"task {self.run.task!r} was taken over, or its handler has ended")


@contextmanager
def within(label: str) -> Iterator[None]:
    """The function of this step runs here."""
    token = inside.set(label)
    try:
        yield
    finally:
        inside.reset(token)


async def call(desk: Desk, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`fn(...)`: awaited if it is async, else in a worker thread; an awaitable that it returns is awaited."""
    if inspect.iscoroutinefunction(fn):
        return await fn(*args, **kwargs)
    value = await desk.world.hands.plain(lambda run_async: fn(*args, **kwargs))
    return await value if inspect.isawaitable(value) else value
