"""Effects as Nostr events (NIP-01): signed, and named by the hash of their content.

Whoever sends an effect again sends the same event, byte for byte but for the signature: its time is recorded with the
intent (`stamped`), its tags hold a digest of the effect's key. So a relay refuses it as a duplicate, for ever, and
readers see one event whichever relays it came through.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException
from websockets.uri import parse_uri

from actonce.errors import ConfigError, SinkRefused, SinkUnknown
from actonce_crdt import Json

ANSWER_BYTES_MAX = 65_536
CLOSE_S = 1.0
"""For the end of a connection whose answer has come."""
FOR_A_WHILE = ("rate-limited", "error")
"""Prefixes of a relay's "no" that time may change."""
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1f]")
_KEY_DIGEST_BYTES = 16


class NostrSink:
    """Sends each effect as one event to one relay; several relays are a `Failover`.

    Args:
        relay: its address, ws:// or wss://.
        secret_key: of the agent, 64 hex digits. The same on all replicas.
        kind: of events whose body does not say; 1 is a short note.
        timeout_s: of one whole publish, connecting included.

    A body is a text, or `{"content": text, "kind": number, "tags": [[text, ...], ...], "created_at": unix seconds}` of
    which only the content is needed. Each publish takes a connection of its own. Needs `actonce[nostr]`.
    """

    dedupe_window_s = float("inf")
    can_lookup = False

    def __init__(self, relay: str, secret_key: str, *, kind: int = 1, timeout_s: float = 10.0) -> None:
        try:
            from coincurve import PrivateKey, PublicKeyXOnly
        except ImportError:
            raise ConfigError("NostrSink needs secp256k1: pip install 'actonce[nostr]'") from None
        try:
            parse_uri(relay)
        except InvalidURI as error:
            raise ConfigError(f"{relay!r} is not the address of a relay: {error}") from None
        if not re.fullmatch("[0-9a-fA-F]{64}", secret_key):
            raise ConfigError("the secret key of a NostrSink is 64 hex digits (an nsec must be decoded first)")
        self.url, self.publish_timeout_s, self._kind = relay, timeout_s, kind
        try:
            self._secret = PrivateKey(bytes.fromhex(secret_key))
        except ValueError:
            raise ConfigError("the secret key of a NostrSink is no key of secp256k1") from None
        self.public_key = PublicKeyXOnly.from_secret(self._secret.secret).format().hex()

    def stamped(self, body: Json, wall_s: float) -> Json:
        """The body with the time of its first post. See `Stamping`."""
        made = {"content": body} if isinstance(body, str) else body
        return {"created_at": int(wall_s), **made} if isinstance(made, dict) else made

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        """Send it; the receipt is `{"id": ..., "relay": ...}`, also if the relay had the event already.

        `gate` runs when the connection stands, right before the event leaves.

        Raises:
            SinkRefused: not taken. Permanent, but for a relay that is not there, is busy or broken.
            SinkUnknown: the event had left, and no answer of the relay came.
        """
        event = self.event(body, key)
        sent = False
        try:
            with anyio.fail_after(self.publish_timeout_s):
                socket = await connect(self.url, proxy=None, open_timeout=None, max_size=ANSWER_BYTES_MAX)
                try:
                    text = json.dumps(["EVENT", event], ensure_ascii=False, separators=(",", ":"))
                    gate()
                    sent = True
                    await socket.send(text)  # the first thing that it does is to write to the socket
                    accepted, why = await self._answer(socket, event["id"])
                finally:
                    await _close(socket)
        except (OSError, TimeoutError, WebSocketException, EOFError) as error:
            reason = f"{self.url}: {type(error).__name__}: {error}".rstrip(": ")
            raise SinkUnknown(reason) if sent else SinkRefused(reason) from None
        prefix = why.partition(":")[0].strip()
        if not accepted and prefix != "duplicate":
            raise SinkRefused(f"{self.url}: {why[:200]}", permanent=prefix not in FOR_A_WHILE)
        return {"id": event["id"], "relay": self.url}

    async def lookup(self, key: str) -> Json | None:
        """It cannot be asked by key; it need not be, as it refuses what it has."""
        raise SinkUnknown(f"{self.url} cannot be asked for an effect by its key")

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def event(self, body: Json, key: str) -> dict[str, Any]:
        """The signed event.

        Raises:
            SinkRefused: for good; the body is none that an event can be made of.
        """
        content, kind, tags, at = self._parts(body)
        digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=_KEY_DIGEST_BYTES).hexdigest()
        tags = [*tags, ["actonce", digest]]
        row = [0, self.public_key, at, kind, tags, content]
        try:
            data = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            raise SinkRefused("the content of a Nostr event must be Unicode text", permanent=True) from None
        name = hashlib.sha256(data).digest()
        return {
            "id": name.hex(),
            "pubkey": self.public_key,
            "created_at": at,
            "kind": kind,
            "tags": tags,
            "content": content,
            "sig": self._secret.sign_schnorr(name).hex(),
        }

    def _parts(self, body: Json) -> tuple[str, int, list[Any], int]:
        match body:
            case {"content": str(content), "created_at": int(at), **rest} if set(rest) <= {"kind", "tags"}:
                kind: Any = rest.get("kind", self._kind)
                tags: Any = rest.get("tags", [])
            case _:
                raise SinkRefused(
                    "the body of a Nostr effect is a text, or a content with a kind and tags", permanent=True
                )
        texts = isinstance(tags, list) and all(
            isinstance(tag, list) and tag and all(isinstance(part, str) for part in tag) for tag in tags
        )
        if not texts or type(kind) is not int or not 0 <= kind <= 65_535:
            raise SinkRefused("kind is a number up to 65535, tags are lists of texts", permanent=True)
        if _has_control(content, tags):
            raise SinkRefused("the content holds control characters that a Nostr event cannot", permanent=True)
        return content, kind, tags, at

    async def _answer(self, socket: ClientConnection, name: str) -> tuple[bool, str]:
        """Whether the relay has the event, and what it says to that. Other messages are passed over."""
        while True:
            text = await socket.recv()
            try:
                message = json.loads(text)
            except (ValueError, RecursionError):
                raise EOFError("answers what is no JSON") from None
            match message:
                case ["OK", str(known), bool(accepted), str(why), *_] if known == name:
                    return accepted, why
                case [str(), *_]:
                    continue
                case _:
                    raise EOFError("answers what is no message of a relay")


async def _close(socket: ClientConnection) -> None:
    with anyio.move_on_after(CLOSE_S, shield=True), suppress(OSError, WebSocketException):
        await socket.close()


def _has_control(content: str, tags: list[Any]) -> bool:
    """NIP-01 names the escapes of seven characters; of other control characters two programs make two hashes."""
    return any(_CONTROL.search(text) for text in [content, *(part for tag in tags for part in tag)])
