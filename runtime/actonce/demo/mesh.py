"""The demo's processes: a feed, and replicas of one agent, one of which can be cut off.

Who dials whom: every replica dials every other one, but for the one that can be cut off, which nobody can dial: it
dials all others through proxies. Nobody advertises an address, so that no link is ever made around them.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import string
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actonce.demo.children import Child, ChildFailed
from actonce.demo.proxy import Proxy
from actonce.demo.wire import Unreached, Wire

PORTS = (20_000, 32_000)
"""Below the ports that systems give to outgoing connections: a dead replica's port must stay free for its return."""
START_LIMIT_S = 30.0
LOOK_S = 0.02
"""Between two looks whether something has happened."""
FEED_DELAY_MS = 15.0
ANSWER_LIMIT_S = 10.0
AGENT = "actonce.demo.agent:agent"
NAME = "ACTONCE_DEMO_NAME"
"""Variable that tells an agent which replica it runs on."""

Enter = Callable[[], None] | None


class Replica:
    """One replica process, its port and its folder."""

    def __init__(
        self, name: str, folder: Path, environment: dict[str, str], new_wire: Callable[[], Wire], enter: Enter = None
    ) -> None:
        """
        Args:
            new_wire: makes a connection to its port.
            enter: see `Child`.
        """
        self.name, self.new_wire = name, new_wire
        self.child = Child(f"replica {name}", folder / f"{name}.log", {**environment, NAME: name}, enter)
        self.data = folder / name
        self.wire = new_wire()
        self.port = self.wire.port

    async def get(self, target: str, limit_s: float = ANSWER_LIMIT_S) -> Any:
        """The JSON at a path of its port. Raises Unreached."""
        status, answer = await self.wire.ask("GET", target, limit_s=limit_s)
        if status != 200:
            raise Unreached(f"{self.name} answers {status} to {target}: {answer}")
        return answer

    async def until_it_acts(self, members: int = 1) -> None:
        """Wait until it acts, in a view of at least so many members.

        Raises:
            ChildFailed: it ended, or takes too long.
        """
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while True:
                    self.child.check()
                    with suppress(Unreached):
                        status = await self.get("/status")
                        if status["acting"] and len(status["view"]["members"]) >= members:
                            return
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise ChildFailed(
                f"replica {self.name} does not act after {START_LIMIT_S:g} s; see {self.child.log}"
            ) from None


class Mesh:
    """`async with Mesh(...) as mesh`: everything runs; after it, nothing does.

    `mesh.replicas[-1]` is the one that `cut` cuts off.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        seed: int,
        target: str = AGENT,
        environment: Mapping[str, str] | None = None,
        feed_delay_ms: float = FEED_DELAY_MS,
        cuttable: bool = True,
    ) -> None:
        """
        Args:
            target: the agent that the replicas run, as `actonce run` takes it. It posts to $ACTONCE_DEMO_FEED.
            environment: of the replicas, added to ours.
            feed_delay_ms: mean of the wait before the feed answers a post.
            cuttable: False for a mesh as users have it, in which every replica dials every other one directly.
        """
        rng = random.Random(f"ports {seed}")
        self.folder = folder
        self.feed = Wire(free_port(rng))
        self._feed = Child("the feed", folder / "feed.log", {})
        self._feed_port = self.feed.port
        self._target, self._feed_delay_ms, self._cuttable = target, feed_delay_ms, cuttable
        feed = {"ACTONCE_DEMO_FEED": f"http://127.0.0.1:{self._feed_port}", "ACTONCE_DEMO_SEED": str(seed)}
        environment = {**feed, **(environment or {})}
        names = string.ascii_lowercase[:count]
        self.replicas = [Replica(name, folder, environment, partial(Wire, free_port(rng))) for name in names]
        self._proxies = [Proxy(f"127.0.0.1:{replica.port}") for replica in self.replicas[:-1]]
        self._proxy_ports: list[int] = []

    async def __aenter__(self) -> Self:
        try:
            delay = ["--delay-ms", str(self._feed_delay_ms)]
            await self._feed.start("feed", "--port", str(self._feed_port), *delay, "--quiet")
            self._proxy_ports = [await proxy.start() for proxy in self._proxies]
            for replica in self.replicas:
                await self.start(replica)
            for replica in self.replicas:
                await replica.until_it_acts(members=len(self.replicas))
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await asyncio.gather(*(replica.child.stop() for replica in self.replicas))
        await self._kill()

    async def start(self, replica: Replica) -> None:
        """Start, or start again, with the same arguments."""
        if not self._cuttable:
            others = [other.port for other in self.replicas if other is not replica]
        elif replica is self.replicas[-1]:
            others = self._proxy_ports
        else:
            others = [other.port for other in self.replicas[:-1] if other is not replica]
        joins = [argument for port in others for argument in ("--join", f"127.0.0.1:{port}")]
        first = ["--new"] if replica is self.replicas[0] else []
        listen = f"127.0.0.1:{replica.port}"
        options = ["--name", replica.name, "--data", str(replica.data), "--listen", listen, "--advertise", ""]
        await replica.child.start("run", self._target, *options, *joins, *first)

    def cut(self) -> None:
        """Cut the last replica off from all others. The feed and we still reach it."""
        for proxy in self._proxies:
            proxy.cut()

    def heal(self) -> None:
        """All that waited at the cut arrives."""
        for proxy in self._proxies:
            proxy.heal()

    def check(self) -> None:
        """
        Raises:
            ChildFailed: a process ended on its own.
        """
        self._feed.check()
        for replica in self.replicas:
            replica.child.check()

    async def posts(self) -> list[dict[str, Any]]:
        """All that reached the feed."""
        posts: list[dict[str, Any]] = (await self.feed.ask("GET", "/posts", limit_s=ANSWER_LIMIT_S))[1]
        return posts

    async def _kill(self) -> None:
        for replica in self.replicas:
            replica.wire.close()
        self.feed.close()
        for proxy in self._proxies:
            await proxy.stop()
        for child in (self._feed, *(replica.child for replica in self.replicas)):
            child.signal(signal.SIGKILL)
        for child in (self._feed, *(replica.child for replica in self.replicas)):
            await child.kill()


def free_port(rng: random.Random) -> int:
    """A port of this host that nobody listens on."""
    while True:
        port = rng.randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
