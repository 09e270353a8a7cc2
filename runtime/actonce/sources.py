"""Where work comes from, as the user declares it: listeners, polls, webhooks. Declarations only; nothing runs here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actonce.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Source:
    """A listener: `listen(ctx)` runs on every replica, for as long as the replica does."""

    name: str
    listen: Callable[..., Any]


def check_async(what: str, function: object) -> None:
    """
    Raises:
        ConfigError: not an async function. A thread could not be stopped when its replica leaves.
    """
    if not inspect.iscoroutinefunction(function):
        name = getattr(function, "__name__", repr(function))
        raise ConfigError(f"{name!r} cannot be {what}: it has to be an async function (async def {name}(ctx, ...))")
