"""A small Nostr relay (NIP-01) on a real socket: checks ids and signatures, and keeps each event once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from coincurve import PublicKeyXOnly
from websockets.asyncio.server import Server, ServerConnection, serve


@dataclass
class Relay:
    """What it was sent, and how it behaves."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrivals: list[dict[str, Any]] = field(default_factory=list)
    """Events that were stored, in order."""
    hangs: bool = False
    says: list[str] = field(default_factory=list)
    """Sent as they are, in place of the next answers; "" closes the connection."""
    port: int = 0
    server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def serve(self, socket: ServerConnection) -> None:
        async for text in socket:
            if self.hangs:
                await socket.wait_closed()
            if self.says:
                said = self.says.pop(0)
                if not said:
                    return
                await socket.send(said)
                continue
            match json.loads(text):
                case ["EVENT", dict(event)]:
                    await socket.send(json.dumps(["NOTICE", "hello"]))
                    await socket.send(json.dumps(["OK", event["id"], *self.take(event)]))

    def take(self, event: dict[str, Any]) -> tuple[bool, str]:
        row = [0, *(event[name] for name in ("pubkey", "created_at", "kind", "tags", "content"))]
        name = hashlib.sha256(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()).digest()
        if name.hex() != event["id"]:
            return False, "invalid: the id is not the hash"
        if not PublicKeyXOnly(bytes.fromhex(event["pubkey"])).verify(bytes.fromhex(event["sig"]), name):
            return False, "invalid: the signature is wrong"
        if event["id"] in self.events:
            return True, "duplicate: already have this event"
        self.events[event["id"]] = event
        self.arrivals.append(event)
        return True, ""


@asynccontextmanager
async def relaying(relay: Relay) -> AsyncIterator[Relay]:
    async with serve(relay.serve, "127.0.0.1", 0, close_timeout=0.1) as server:
        relay.server = server
        relay.port = next(iter(server.sockets)).getsockname()[1]
        yield relay
