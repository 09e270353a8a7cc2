"""What the contract suite (contract_suite.py) works with; useful for other tests of transports too."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

import anyio
import pytest

from .contract import End, Identity, Link, Reach, Transport

__all__ = ["Mesh", "Recorder", "Side", "Stage"]

WAIT_S = 10.0
"""How long a test waits for something that must happen."""


class Mesh(Protocol):
    """What the suite needs to know of an implementation."""

    def transport(self) -> Transport:
        """A new transport, not started, which the others of this mesh can reach at its `address` once it is."""

    def unused_address(self) -> str:
        """An address at which nobody listens, and whose host says so."""

    def silent_address(self) -> str | None:
        """An address that neither accepts nor refuses within a few seconds; None if there is no way to have one."""

    async def kill(self, transport: Transport) -> None:
        """End the transport as kill -9 would: what its links have been given is on its way, nothing else is sent."""

    async def drop(self, transport: Transport, link: Link) -> None:
        """Break the connection under a link of this transport, from outside."""

    def faults(self) -> AbstractContextManager[list[BaseException]]:
        """Collects what callbacks raise, which otherwise goes to the exception handler of the event loop."""

    def twin(self, transport: Transport) -> Transport:
        """A new transport, not started, at the very same address."""


class Recorder:
    """A receiver that writes down what happens. Each callback is `(what, ...)` in `events`."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.links: list[Link] = []  # those that are up
        self.frames: list[bytes] = []
        self.refuse: Callable[[Identity], str | None] = lambda peer: None
        self.on_frame: Callable[[Link, bytes], None] = lambda link, data: None
        self.on_link_up: Callable[[Link], None] = lambda link: None
        self.inside = False
        self.reentered = False
        self._changed = anyio.Event()

    def accept(self, peer: Identity, dialed: bool) -> str | None:
        with self._callback("accept", peer.name, dialed):
            reason = self.refuse(peer)
        return reason

    def link_up(self, link: Link) -> None:
        with self._callback("up", link.peer.name):
            assert link.peer.name not in [other.peer.name for other in self.links], "two links to one name"
            self.links.append(link)
            self.on_link_up(link)

    def frame(self, link: Link, data: bytes) -> None:
        with self._callback():
            assert link in self.links, "a frame of a link that is not up"
            assert isinstance(data, bytes)
            self.frames.append(data)
            self.on_frame(link, data)

    def link_down(self, link: Link, end: End) -> None:
        with self._callback("down", link.peer.name, end):
            self.links.remove(link)

    def dial_failed(self, address: str, reach: Reach, reason: str) -> None:
        with self._callback("failed", address, reach, reason):
            pass

    def _callback(self, *event: object) -> "Callback":
        if event:
            self.events.append(event)
        return Callback(self)

    def changed(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is looked at after each callback."""
        with anyio.move_on_after(WAIT_S):
            while not condition():
                await self._changed.wait()
            return
        pytest.fail(f"did not happen within {WAIT_S:g} s; so far: {self.events[-20:]}, {len(self.frames)} frames")

    async def link(self, name: str) -> Link:
        """Wait for a link to a peer."""
        await self.until(lambda: any(link.peer.name == name for link in self.links))
        return next(link for link in self.links if link.peer.name == name)

    async def end(self, name: str, count: int = 1) -> End:
        """Wait for the `count`-th end of a link to a peer."""
        await self.until(lambda: len(self.ends(name)) >= count)
        return self.ends(name)[count - 1]

    def ends(self, name: str) -> list[End]:
        """How the links to a peer ended."""
        return [event[2] for event in self.events if event[:2] == ("down", name) and isinstance(event[2], End)]

    async def failure(self) -> tuple[object, ...]:
        """Wait for a failed dial: (address, reach, reason)."""
        await self.until(lambda: any(event[0] == "failed" for event in self.events))
        return next(event[1:] for event in self.events if event[0] == "failed")


class Callback:
    """Notices when a callback runs inside another one."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        self._recorder.reentered |= self._recorder.inside
        self._recorder.inside = True

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.inside = False
        self._recorder.changed()


class Side:
    """A transport that runs, and its receiver."""

    def __init__(self, transport: Transport, receiver: Recorder) -> None:
        self.transport = transport
        self.receiver = receiver


class Stage:
    """Starts transports, and stops them at the end of the test."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.sides: list[Side] = []
        self._tasks: set[int] = set()  # those that ran before

    async def start(self, name: str, about: bytes = b"", transport: Transport | None = None) -> Side:
        side = Side(transport or self.mesh.transport(), Recorder())
        await side.transport.start(Identity(name, about), side.receiver)
        self.sides.append(side)
        return side

    async def pair(self) -> tuple[Side, Side, Link, Link]:
        """`a` has dialed `b`: the two sides, and the link as each of them sees it."""
        a, b = await self.start("a", b"about a"), await self.start("b", b"about b")
        a.transport.dial(b.transport.address)
        return a, b, await a.receiver.link("b"), await b.receiver.link("a")

    async def __aenter__(self) -> "Stage":
        self._tasks = {task.id for task in anyio.get_running_tasks()}
        return self

    async def __aexit__(self, *exc: object) -> None:
        for side in self.sides:
            await side.transport.stop()
            assert not side.receiver.links, "stop leaves no link up"
            assert not side.receiver.reentered, "a callback ran inside another one"
        left = [task.name for task in anyio.get_running_tasks() if task.id not in self._tasks]
        assert not left, "stop leaves no task behind"
