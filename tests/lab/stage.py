"""Real replicas, each on a host of its own on one wire; the feed and we stand outside, and reach all of them always."""

import asyncio
import os
import secrets
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.namespaces import Node
from tests.lab.wire import Wire

from actonce.bench.diary import Reader
from actonce.bench.rig import until_whole
from actonce.demo.feed import Feed, as_json
from actonce.demo.mesh import Replica
from actonce.demo.wire import Wire as Http
from actonce.http_api import http_token

ROOT = Path(__file__).resolve().parents[2]
PORT, FEED_PORT = 7420, 7430
NAMES = "abc"
FEED_DELAY_MS = 15.0
AGENT = "tests.lab.agent:agent"


class Stage:
    """`async with Stage(...) as stage`: the mesh is whole; after it, nothing runs. Replica i stands on node i + 1."""

    def __init__(
        self,
        folder: Path,
        nodes: Sequence[Node],
        seed: int,
        environment: dict[str, str],
        special: dict[str, dict[str, str]],
    ) -> None:
        """
        Args:
            environment: of all replicas.
            special: of single ones, by name.
        """
        self.folder, self.wire = folder, Wire(nodes, seed)
        self.diary = Reader(folder / "diary")
        self.feed = Feed(host=nodes[0].address, port=FEED_PORT, delay_ms=FEED_DELAY_MS)
        self._secret = folder / "secret"
        self._secret.write_text(secrets.token_hex(32))
        token = http_token(self._secret.read_bytes())
        common = {
            "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("crdt", "transports", "runtime", "")),
            "ACTONCE_DEMO_FEED": self.feed.url,
            "ACTONCE_BENCH_DIARY": str(folder / "diary"),
            **environment,
        }
        self._addresses = {name: f"{node.address}:{PORT}" for name, node in zip(NAMES, nodes[1:], strict=True)}
        self.replicas = [
            Replica(
                name,
                folder,
                {**common, "ACTONCE_LAB_HOST": f"host-{name}", **special.get(name, {})},
                partial(Http, PORT, node.address, [("Authorization", f"Bearer {token}")]),
                node.enter,
            )
            for name, node in zip(NAMES, nodes[1:], strict=True)
        ]

    async def __aenter__(self) -> "Stage":
        self.wire.start()
        await self.feed.start()
        try:
            for replica in self.replicas:
                await self.start(replica)
            await until_whole(self)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def start(self, replica: Replica) -> None:
        """Start, or start again."""
        own = self._addresses[replica.name]
        joins = [part for other in self._addresses.values() if other != own for part in ("--join", other)]
        first = ["--new"] if replica is self.replicas[0] else []
        options = ["--name", replica.name, "--data", str(replica.data), "--listen", own, "--roster", ",".join(NAMES)]
        await replica.child.start("run", AGENT, *options, "--secret-file", str(self._secret), *joins, *first)

    def check(self) -> None:
        """
        Raises:
            ChildFailed: a replica ended on its own.
        """
        for replica in self.replicas:
            replica.child.check()

    def named(self, name: str) -> Replica:
        return self.replicas[NAMES.index(name)]

    def nodes(self, names: str) -> list[int]:
        """Their places on the wire."""
        return [NAMES.index(name) + 1 for name in names]

    def posts(self) -> list[dict[str, Any]]:
        """All that reached the feed."""
        return [as_json(post) for post in self.feed.posts]

    async def _end(self) -> None:
        for replica in self.replicas:
            replica.child.signal(signal.SIGCONT)
            replica.wire.close()
        await asyncio.gather(*(replica.child.kill() for replica in self.replicas))
        await self.feed.stop()
        self.wire.stop()
