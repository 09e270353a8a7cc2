"""What a handler gets: who it is, and how to act on the world."""

from __future__ import annotations

from actonce.agent import parse_duration_s
from actonce.desk import Desk
from actonce.errors import ConfigError, EffectFailed, KeyReused
from actonce.inbox import pack_payload, task_id
from actonce.performing import Effect
from actonce.running import Run
from actonce.spending import Spending, SyncSpending
from actonce.world import RunAsync
from actonce_crdt import Json


class Context:
    """The first argument of an async handler. Valid while that handler runs."""

    def __init__(self, desk: Desk, run: Run) -> None:
        self._desk, self._run = desk, run
        self._posts = 0
        self._posting = False
        self._keys: set[str] = set()

    @property
    def task(self) -> str:
        """Id of the task: the same in every attempt, on every replica."""
        return self._run.task

    @property
    def attempt(self) -> int:
        """Counted from 1 over all replicas, by recorded failures: a killed attempt is not counted."""
        return self._run.attempt

    @property
    def fence(self) -> int:
        """Epoch of the claim: a resource that remembers the highest one can refuse others.

        Of two replicas that both sent effects of a task, the later has the higher one. Not promised: that a claim of
        which nobody heard before its replica died had another number.
        """
        return self._run.epoch

    async def post(self, sink: str, body: Json, *, key: str | None = None) -> Json:
        """Make an effect, once, and return the sink's receipt.

        A handler that runs again, here or elsewhere, gets the receipts of what it posted before. The body that was
        recorded first is the one that is ever sent, also if the second run computes another.

        Args:
            sink: name of a sink of the agent.
            body: JSON-like, at most `PAYLOAD_BYTES_MAX` bytes as msgpack.
            key: names the effect within the task. Without one it is the position among the posts of this handler,
                so that posts without a key must come one after the other, in the same order in each attempt.

        Raises:
            EffectFailed: the sink refused it for good, or did not do it in a bounded number of attempts.
            KeyReused: the key was already used in this attempt.
            PayloadInvalid, PayloadTooLarge: the body cannot be stored.
            GateClosed: another replica has the task; this handler is being cancelled.
        """
        if sink not in self._desk.agent.sinks:
            known = ", ".join(sorted(self._desk.agent.sinks)) or "none"
            raise ConfigError(f"agent {self._desk.agent.name!r} has no sink {sink!r}; it has: {known}")
        packed = pack_payload("the body", body)
        if key is not None:
            return await self._perform(sink, packed, task_id(self.task, key))
        if self._posting:
            raise EffectFailed("two posts at once need a key each: positions would depend on which comes first")
        self._posting = True
        try:
            self._posts += 1
            return await self._perform(sink, packed, task_id(self.task, f"#{self._posts}"))
        finally:
            self._posting = False

    def quota(
        self,
        name: str,
        *,
        timeout: str | float | None = None,
        nowait: bool = False,
        priority: int = 0,
        scope: str = "",
        unsent: tuple[type[BaseException], ...] = (),
        **units: int,
    ) -> Spending:
        """Use a limited resource: `async with ctx.quota("llm", tokens=1200) as spend:` waits for its turn.

        All units are reserved together, or none. What the block used counts for a whole window from its end; after an
        error or a cancellation for `flight` longer, because what was sent may still arrive.

        Args:
            timeout: seconds, or text such as "30s", after which `QuotaTimeout` is raised.
            nowait: raise `QuotaBusy` instead of waiting.
            priority: each step is worth one window of waiting; nobody waits for ever behind higher ones.
            scope: a key or model of the provider: cool-downs that this call meets are for the same scope only.
            unsent: errors that prove that the call never left; then everything is given back at once.
            units: an estimate of what will be used; one request unless said otherwise. `spend.used` corrects it.

        Raises:
            ConfigError: no such quota or unit, an estimate above a whole limit.
            QuotaTimeout, QuotaBusy: no right was to be had.
        """
        pool = self._desk.quotas.pools.get(name)
        if pool is None:
            known = ", ".join(sorted(self._desk.agent.quotas)) or "none"
            raise ConfigError(f"agent {self._desk.agent.name!r} has no quota {name!r}; it has: {known}")
        timeout_s = None if timeout is None else parse_duration_s(timeout)
        return Spending(
            self._desk,
            self._run,
            pool,
            units,
            timeout_s=timeout_s,
            nowait=nowait,
            priority=priority,
            scope=scope,
            unsent=unsent,
        )

    async def _perform(self, sink: str, packed: bytes, key: str) -> Json:
        if key in self._keys:
            raise KeyReused(f"effect {key!r} was already posted by this handler: give each post its own key")
        self._keys.add(key)
        return await Effect(self._desk, self._run, key, sink, self._desk.agent.sinks[sink], packed).perform()


class SyncContext:
    """The first argument of a plain function, which runs in a worker thread. See `Context`."""

    def __init__(self, context: Context, run: RunAsync) -> None:
        self._context, self._run = context, run

    @property
    def task(self) -> str:
        """As `Context.task`."""
        return self._context.task

    @property
    def attempt(self) -> int:
        """As `Context.attempt`."""
        return self._context.attempt

    @property
    def fence(self) -> int:
        """As `Context.fence`."""
        return self._context.fence

    def post(self, sink: str, body: Json, *, key: str | None = None) -> Json:
        """As `Context.post`; blocks this thread until the effect is done."""

        async def post() -> Json:
            return await self._context.post(sink, body, key=key)

        receipt: Json = self._run(post)
        return receipt

    def quota(
        self,
        name: str,
        *,
        timeout: str | float | None = None,
        nowait: bool = False,
        priority: int = 0,
        scope: str = "",
        unsent: tuple[type[BaseException], ...] = (),
        **units: int,
    ) -> SyncSpending:
        """As `Context.quota`, in a plain `with`; blocks this thread while it waits."""
        spending = self._context.quota(
            name, timeout=timeout, nowait=nowait, priority=priority, scope=scope, unsent=unsent, **units
        )
        return SyncSpending(spending, self._run)
