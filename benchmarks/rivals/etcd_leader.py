"""A leader by an etcd lease, over its JSON gateway: only the leader runs tasks, which are keys that it deletes."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
from contextlib import suppress
from typing import Any

import aiohttp

from benchmarks.rivals.record import FAST, URL, WORKER, work_async

TTL_S = 2 if FAST else 5
AT_ONCE, LIMIT_S, LOOK_S = 100, 3.0, 0.2


def wire(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LEADER, FIRST, END = wire("/leader"), wire("/q/"), wire("/q0")


class Gateway:
    """One session of HTTP."""

    def __init__(self) -> None:
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))

    async def ask(self, path: str, body: dict[str, Any]) -> Any:
        limit = aiohttp.ClientTimeout(total=LIMIT_S)
        async with self.session.post(URL + path, json=body, timeout=limit) as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)


class Submitting:
    """A `put` of a key."""

    under_way = 64

    async def start(self) -> None:
        self._gateway, self._numbers = Gateway(), itertools.count()

    async def submit(self, text: str) -> None:
        key = f"/q/{os.getpid()}-{next(self._numbers):010d}"
        await self._gateway.ask("/v3/kv/put", {"key": wire(key), "value": wire(text)})

    async def stop(self) -> None:
        await self._gateway.session.close()


def producer() -> Submitting:
    return Submitting()


class Worker:
    """Stands by until it leads; leads while its lease lives."""

    def __init__(self) -> None:
        self._gateway = Gateway()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._seen: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                lease = (await self._gateway.ask("/v3/lease/grant", {"TTL": TTL_S}))["ID"]
                while not await self._try(lease):
                    await asyncio.sleep(LOOK_S)
                    await self._gateway.ask("/v3/lease/keepalive", {"ID": lease})
                await self._lead(lease)
            await asyncio.sleep(LOOK_S)

    async def _try(self, lease: str) -> bool:
        free = {"key": LEADER, "target": "CREATE", "result": "EQUAL", "create_revision": 0}
        put = {"request_put": {"key": LEADER, "value": wire(str(WORKER)), "lease": lease}}
        return bool((await self._gateway.ask("/v3/kv/txn", {"compare": [free], "success": [put]})).get("succeeded"))

    async def _lead(self, lease: str) -> None:
        jobs = {asyncio.create_task(self._keep(lease)), asyncio.create_task(self._serve())}
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in jobs:
            job.cancel()
        self._seen.clear()

    async def _keep(self, lease: str) -> None:
        """Until the lease is gone."""
        while True:
            await asyncio.sleep(TTL_S / 3)
            answer = await self._gateway.ask("/v3/lease/keepalive", {"ID": lease})
            if int(answer["result"].get("TTL", 0)) <= 0:
                return

    async def _serve(self) -> None:
        there = await self._gateway.ask("/v3/kv/range", {"key": FIRST, "range_end": END, "limit": 100_000})
        since = int(there["header"]["revision"]) + 1
        request = {"key": FIRST, "range_end": END, "start_revision": since, "filters": ["NODELETE"]}
        forever = aiohttp.ClientTimeout(total=None)
        watch = self._gateway.session.post(
            f"{URL}/v3/watch", json={"create_request": request}, timeout=forever, read_bufsize=2**24
        )
        async with watch as answer:
            for found in there.get("kvs", []):
                await self._start(found["key"], found["value"])
            async for line in answer.content:
                for event in json.loads(line)["result"].get("events", []):
                    if event.get("type", "PUT") == "PUT":
                        await self._start(event["kv"]["key"], event["kv"]["value"])

    async def _start(self, key: str, value: str) -> None:
        if key not in self._seen:
            self._seen.add(key)
            await self._free.acquire()
            task = asyncio.create_task(self._work(key, base64.b64decode(value).decode()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self, key: str, text: str) -> None:
        try:
            await work_async(text)
            await self._gateway.ask("/v3/kv/deleterange", {"key": key})
        finally:
            self._free.release()


async def main() -> None:
    await Worker().run()


if __name__ == "__main__":
    asyncio.run(main())
