"""Three real replicas, cut 2|1 under load: the minority posts nothing and says so; after it, all is done once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from actonce.demo.mesh import Mesh, Replica
from actonce.demo.wire import Wire

AGENT = Path(__file__).with_name("pay_agent.py")
WAITS_S = 3.0
"""How long the minority is watched."""
SAYS_SO_S = 3.0
LIMIT_S = 60.0


class Payers(Mesh):
    """The demo's mesh with another agent, and all replicas in the roster."""

    async def __aenter__(self) -> Payers:
        await super().__aenter__()
        return self

    async def start(self, replica: Replica) -> None:
        if replica is self.replicas[-1]:
            others = self._proxy_ports
        else:
            others = [other.port for other in self.replicas[:-1] if other is not replica]
        joins = [argument for port in others for argument in ("--join", f"127.0.0.1:{port}")]
        first = ["--new"] if replica is self.replicas[0] else []
        options = ["--name", replica.name, "--data", str(replica.data), "--listen", f"127.0.0.1:{replica.port}"]
        roster = ",".join(each.name for each in self.replicas)
        options += ["--advertise", "", "--roster", roster]
        await replica.child.start("run", f"{AGENT}:agent", *options, *joins, *first)

    async def pay(self, replica: Replica, number: int) -> None:
        """Submit one order; it is not waited for."""
        body = {"kind": "pay", "key": f"m{number}", "payload": {"number": number}}
        wire = Wire(replica.port)
        status, answer = await wire.ask("POST", "/submit", body, limit_s=LIMIT_S)
        wire.close()
        assert status in (200, 202), answer


async def sure(what: Any, limit_s: float = LIMIT_S) -> Any:
    """Poll until `what` returns something true; returns that."""
    async with asyncio.timeout(limit_s):
        while True:
            found = await what()
            if found:
                return found
            await asyncio.sleep(0)  # each look is a request to another process


async def voters(replica: Replica) -> int:
    return len((await replica.get("/roster"))["voters"])


async def scenario(folder: Path) -> None:
    async with Payers(folder, 3, 11) as mesh:
        a, _, c = mesh.replicas

        async def complete() -> bool:
            return all([await voters(replica) == 3 for replica in mesh.replicas])

        await sure(complete)
        for number in range(10):
            await mesh.pay(mesh.replicas[number % 3], number)

        async def all_posted(count: int) -> bool:
            return len({post["key"] for post in await mesh.posts()}) >= count

        async def all_known() -> bool:
            return not await c.get("/tasks?state=open") and not await c.get("/tasks?state=running")

        await sure(lambda: all_posted(10))
        await sure(all_known)
        mesh.cut()
        cut_at = time.monotonic()

        async def says_so() -> str | None:
            facts = (await c.get("/status"))["degraded"]
            return next((fact for fact in facts if fact.startswith("minority side (1 of 3 voters in reach)")), None)

        await sure(says_so)
        assert time.monotonic() - cut_at < SAYS_SO_S
        assert "minority side" in str(await c.get("/healthz"))
        minority = [asyncio.ensure_future(mesh.pay(c, number)) for number in range(20, 30)]
        for number in range(10, 20):
            await mesh.pay(a, number)
        await sure(lambda: all_posted(20))  # the majority carries on

        await asyncio.gather(*minority)
        status, answer = await c.wire.ask("GET", f"/result/pay%2Fm20?wait={WAITS_S}", limit_s=LIMIT_S)
        assert status == 404, answer
        posted = {post["body"]["number"] for post in await mesh.posts()}
        assert posted == set(range(20)), "the minority posted"
        assert "for a majority" in str((await c.get("/status"))["degraded"])
        rows = await c.get("/tasks?state=open")
        assert {row["task"] for row in rows} == {f"pay/m{number}" for number in range(20, 30)}
        assert all("minority side" in row["waits"] for row in rows)
        mesh.heal()
        await sure(lambda: all_posted(30))
        counts = Counter(post["key"] for post in await mesh.posts())
        assert len(counts) == 30
        assert max(counts.values()) == 1, counts
        story = await c.get("/explain/pay%2Fm20")
        assert [line for line in story["guard"] if line.startswith("vote")], story


def test_a_partition_of_two_and_one(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
