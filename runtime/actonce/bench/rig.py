"""Waiting for what must come, on any set of real replicas."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from actonce.bench.diary import Reader, under_way
from actonce.demo.mesh import LOOK_S, Replica
from actonce.demo.wire import Unreached
from actonce.errors import ActonceError

WHOLE_LIMIT_S = 30.0
BUSY_LIMIT_S = 10.0
CONVERGE_LIMIT_S = 60.0


class NotWhole(ActonceError):
    """The replicas did not come together again, so that nothing more could be measured."""


class Rig(Protocol):
    """Replicas that run."""

    folder: Path
    """Of their journals and logs."""

    @property
    def replicas(self) -> Sequence[Replica]:
        """All of them."""
        ...

    def check(self) -> None:
        """
        Raises:
            ChildFailed: a process ended on its own.
        """
        ...


async def statuses(rig: Rig) -> list[Any]:
    """What `/status` of each replica says. Raises Unreached."""
    return [await replica.get("/status") for replica in rig.replicas]


async def until_whole(rig: Rig, limit_s: float = WHOLE_LIMIT_S) -> None:
    """All replicas act, in views of all, silent ones none.

    Raises:
        NotWhole: not within `limit_s`.
    """
    deadline, size = time.monotonic() + limit_s, len(rig.replicas)
    while time.monotonic() < deadline:
        rig.check()
        with suppress(Unreached):
            if all(facts["acting"] and len(facts["view"]["members"]) == size for facts in await statuses(rig)):
                return
        await asyncio.sleep(LOOK_S)
    raise NotWhole(f"the replicas are not together after {limit_s:g} s; see {rig.folder}")


async def busy(rig: Rig, diary: Reader, among: Sequence[Replica], rng: random.Random) -> Replica:
    """One of these replicas that has a task under way.

    Raises:
        NotWhole: none for BUSY_LIMIT_S.
    """
    deadline = time.monotonic() + BUSY_LIMIT_S
    while time.monotonic() < deadline:
        lines = diary.read()
        found = [replica for replica in among if under_way(lines, replica.child.pid)]
        if found:
            return rng.choice(found)
        await asyncio.sleep(LOOK_S)
    raise NotWhole(f"no task began within {BUSY_LIMIT_S:g} s, with a whole mesh; see {rig.folder}")


async def converge(rig: Rig, tasks: int, limit_s: float = CONVERGE_LIMIT_S) -> int:
    """The number of different digests once so many tasks are done; more than one if they do not agree in time."""
    deadline, digests = time.monotonic() + limit_s, set[str]()
    while time.monotonic() < deadline:
        found = await statuses(rig)
        digests = {str(facts["document"]["digest"]) for facts in found}
        done = all(facts["tasks"]["done"] + facts["tasks"]["failed"] >= tasks for facts in found)
        if done and len(digests) == 1:
            return 1
        await asyncio.sleep(5 * LOOK_S)
    return max(2, len(digests))
