"""Functions that merge what was written at the same time, as the user declares them. Declarations only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from actonce.errors import ConfigError
from actonce.naming import check_name

Function = TypeVar("Function", bound=Callable[..., Any])
PATTERN_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Merge:
    """A function that gets the concurrent values of a register, and returns the one that replaces them."""

    name: str
    pattern: str
    function: Callable[..., Any]

    @property
    def kind(self) -> str:
        """Of its tasks, one for each conflict."""
        return f"merge:{self.name}"

    def takes(self, name: str) -> bool:
        """Whether it is for what is remembered under this name."""
        return fnmatchcase(name, self.pattern)


class Merging:
    """The part of an `Agent` that declares merges."""

    __slots__ = ()
    if TYPE_CHECKING:
        tasks: dict[str, Any]
        merges: dict[str, Merge]

        def _task(self, *options: Any) -> Callable[[Function], Function]: ...

    def merge(
        self,
        pattern: str,
        *,
        name: str | None = None,
        retries: int = 3,
        timeout: str | float | None = "1m",
        placement: str = "spread",
        stand_in_after: str | float | None = None,
        guard: str = "available",
    ) -> Callable[[Function], Function]:
        """Call the decorated `merge(ctx, conflict)` once for each conflict in registers whose name fits `pattern`.

        A conflict are two or more different values, of a register or of a field of a map, whose writers had not seen
        each other: see `Conflict`. What the function returns replaces the values that it was shown, and no other: what
        was written meanwhile stays beside it, as the next conflict. It may be async, or a plain function, which runs in
        a worker thread. It is a task like any other, named after the place and the writes in conflict: one replica
        claims it, a survivor runs it again, and what it returns counts once, with the task's outcome.

        Not guaranteed: that it runs once where the replicas are cut off from each other for longer than the takeover
        grace, or have read different parts of the writes: then two merged values are a conflict of their own, which is
        merged in turn. So let it be commutative: what it returns should depend on the values, not on their order.

        Args:
            pattern: such as "mood" or "profile/*", as in `fnmatch`; of several that fit, the first that was declared.
            name: of the merge, "merge:NAME" being the kind of its tasks; that of the function by default.
            retries, timeout, placement, stand_in_after, guard: as for `task`, but not "local". When the last attempt
                fails, the conflict stays as it is, and the task is listed by `actonce dead list`.
        """
        if type(pattern) is not str or not pattern.isprintable() or not 0 < len(pattern) <= PATTERN_CHARS_MAX:
            raise ConfigError(f"merge {pattern!r}: use a pattern of names in memory, such as 'mood' or 'profile/*'")
        if placement == "local":
            raise ConfigError("placement='local': nobody receives a conflict; use 'spread' or 'primary'")

        def register(function: Function) -> Function:
            named = getattr(function, "__name__", repr(function)) if name is None else name
            check_name("a merge", named)
            made = Merge(named, pattern, function)
            for other in self.merges.values():
                if named == other.name or pattern == other.pattern:
                    what = f"merge {named!r}" if named == other.name else f"a merge of {pattern!r}"
                    raise ConfigError(f"{what} is declared twice: give one of them another name and pattern")
            self._task(made.kind, retries, timeout, "skip", "keep", placement, stand_in_after, guard)(function)
            self.tasks[made.kind] = replace(self.tasks[made.kind], merge=made)
            self.merges[named] = made
            return function

        return register
