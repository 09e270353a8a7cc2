"""NATS JetStream as lock service: the registers are the keys of one key-value bucket (NATS ADR-8).

A key's revision is its number in the bucket's stream, which never goes back as long as the bucket is not deleted.
Writes carry `Nats-Expected-Last-Subject-Sequence`, so that the server decides between two. The bucket is made, with
storage on disk, when it is not there. Reads go to the stream's leader, not to the nearest copy.

Not guaranteed by NATS itself: that an acknowledged write outlives a *loss of power* of a single server, unless it
runs with `sync_interval: always`; a killed and restarted server loses nothing. For a cluster make the bucket
beforehand, with `nats kv add BUCKET --replicas 3 --storage file --ttl 168h`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import nats
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from actonce.locks.address import LockAddress
from actonce.locks.reasons import told
from actonce.locks.service import (
    REQUEST_S,
    RETENTION_S,
    RETENTION_S_MIN,
    LockConflict,
    LockRefused,
    LockUnreachable,
    Register,
)

WRONG_LAST_SEQUENCE = 10071
"""JetStream's error code for a write that expected another revision."""

NO_JETSTREAM = "JetStream is off on this server: start nats-server with -js and a store directory"


class NatsLocks:
    """`LockService` on one bucket. Connects when it is first asked, and anew after each failure."""

    def __init__(self, address: LockAddress) -> None:
        self.where = address.where
        self._address = address
        self._stream = f"KV_{address.folder}"
        self._nats: Client | None = None
        self._jetstream: JetStreamContext | None = None
        self._connecting = anyio.Lock()

    async def get(self, key: str) -> Register | None:
        """As `LockService`."""
        async with self._asking() as jetstream:
            try:
                found = await jetstream.get_last_msg(self._stream, self._subject(key), direct=False)
            except NotFoundError as error:
                if "message" not in str(error.description):  # not the key is missing, but the bucket
                    raise
                return None
            return Register(found.data or b"", found.seq or 0)

    async def put(self, key: str, value: bytes, expected: int) -> int:
        """As `LockService`."""
        async with self._asking() as jetstream:
            try:
                headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
                written = await jetstream.publish(self._subject(key), value, stream=self._stream, headers=headers)
            except APIError as error:
                if error.err_code == WRONG_LAST_SEQUENCE:
                    raise LockConflict(key) from None
                raise
            return written.seq

    async def aclose(self) -> None:
        """As `LockService`."""
        await self._drop()

    def _subject(self, key: str) -> str:
        return f"$KV.{self._address.folder}.{key}"

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[JetStreamContext]:
        """A connection for one request. After a failure other than a conflict the next request makes a new one."""
        try:
            with anyio.fail_after(REQUEST_S):
                yield await self._connected()
        except (LockConflict, LockRefused):
            raise
        except TimeoutError:
            await self._drop()
            raise LockUnreachable(f"no answer within {REQUEST_S:g} s") from None
        except APIError as error:
            await self._drop()
            reason = f"{error.description or error} (code {error.err_code or error.code})"
            raise (LockUnreachable if error.code == 503 else LockRefused)(reason) from None
        except (nats.errors.Error, OSError) as error:
            await self._drop()
            raise _judged(error) from None

    async def _connected(self) -> JetStreamContext:
        async with self._connecting:
            if self._nats is not None and self._jetstream is not None and self._nats.is_connected:
                return self._jetstream
            await self._drop()
            self._nats = await self._connect()
            self._jetstream = self._nats.jetstream(timeout=REQUEST_S)
            await self._check_bucket(self._jetstream)
            return self._jetstream

    async def _connect(self) -> Client:
        failures: list[Exception] = []

        async def failed(error: Exception) -> None:
            failures.append(error)

        for host in self._address.hosts:
            client = Client()
            try:
                await client.connect(
                    f"{'tls' if self._address.tls else 'nats'}://{host}",
                    allow_reconnect=False,  # the next request does that, and tells why it cannot
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=int(REQUEST_S),
                    error_cb=failed,
                    **self._credentials(),  # type: ignore[arg-type]  # a mapping of strings for three of its options
                )
                return client
            except nats.errors.NoServersError:
                await _close(client)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                failures.append(error)
                await _close(client)
            except BaseException:
                await _close(client)
                raise
        refusals = [error for error in failures if _is_refusal(error)]  # after which the connection is just reset
        raise [*failures, *refusals][-1]

    def _credentials(self) -> dict[str, str]:
        user, password = self._address.user, self._address.password
        if user and not password:
            return {"token": user}
        return {"user": user, "password": password} if user else {}

    async def _check_bucket(self, jetstream: JetStreamContext) -> None:
        try:
            config = (await jetstream.stream_info(self._stream)).config
        except NotFoundError:
            config = await self._make_bucket(jetstream)
        if config.storage == StorageType.MEMORY:
            raise LockRefused(
                f"bucket {self._address.folder!r} is in memory, so a restart forgets who holds what: make it anew with "
                "--storage file"
            )
        if 0 < (config.max_age or 0) < RETENTION_S_MIN:
            raise LockRefused(
                f"bucket {self._address.folder!r} forgets keys after {config.max_age:g} s, and at least "
                f"{RETENTION_S_MIN:g} s are needed: make it anew with a longer --ttl"
            )

    async def _make_bucket(self, jetstream: JetStreamContext) -> StreamConfig:
        await jetstream.create_key_value(
            KeyValueConfig(
                bucket=self._address.folder,
                description="Who holds which task of which Actonce agent",
                history=1,
                ttl=RETENTION_S,
                storage=StorageType.FILE,
            )
        )
        return (await jetstream.stream_info(self._stream)).config

    async def _drop(self) -> None:
        client, self._nats, self._jetstream = self._nats, None, None
        if client is not None:
            await _close(client)


async def _close(client: Client) -> None:
    with anyio.move_on_after(REQUEST_S, shield=True):
        await client.close()


def _is_refusal(error: Exception) -> bool:
    return "authorization" in str(error).lower() or "authentication" in str(error).lower()


def _judged(error: Exception) -> LockUnreachable | LockRefused:
    if isinstance(error, nats.errors.NoRespondersError) or "NoStreamResponse" in str(error):
        return LockUnreachable("JetStream does not answer: it is still starting, or it is off (nats-server -js)")
    if _is_refusal(error):
        return LockRefused("it wants other credentials: put them before the @ of the URL, or into ACTONCE_LOCK_USER")
    return LockUnreachable(told(error))
