"""The engine's thread: its loop from the opening of the journal to its closing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actonce.agent import Agent, check_name
from actonce.desk import Desk
from actonce.edge.hands import ThreadHands
from actonce.edge.journal import open_journal
from actonce.edge.locks import open_locks
from actonce.edge.real import RealWorld
from actonce.engine import Engine
from actonce.errors import ActonceError, ConfigError, ReplicaFailed
from actonce.placement import NO_TRAITS, Traits
from actonce.running import Run
from actonce.settings import Settings
from actonce.world import Cancel
from actonce_transports import HttpHandler, TransportError, WebsocketTransport

log = logging.getLogger("actonce")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a real replica is started with."""

    agent: Agent
    name: str
    data: Path
    listen: str
    join: Sequence[str]
    advertise: str | None
    """Address that others are told to dial; None: where it listens; "": none."""
    secret: bytes | None
    new: bool
    settings: Settings
    traits: Traits = NO_TRAITS
    roster: tuple[str, ...] = ()
    witness: bool = False
    follow: bool = False

    def check(self) -> None:
        """
        Raises:
            ConfigError: an option that makes no sense, or does not go with another.
        """
        wanted: list[tuple[object, type[Any], str]] = [
            (self.agent, Agent, "the agent: give an actonce.Agent"),
            (self.settings, Settings, "the settings: give actonce.LAN, LAPTOP, WAN, or Settings of your own"),
            (self.secret or b"", bytes, "the secret: give bytes, as secret.encode()"),
        ]
        for given, sort, advice in wanted:
            if not isinstance(given, sort):
                raise ConfigError(f"{type(given).__name__} cannot be {advice}")
        check_name("a replica", self.name)
        self.agent.check()
        for voter in self.roster:
            check_name("a voter", voter)
        if self.follow and (self.new or self.witness or self.roster or not self.join):
            raise ConfigError("a replica that only follows needs join=, and knows no new=, witness= or roster=")
        if self.witness and self.roster and self.name not in self.roster:
            raise ConfigError(
                f"{self.name!r} is a witness, and not in the roster {', '.join(self.roster)}: add it there"
            )


def several(option: str, given: Iterable[str]) -> tuple[str, ...]:
    """
    Raises:
        ConfigError: one text, whose characters would be taken for the names.
    """
    if isinstance(given, str):
        raise ConfigError(f"{option}={given!r}: give a list, as [{given!r}]")
    return tuple(given)


class EngineThread:
    """One replica's engine in a thread of its own."""

    def __init__(
        self,
        setup: Setup,
        hands: ThreadHands,
        *,
        perform: Callable[[Desk, Run], Cancel],
        http: Callable[[Engine], HttpHandler],
        on_failed: Callable[[ActonceError], None],
    ) -> None:
        """
        Args:
            http: makes the handler of plain HTTP requests on the replica's port.
            on_failed: called on the engine's thread when the replica cannot go on.
        """
        self._setup, self._hands, self._perform, self._http, self._on_failed = setup, hands, perform, http, on_failed
        self.started: Future[Engine] = Future()
        self.address = ""
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(name=f"actonce-{setup.name}", target=self._run, daemon=True)

    def start(self) -> None:
        """Begin. `started` tells the engine, or the error."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, flush, close. From any thread; `join` waits for it."""
        if self._stop is not None:
            self._hands.engine(self._stop.set)

    def join(self) -> None:
        """Wait for the thread to end. Blocks."""
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            if self.started.done():
                self._on_failed(ReplicaFailed(f"the engine stopped: {type(error).__name__}: {error}"))
            else:
                self.started.set_exception(error)

    async def _main(self) -> None:
        setup, loop = self._setup, asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._hands.attach(loop)
        engines: list[Engine] = []
        flushed = asyncio.Event()

        def failed(error: ActonceError) -> None:
            for engine in engines:
                engine.gate.shut = True  # at once: the user's loop may be blocked for long
            flushed.set()  # a journal that failed reports nothing durable any more
            if self.started.done():
                self._on_failed(error)

        def broken(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            log.error("the engine failed: %s", context["message"], exc_info=error)
            failed(ReplicaFailed(f"the engine failed: {context['message']}: {error}"))

        # A callback that raised leaves the engine in a state that nobody thought of: it must not act on.
        loop.set_exception_handler(broken)
        journal, recovered = open_journal(
            setup.data,
            agent=setup.agent.name,
            replica=setup.name,
            post=loop.call_soon_threadsafe,
            on_error=failed,
            rejoin=bool(setup.join),
        )
        try:
            http: list[HttpHandler] = []
            transport = WebsocketTransport(setup.listen, secret=setup.secret, http=lambda request: http[0](request))
            locks = open_locks(setup.agent)
            world = RealWorld(journal, transport, self._hands, locks)
            engine = Engine(
                world,
                setup.agent,
                setup.name,
                recovered,
                setup.settings,
                new=setup.new,
                traits=setup.traits,
                address=setup.advertise if setup.advertise is not None else setup.listen,
                roster=setup.roster,
                witness=setup.witness,
                follow=setup.follow,
                perform=self._perform,
                on_failed=failed,
            )
            engines.append(engine)
            http.append(self._http(engine))
            await transport.start(engine.routes.me, engine.front)
            try:
                self.address = transport.address
                engine.start()
                engine.front.join(setup.join)
                self.started.set_result(engine)
                await self._stop.wait()
                engine.stop()
                journal.append([], flushed.set)
                await asyncio.wait_for(flushed.wait(), setup.settings.drain_s)
            finally:
                if locks is not None:
                    await locks.aclose()
                await transport.stop()
        except TransportError as error:
            raise ReplicaFailed(str(error)) from error
        finally:
            journal.close()
