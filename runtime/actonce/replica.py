"""A replica inside a Python program.

    async with Replica(agent, name="a", data="./a", new=True) as replica:
        handle = await replica.submit("reply", {"text": "hello"}, key="message-1")
        print(await handle.result())

The engine runs in a thread of its own; handlers run in the event loop that entered the `async with`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread

from actonce import heal, http_memory, reporting
from actonce.agent import Agent
from actonce.asking import ask, wait
from actonce.control import Ordered
from actonce.control_report import CONFIRM_S, unconfirmed
from actonce.desk import Desk
from actonce.edge.closing import close_sinks, open_sinks
from actonce.edge.hands import ThreadHands
from actonce.edge.thread import EngineThread, Setup, several
from actonce.engine import Engine
from actonce.errors import (
    ActonceError,
    NotConfirmed,
    NotSettled,
    PayloadInvalid,
    ReplicaFailed,
)
from actonce.handle import Handle, Order
from actonce.http_api import HttpApi
from actonce.inbox import Submitted, pack_payload
from actonce.job import run_handler
from actonce.memory import NAME_BYTES_MAX, check_text
from actonce.placement import NO_TRAITS, Traits
from actonce.readiness import make_terms
from actonce.running import Run
from actonce.settings import LAN, Settings
from actonce.standing import Mode, Target
from actonce.world import Cancel
from actonce_crdt import Done, Switch

Answer = TypeVar("Answer")
DEFAULT_LISTEN = "127.0.0.1:7420"
NO_KEY = "it may yet be done; without a key, submitting it again makes another task"
NOT_BEGUN = "the replica has not begun: use it inside of `async with Replica(...) as replica`"


class _Raised(NamedTuple):
    error: Exception


class Replica:
    """One replica of an agent, from `async with` to its end. asyncio only."""

    def __init__(
        self,
        agent: Agent,
        *,
        name: str,
        data: str | os.PathLike[str],
        listen: str = DEFAULT_LISTEN,
        join: Iterable[str] = (),
        advertise: str | None = None,
        secret: bytes | None = None,
        new: bool = False,
        settings: Settings = LAN,
        traits: Traits = NO_TRAITS,
        roster: Iterable[str] = (),
        witness: bool = False,
        follow: bool = False,
    ) -> None:
        """
        Args:
            name: unique in the mesh, and always the same for the same `data`.
            data: folder of the journal, on this replica's own disk.
            listen: host:port for peers and for HTTP. Port 0 takes a free one, which others then cannot discover.
            join: addresses of other replicas; any one that is reachable is enough.
            advertise: address under which others reach us, where that is not `listen`; "" to be dialed by nobody.
            secret: known to all replicas of the agent. Without it only loopback addresses are allowed.
            new: no mesh of this agent exists yet. One replica, once: it counts only with an empty journal.
            settings: how fast it talks and gives up; all replicas of an agent should have the same.
            traits: how it is preferred for tasks: see `Agent.task`, `placement`.
            roster: names of the replicas that vote on tasks with guard="majority". They are added by themselves, one
                at a time, once they are there; they are never removed by themselves.
            witness: only vote; run no handlers.
            follow: only hold the document and pass it on; no member waits for it. `submit`, `control` and whatever
                else would change something raise NotAMember, which says who to ask. Any number of replicas may follow.
        """
        if advertise is None and (listen.endswith(":0") or listen.startswith(("0.0.0.0:", "[::]:"))):
            advertise = ""
        join, roster = several("join", join), several("roster", roster)
        self._setup = Setup(
            *(agent, name, Path(data), listen, join, advertise, secret, new, settings, traits, roster, witness, follow)
        )
        self._setup.check()
        self._failed: ActonceError | None = None
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._thread: EngineThread
        self._engine: Engine
        self._hands: ThreadHands
        self._body: anyio.CancelScope

    def __repr__(self) -> str:
        return f"Replica({self._setup.agent.name!r}, name={self._setup.name!r})"

    @property
    def address(self) -> str:
        """host:port that this replica listens on. Known once it has begun."""
        if self._loop is None:
            raise ReplicaFailed(NOT_BEGUN)
        return self._thread.address

    async def __aenter__(self) -> Replica:
        """Open the journal, listen, begin to dial.

        Raises:
            JournalError, ReplicaFailed: the journal or the address cannot be used; the message says why.
        """
        if self._loop is not None:
            raise ReplicaFailed("a Replica begins once: make a new one, with the same name and data")
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ReplicaFailed("a Replica needs a running asyncio event loop: it does not run on trio") from None
        self._body = anyio.CancelScope()
        self._hands = ThreadHands()
        self._thread = EngineThread(
            self._setup, self._hands, perform=self._perform, http=self._http, on_failed=self._engine_failed
        )
        self._thread.start()
        try:
            self._engine = await anyio.to_thread.run_sync(self._thread.started.result)
        except BaseException:
            with anyio.CancelScope(shield=True):
                self._thread.stop()
                await anyio.to_thread.run_sync(self._thread.join)
            raise
        open_sinks(self._setup.agent.sinks)
        self._body.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave: no new work, wait for running handlers up to `drain_s`, say goodbye, close the journal and the sinks.

        Raises:
            ActonceError: the replica failed on its own while the body ran, which was cancelled for it.
        """
        swallow = self._body.__exit__(kind, error, trace)
        with anyio.CancelScope(shield=True):
            if self._failed is None:
                with anyio.move_on_after(self._setup.settings.drain_s):
                    await wait(self._hands, lambda idle: self._engine.drain(idle))
            self._thread.stop()
            await anyio.to_thread.run_sync(self._thread.join)
            await self._hands.close()
            await close_sinks(self._setup.agent.sinks)
            self._ended = True
            for question in list(self._unanswered):
                question.set_exception(ReplicaFailed("the replica ended before it could answer"))
        if self._failed is not None:
            raise self._failed
        return swallow

    async def submit(
        self,
        kind: str,
        payload: object,
        *,
        key: str | None = None,
        priority: int = 0,
        delay: str | float | None = None,
        not_before: datetime | float | None = None,
        after: Iterable[str | Handle] = (),
    ) -> Handle:
        """Hand a task to the mesh. Returns once it is on disk here and read by one live peer, where there is one.

        Equal `kind` and `key` are one task, on whichever replicas it comes in, however often.

        Args:
            priority: from -1000 to 1000. Of the tasks that one replica may begin, the highest go first; there is no
                order between tasks of different replicas.
            delay, not_before: it begins so much later, or not before that time (with its zone, or unix seconds). By the
                wall clock of the replica that gets it.
            after: ids or handles of tasks that must have a result first. If one of them fails, so does this one. One
                that nobody ever submits is waited for without end; `explain` shows it.

        Raises:
            UnknownKind, PayloadInvalid, PayloadTooLarge, KeyReused: refused; nothing was stored.
            NotSettled: not safe within `submit_timeout_s`; says why. It may yet be: submit again with the same key.
        """
        self._check_usable()
        packed = pack_payload("the payload", payload)
        if isinstance(after, str | Handle):
            raise PayloadInvalid(f"after={after!r}: use a list of task ids or handles, as [{after!r}]")
        ids = [one.id if isinstance(one, Handle) else one for one in after]
        wall_s = self._engine.world.wall()
        terms = make_terms(wall_s, priority=priority, delay=delay, not_before=not_before, after=ids)
        limit_s = self._setup.settings.submit_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                submitted: Submitted = await self._ask(
                    lambda reply: self._engine.inbox.submit(kind, packed, key, reply, terms)
                )
        except TimeoutError:
            why = (await self.inspect(reporting.degraded))[:1]
            again = "submit it again with the same key" if key is not None else NO_KEY
            said = [f"no disk and live peer confirmed the task within {limit_s:g} s", *why, again]
            raise NotSettled("; ".join(said)) from None
        return Handle(self._order, self._outcome, submitted.task, submitted.new)

    async def control(
        self,
        mode: Mode,
        *,
        kind: str | None = None,
        replica: str | None = None,
        reason: str = "",
        timeout_s: float | None = None,
    ) -> Ordered:
        """Order the agent, one kind of task or one replica to go on ("run"), "drain", "pause", "stop", or to stop at
        once ("halt"). Every replica obeys that reads it, and those that were away before their first effect.

        A "halt" returns once the gate of every replica in play is shut; no effect leaves any of them until a "run".
        Other orders return when they are on disk here and read by one live peer, where there is one.

        Raises:
            NoSuchTarget: no such kind, or no such replica, was ever heard of.
            PayloadInvalid: both a kind and a replica, or a reason that cannot be stored.
            NotConfirmed: a halt that not all have confirmed within `timeout_s` (10 s); it names them. The order stands.
            NotSettled: no disk and live peer confirmed another order within that time.
        """
        limit_s = CONFIRM_S if timeout_s is None else timeout_s
        target, given = Target(kind, replica), list[Switch]()

        def order(reply: Callable[[Ordered], None]) -> None:
            given.append(self._engine.control.order(target, mode, reason, reply))

        try:
            async with asyncio.timeout(limit_s):
                return await self._ask(order)
        except TimeoutError:
            if mode != "halt" or not given:
                raise NotSettled(f"no disk and live peer confirmed it within {limit_s:g} s; give it again") from None
            found = await self.inspect(lambda engine: engine.control.progress(given[0], target))
            names = tuple(name for name, _ in found.missing)
            raise NotConfirmed(unconfirmed(found, limit_s), names) from None

    async def report(self) -> dict[str, Any]:
        """What was done on both sides of a partition and what is in doubt: see `actonce.heal`. Equal on all replicas
        that have synced."""
        return await self.inspect(lambda engine: heal.report(engine.ledger.state))

    async def status(self) -> dict[str, Any]:
        """What `actonce status` shows: the replicas, the tasks by state, and under "degraded" whatever is amiss."""
        return await self.inspect(reporting.status)

    async def recall(self, name: str) -> dict[str, Any] | None:
        """What the agent remembers under a name, as far as this replica has heard; None: nothing.

        As `actonce memory get --json` shows it: "name", "shape" ("register", "map", "set", "list", "counter", "text"),
        "value", "conflicts"; who wrote it is under "source" for a register, "sources" by member for the rest but a
        counter. For reading only: handlers write, by `ctx.memory`.

        Raises:
            MemoryInvalid: this is no name.
        """
        check_text("the name", name, NAME_BYTES_MAX)
        return await self.inspect(lambda engine: http_memory.recall(engine, name))

    def handle(self, task: str) -> Handle:
        """The handle of a task by its id, wherever it was submitted. Whether there is one, nobody looks."""
        if not isinstance(task, str):
            raise PayloadInvalid(f"{task!r} is no task id")
        return Handle(self._order, self._outcome, task)

    async def settled(self) -> None:
        """Wait until this replica has synced with the mesh and may act. For ever, if it only follows."""

        def ask_nothing(reply: Callable[[None], None]) -> None:
            self._engine.when_settled(lambda: reply(None))

        await self._ask(ask_nothing)

    async def inspect(self, look: Callable[[Engine], Answer]) -> Answer:
        """What `look` finds in the engine, on its thread, between two of its steps. It must change nothing. What it
        raises is raised here."""

        def safely(reply: Callable[[Answer | _Raised], None]) -> None:
            try:
                reply(look(self._engine))
            except Exception as error:  # of the caller, not of the engine, which would stop
                reply(_Raised(error))

        found = await self._ask(safely)
        if isinstance(found, _Raised):
            raise found.error
        return found

    async def _order(self, order: Order) -> str:
        limit_s = self._setup.settings.submit_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._ask(lambda reply: order(self._engine, reply))
        except TimeoutError:
            raise NotSettled(f"no disk and live peer confirmed the order within {limit_s:g} s; give it again") from None

    async def _outcome(self, task: str, timeout_s: float | None) -> Done:
        self._check_usable()
        stops: list[Callable[[], None]] = []

        def stop() -> None:
            for stop_waiting in stops:
                stop_waiting()

        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(lambda reply: stops.append(self._engine.inbox.result(task, reply)))
        except TimeoutError:
            raise TimeoutError(f"task {task!r} has no outcome after {timeout_s:g} s") from None
        finally:
            self._hands.engine(stop)

    async def _ask(self, call: Callable[[Callable[[Answer], None]], None]) -> Answer:
        """As `asking.ask`; ends with an error when the replica does."""
        self._check_usable()
        return await ask(self._hands, call, self._unanswered)

    def _check_usable(self) -> None:
        if self._ended:
            raise ReplicaFailed("the replica has ended")
        if self._loop is None or not hasattr(self, "_engine"):
            raise ReplicaFailed(NOT_BEGUN)
        if asyncio.get_running_loop() is not self._loop:
            raise ReplicaFailed(
                "this is another event loop than the replica's: from another thread, call it by "
                "asyncio.run_coroutine_threadsafe(replica.submit(...), loop)"
            )

    def _perform(self, desk: Desk, run: Run) -> Cancel:
        return self._hands.start(lambda: run_handler(desk, run))

    def _http(self, engine: Engine) -> HttpApi:
        return HttpApi(engine, self._setup.secret)

    def _engine_failed(self, error: ActonceError) -> None:
        self._hands.post(lambda: self._fail(error))

    def _fail(self, error: ActonceError) -> None:
        self._failed = self._failed or error
        self._body.cancel()
