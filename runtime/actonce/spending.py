"""`ctx.quota(...)` from the handler's side: wait for a turn, use it, settle what was really used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType

import anyio

from actonce.complaints import Complaint, read_complaint
from actonce.desk import Desk
from actonce.errors import ConfigError, GateClosed, QuotaBusy, QuotaTimeout
from actonce.limits import BURST
from actonce.pool import Pool
from actonce.running import Run
from actonce.settings import KEY_BYTES_MAX
from actonce.world import RunAsync
from actonce_crdt import COUNT_MAX

PRIORITY_MAX = 10


class Spend:
    """Rights that one call uses. Valid inside its `async with`."""

    def __init__(
        self,
        pool: Pool,
        amounts: tuple[int, ...],
        scope: str,
        wall: Callable[[], float],
        tell: Callable[[Complaint, str], None],
    ) -> None:
        self._pool, self._amounts, self._scope, self._wall, self._tell = pool, amounts, scope, wall, tell
        self._used = amounts
        self._sent = True

    def used(self, **units: int) -> None:
        """What the call really used, where that differs from the estimate. More than the estimate is an overshoot: it
        is counted, reported, and later calls wait for it.

        Raises:
            ConfigError: no such unit, or no count.
        """
        spec, used = self._pool.spec, list(self._used)
        for unit, amount in units.items():
            if unit not in spec.units or type(amount) is not int or not 0 <= amount <= COUNT_MAX:
                known = ", ".join(sorted(spec.units))
                raise ConfigError(f"used({unit}={amount!r}): quota {spec.name!r} counts {known}, in whole numbers")
            for index, one in enumerate(spec.resources):
                if one.unit.removesuffix(BURST) == unit:
                    used[index] = amount
        self._used = tuple(used)

    def unsent(self) -> None:
        """The call surely never left: give everything back, to be used at once."""
        self._sent = False

    def cool(self, seconds: float, *, everything: bool = False) -> None:
        """The provider asked for a pause: all replicas obey it.

        Args:
            seconds: how long; at most `COOL_S_MAX` are obeyed.
            everything: also for calls of other scopes.
        """
        if not 0 <= seconds < math.inf:
            raise ConfigError(f"cool({seconds!r}): a number of seconds from 0")
        self._complain(Complaint(float(seconds), refused=False), everything)

    def answered(self, status: int, headers: Mapping[str, str], *, everything: bool = False) -> None:
        """An HTTP answer: what it says of limits (429, 503, Retry-After, quota headers) is obeyed by all replicas."""
        complaint = read_complaint(status, headers, self._wall())
        if complaint is not None:
            self._complain(complaint, everything)

    def _complain(self, complaint: Complaint, everything: bool) -> None:
        self._tell(complaint, "" if everything else self._scope)

    def _end(self, error: BaseException | None, unsent: tuple[type[BaseException], ...]) -> None:
        if not self._sent or (error is not None and isinstance(error, unsent)):
            self._pool.give_back(self._amounts)
        else:
            self._pool.finish(self._amounts, self._used, answered=error is None)


class Spending:
    """The `async with` of `Context.quota`."""

    def __init__(
        self,
        desk: Desk,
        run: Run,
        pool: Pool,
        asked: Mapping[str, int],
        *,
        timeout_s: float | None,
        nowait: bool,
        priority: int,
        scope: str,
        unsent: tuple[type[BaseException], ...],
    ) -> None:
        if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
            raise ConfigError(f"priority={priority}: use -{PRIORITY_MAX} to {PRIORITY_MAX}; more is earlier")
        if not scope.isprintable() or len(scope.encode()) > KEY_BYTES_MAX:
            raise ConfigError(f"scope={scope!r}: use printable text of at most {KEY_BYTES_MAX} bytes")
        self._desk, self._run, self._pool = desk, run, pool
        self._timeout_s, self._nowait, self._priority = timeout_s, nowait, priority
        self._scope, self._unsent = scope, unsent
        self._amounts = pool.spec.amounts(asked)
        self._spend: Spend | None = None

    async def __aenter__(self) -> Spend:
        assert self._spend is None, "a quota is entered once: call ctx.quota again"
        if not self._pool.take(self._amounts, self._scope):
            await self._wait()
        self._spend = Spend(self._pool, self._amounts, self._scope, self._desk.world.wall, self._tell)
        return self._spend

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._spend is not None
        self._spend._end(error, self._unsent)

    async def _wait(self) -> None:
        pool, name, began = self._pool, self._pool.spec.name, self._desk.world.now()
        why = pool.reason(self._amounts, self._scope)
        if self._nowait:
            self._desk.tell(pool.on_hungry)
            raise QuotaBusy(f"quota {name!r} has nothing free now: {why}")
        ends = math.inf if self._timeout_s is None else began + self._timeout_s
        now_why = partial(pool.reason, self._amounts, self._scope)
        self._desk.tell(lambda: self._desk.quotas.began_to_wait(self, self._run.task, name, now_why))
        waiter = pool.enqueue(self._amounts, self._scope, self._priority)
        try:
            while not waiter.granted:
                now = self._desk.world.now()
                if pool.closed or self._run.revoked:
                    raise GateClosed(f"task {self._run.task!r} was taken over, or its replica is leaving")
                if now >= ends:
                    raise QuotaTimeout(f"waited {now - began:.1f} s for quota {name!r}: {why}")
                until = min(ends, pool.next_change() if pool.heads(waiter) else math.inf)
                with anyio.move_on_after(max(0.0, until - now)):
                    await waiter.poke.wait()
                pool.serve()
        except BaseException:
            pool.withdraw(waiter)
            raise
        finally:
            waited_s = self._desk.world.now() - began
            self._desk.tell(lambda: self._desk.quotas.waited(self, self._run.task, name, waited_s, why))

    def _tell(self, complaint: Complaint, scope: str) -> None:
        name = self._pool.spec.name
        self._desk.tell(lambda: self._desk.quotas.cooling.complained(name, scope, complaint))


class SyncSpending:
    """The `with` of `SyncContext.quota`: waits, and counts, over at the hands."""

    def __init__(self, spending: Spending, run: RunAsync) -> None:
        self._spending, self._run = spending, run

    def __enter__(self) -> Spend:
        spend: Spend = self._run(self._spending.__aenter__)
        return spend

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def leave() -> None:
            await self._spending.__aexit__(kind, error, trace)

        self._run(leave)
