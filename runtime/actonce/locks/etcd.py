"""etcd (3.4 or later) as lock service, by its JSON gateway: registers are keys, their revision is `mod_revision`.

`/v3/kv/txn` compares the revision and writes in one step; reads are linearizable, which is etcd's default. A key
hangs on an etcd lease of `RETENTION_S`, so that old ones go away; that lease decides nothing else. etcd's own history
grows with each write until it is compacted: run it with `--auto-compaction-retention=1h`.

See https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/.
"""

from __future__ import annotations

import base64
import ssl
from typing import Any

import anyio
import httpx

from actonce.locks.address import LockAddress
from actonce.locks.reasons import told
from actonce.locks.service import (
    REQUEST_S,
    RETENTION_S,
    LockConflict,
    LockRefused,
    LockUnreachable,
    Register,
)

RETENTION_LEASE_RENEWED_S = 3_600.0
"""How long new keys are hung on one etcd lease before the next one is asked for."""

LEASE_NOT_FOUND = "requested lease not found"
UNREACHABLE = {408, 429, 500, 502, 503, 504}


class EtcdLocks:
    """`LockService` on the keys under one prefix."""

    def __init__(self, address: LockAddress) -> None:
        self.where = address.where
        self._address = address
        self._urls = tuple(f"{'https' if address.tls else 'http'}://{host}" for host in address.hosts)
        self._client: httpx.AsyncClient | None = None
        self._token = ""
        self._lease = ""
        self._lease_until = 0.0

    async def get(self, key: str) -> Register | None:
        """As `LockService`."""
        answer = await self._within({"key": self._key(key)}, "kv/range")
        for pair in answer.get("kvs", []):
            return Register(base64.b64decode(pair.get("value", "")), int(pair["mod_revision"]))
        return None

    async def put(self, key: str, value: bytes, expected: int) -> int:
        """As `LockService`."""
        name = self._key(key)
        compare = {"key": name, "target": "MOD", "result": "EQUAL", "mod_revision": str(expected)}
        write = {"key": name, "value": base64.b64encode(value).decode()}
        answer = await self._within({"compare": [compare], "success": [{"request_put": write}]}, "kv/txn")
        if not answer.get("succeeded"):
            raise LockConflict(key)
        return int(answer["header"]["revision"])

    async def aclose(self) -> None:
        """As `LockService`."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _key(self, key: str) -> str:
        return base64.b64encode(f"{self._address.folder}/{key}".encode()).decode()

    async def _within(self, request: dict[str, Any], path: str) -> dict[str, Any]:
        try:
            with anyio.fail_after(REQUEST_S):
                if "success" in request:
                    await self._hang(request)
                try:
                    return await self._ask(path, request)
                except LockRefused as error:
                    if LEASE_NOT_FOUND not in str(error):
                        raise
                    self._lease_until = 0.0
                    await self._hang(request)
                    return await self._ask(path, request)
        except TimeoutError:
            raise LockUnreachable(f"no answer within {REQUEST_S:g} s") from None

    async def _hang(self, request: dict[str, Any]) -> None:
        """On an etcd lease, so that the key goes away when nobody writes it for long."""
        now = anyio.current_time()
        if now >= self._lease_until:
            granted = await self._ask("lease/grant", {"TTL": str(int(RETENTION_S + RETENTION_LEASE_RENEWED_S))})
            self._lease, self._lease_until = granted["ID"], now + RETENTION_LEASE_RENEWED_S
        request["success"][0]["request_put"]["lease"] = self._lease

    async def _ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """The first endpoint that can be connected to. Once a request has left, no other endpoint gets it."""
        failure = LockUnreachable("no host")
        for url in self._urls:
            try:
                return await self._post(f"{url}/v3/{path}", request)
            except httpx.ConnectError as error:
                if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
                    raise LockRefused(f"TLS to {url} failed: {told(error)}") from None
                failure = LockUnreachable(told(error))
            except (httpx.HTTPError, OSError) as error:
                raise LockUnreachable(told(error)) from None
        raise failure

    async def _post(self, url: str, request: dict[str, Any], *, again: bool = True) -> dict[str, Any]:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=None, trust_env=False)
        headers = {"Authorization": self._token} if self._token else {}
        response = await self._client.post(url, json=request, headers=headers)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise LockRefused(f"{url} does not answer as etcd does (HTTP {response.status_code}): look at the URL")
        if response.status_code == 200:
            return answer
        reason = str(answer.get("message") or answer.get("error") or f"HTTP {response.status_code}")
        if again and self._address.user and ("auth token" in reason or "user name is empty" in reason):
            await self._log_in(url.partition("/v3/")[0])
            return await self._post(url, request, again=False)
        if response.status_code in UNREACHABLE and "user" not in reason:
            raise LockUnreachable(reason)
        raise LockRefused(reason)

    async def _log_in(self, url: str) -> None:
        self._token = ""
        who = {"name": self._address.user, "password": self._address.password}
        self._token = str((await self._post(f"{url}/v3/auth/authenticate", who, again=False))["token"])
