"""What a handler gets: who it is, and how to act on the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actonce.agent import parse_duration_s
from actonce.children import check_run, child_key
from actonce.desk import Desk
from actonce.errors import ConfigError, EffectFailed, KeyReused, PayloadInvalid, TaskFailed, UnknownKind
from actonce.inbox import pack_payload, task_id
from actonce.naming import is_text
from actonce.patience import Patience
from actonce.performing import Effect
from actonce.readiness import make_terms
from actonce.recall import Recall
from actonce.running import Run
from actonce.sinks import Stamping
from actonce.spending import Spending, SyncSpending
from actonce.stepping import Stepping, call, inside, within
from actonce.world import RunAsync
from actonce_crdt import Done, Json, unpack_value


@dataclass(frozen=True, slots=True)
class Child:
    """A task that a handler asked for; `Context.gather` waits for it."""

    id: str


class Context:
    """The first argument of an async handler. Valid while that handler runs."""

    def __init__(self, desk: Desk, run: Run) -> None:
        self._desk, self._run = desk, run
        self._steps = Stepping(desk, run)
        self._children: dict[str, int] = {}
        self.patience = Patience()
        self._posts: dict[str, int] = {}
        self._posting: set[str] = set()
        self._keys: set[str] = set()
        self._recall = Recall(desk.memory, run, desk.world.wall, desk.agent.merges)

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
        """Epoch of the claim, or its guard's number: a resource that remembers the highest one can refuse others.

        Of two replicas that both sent effects of a task, the later has the higher one. Not promised: that a claim of
        which nobody heard before its replica died had another number.
        """
        return self._run.fence

    @property
    def memory(self) -> Recall:
        """What the agent remembers; see `Recall`."""
        return self._recall

    async def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """`fn(*args, **kwargs)`, remembered: a handler that runs again, here or elsewhere, gets the first result.

        Once this returns, `fn` does not run again for this step, whichever replicas die. If its replica dies earlier,
        or `fn` raises, it does. (One exception: each side of a partition longer than the takeover grace runs its own.)

        Args:
            name: names the step within the task. Several of one name after each other are name, name#2, name#3. Steps
                may run at once if their names differ.
            fn: async, or plain, which runs in a worker thread. It may post, but not hold another step.

        Returns:
            What `fn` returned, JSON-like, as it comes back from msgpack: a tuple is a list.

        Raises:
            PayloadInvalid, PayloadTooLarge: the result cannot be remembered; at most `PAYLOAD_BYTES_MAX` bytes.
            StepsChanged: other steps are remembered; the task's `on_changed` applies. Let it pass.
            KeyReused: a step of this name is under way.
            GateClosed: another replica has the task; this handler is being cancelled.
        """
        label = self._steps.label(name)
        try:
            before = self._steps.follow(label)
            known = await self._steps.known(label, before)
            if known is not None:
                return unpack_value(known.result)
            with within(label):
                value = await call(self._desk, fn, args, kwargs)
            return await self._steps.remember(label, before, value)
        finally:
            self._steps.ended(name)

    async def spawn(
        self,
        kind: str,
        payload: object,
        *,
        key: str | None = None,
        priority: int = 0,
        delay: str | float | None = None,
        after: Sequence[Child | str] = (),
    ) -> Child:
        """Ask for another task, which may run on any replica. A handler that runs again asks for the same one.

        The payload that was recorded first is the one that counts. A child outlives its parent, whatever becomes of it.

        Args:
            key: names the child within the task; without one it is the position among its children, as with `post`.
            priority, delay, after: as in `Replica.submit`.

        Raises:
            UnknownKind, PayloadInvalid, PayloadTooLarge: refused; nothing was stored.
            GateClosed: another replica has the task, or it was cancelled.
        """
        return await self._spawn(kind, payload, key, inside.get(), priority, delay, after)

    async def _spawn(
        self,
        kind: str,
        payload: object,
        key: str | None,
        step: str,
        priority: int,
        delay: str | float | None,
        after: Sequence[Child | str],
    ) -> Child:
        desk, run = self._desk, self._run
        if not is_text(kind) or kind not in desk.agent.tasks:
            known = ", ".join(sorted(desk.agent.tasks))
            raise UnknownKind(f"agent {desk.agent.name!r} has no handler for {kind!r}; it has: {known}")
        ids = _ids("after", [after] if isinstance(after, str | Child) else after)
        terms = make_terms(desk.world.wall(), priority=priority, delay=delay, after=ids)
        if key is None:
            self._children[step] = self._children.get(step, 0) + 1
        name = f"{step}#{self._children[step]}" if key is None else key
        task, packed = task_id(kind, child_key(self.task, name)), pack_payload("the payload", payload)

        def add(reply: Callable[[int], None]) -> None:
            check_run(run)
            reply(desk.inbox.add(task, kind, packed, replace(terms, parent=self.task)))

        await desk.ask(add)
        return Child(task)

    async def gather(self, *tasks: Child | str, return_exceptions: bool = False) -> list[Any]:
        """The results of these tasks, in order, once all have an outcome.

        While it waits, this handler holds no slot, so its children can run whatever the number of slots; and its
        `timeout` stands still. It goes on when a slot is free. One that nobody ever submits is waited for without end.

        Raises:
            PayloadInvalid: something else than a child or the id of a task, or this task itself.
            TaskFailed: one of them failed, was cancelled or set aside; with `return_exceptions` it takes the place of
                that result instead.
        """
        ids = _ids("gather", tasks)
        if self.task in ids:
            raise PayloadInvalid(f"task {self.task!r} waits for itself: it would never end")
        check_run(self._run)
        with self.patience.waiting():
            done: list[Done] = await self._desk.ask_unless(
                lambda reply: self._desk.children.gather(self._run, ids, reply)
            )
        check_run(self._run)
        results: list[Any] = []
        for task, outcome in zip(ids, done, strict=True):
            value = unpack_value(outcome.result)
            failure = None if outcome.ok else TaskFailed(f"task {task!r} failed: {value!s}")
            if failure is not None and not return_exceptions:
                raise failure
            results.append(value if failure is None else failure)
        return results

    async def post(self, sink: str, body: object, *, key: str | None = None) -> Any:
        """Make an effect, once, and return the sink's receipt.

        A handler that runs again, here or elsewhere, gets the receipts of what it posted before. The body that was
        recorded first is the one that is ever sent, also if the second run computes another.

        Args:
            sink: name of a sink of the agent.
            body: JSON-like, at most `PAYLOAD_BYTES_MAX` bytes as msgpack.
            key: names the effect within the task. Without one it is the position among the posts of this handler,
                or of the step that it posts in, so that posts without a key must come one after the other, in the
                same order in each attempt.

        Raises:
            EffectFailed: the sink refused it for good, or did not do it in a bounded number of attempts.
            KeyReused: the key was already used in this attempt.
            PayloadInvalid, PayloadTooLarge: the body cannot be stored.
            GateClosed: another replica has the task; this handler is being cancelled.
        """
        return await self._post(sink, body, key, inside.get())

    async def _post(self, sink: str, body: Any, key: str | None, step: str) -> Any:
        if sink not in self._desk.agent.sinks:
            known = ", ".join(sorted(self._desk.agent.sinks)) or "none"
            raise ConfigError(f"agent {self._desk.agent.name!r} has no sink {sink!r}; it has: {known}")
        there = self._desk.agent.sinks[sink]
        if isinstance(there, Stamping):
            body = there.stamped(body, self._desk.world.wall())
        packed = pack_payload("the body", body)
        if key is not None:
            return await self._perform(sink, packed, task_id(self.task, key))
        if step in self._posting:
            raise EffectFailed("two posts at once need a key each: positions would depend on which comes first")
        self._posting.add(step)
        try:
            self._posts[step] = self._posts.get(step, 0) + 1
            return await self._perform(sink, packed, f"{self.task}/{step}#{self._posts[step]}")
        finally:
            self._posting.discard(step)

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
                Printable text of at most 200 bytes.
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

    async def _perform(self, sink: str, packed: bytes, key: str) -> Any:
        if key in self._keys:
            raise KeyReused(f"effect {key!r} was already posted by this handler: give each post its own key")
        self._keys.add(key)
        there = self._desk.agent.sinks[sink]
        return await Effect(self._desk, self._run, key, sink, there, packed, self.patience).perform()


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

    @property
    def memory(self) -> Recall:
        """As `Context.memory`."""
        return self._context.memory

    def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `Context.step`; a plain `fn` runs in this thread, which blocks until the step is remembered."""
        steps = self._context._steps
        label = steps.label(name)
        try:
            before = steps.follow(label)
            known = self._run(lambda: steps.known(label, before))
            if known is not None:
                return unpack_value(known.result)
            with within(label):
                value = fn(*args, **kwargs)
            if isinstance(value, Awaitable):
                value = self._run(lambda: _awaited(label, value))
            return self._run(lambda: steps.remember(label, before, value))
        finally:
            steps.ended(name)

    def spawn(
        self,
        kind: str,
        payload: object,
        *,
        key: str | None = None,
        priority: int = 0,
        delay: str | float | None = None,
        after: Sequence[Child | str] = (),
    ) -> Child:
        """As `Context.spawn`."""
        step = inside.get()
        child: Child = self._run(lambda: self._context._spawn(kind, payload, key, step, priority, delay, after))
        return child

    def gather(self, *tasks: Child | str, return_exceptions: bool = False) -> list[Any]:
        """As `Context.gather`; blocks this thread."""
        results: list[Any] = self._run(lambda: self._context.gather(*tasks, return_exceptions=return_exceptions))
        return results

    def post(self, sink: str, body: object, *, key: str | None = None) -> Any:
        """As `Context.post`; blocks this thread until the effect is done."""
        step = inside.get()

        async def post() -> Any:
            return await self._context._post(sink, body, key, step)

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


def _ids(where: str, tasks: Sequence[Child | str]) -> list[str]:
    ids = [one.id if isinstance(one, Child) else one for one in tasks]
    for one in ids:
        if not isinstance(one, str):
            hint = ": give them one by one, as gather(*children)" if isinstance(one, list | tuple) else ""
            raise PayloadInvalid(f"{where}: {one!r} is neither a child nor the id of a task{hint}")
    return ids


async def _awaited(label: str, value: Awaitable[Any]) -> Any:
    with within(label):
        return await value
