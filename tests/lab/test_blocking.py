"""A handler that blocks for longer than suspicion and grace keeps its task, and the others see its replica alive."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.lab.support import WAIT_S, loaded

from actonce.settings import LAN

BLOCK_S = float(os.environ.get("ACTONCE_LAB_BLOCK_S", "3"))
"""60 by hand: ACTONCE_LAB_BLOCK_S=60 pytest tests/lab/test_blocking.py"""
assert LAN.suspicion_s + LAN.grace_s < BLOCK_S
LOOK_S = 0.1
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_blocking_handler_looks_alive(tmp_path: Path) -> None:
    async with loaded(tmp_path, 5.0, work_s=0.01, ACTONCE_LAB_BLOCK_S=str(BLOCK_S)) as stage:
        replicas = stage.mesh.replicas
        tasks = ["thread/1", "thread/2", "thread/3", "loop/1"]
        for task in tasks:
            kind, _, key = task.partition("/")
            status, _ = await replicas[0].wire.ask("POST", "/submit", {"kind": kind, "key": key}, limit_s=WAIT_S)
            assert status == 202
        deadline, oldest_s, ages = time.monotonic() + len(tasks) * BLOCK_S + WAIT_S, 0.0, 0
        while time.monotonic() < deadline:
            rows = [row for row in await replicas[0].get("/tasks?limit=10000") if row["task"] in tasks]
            if all(row["state"] == "done" for row in rows):
                break
            for replica in replicas:
                facts = await replica.get("/status")
                assert facts["view"]["members"] == ["a", "b", "c"], facts
                assert facts["view"]["lingering"] == [], facts
                others = [other["contact_age_s"] for other in facts["replicas"] if other["name"] != replica.name]
                oldest_s, ages = max(oldest_s, *others), ages + len(others)
            await asyncio.sleep(LOOK_S)
        stories = [(await replicas[0].get(f"/explain/{task.replace('/', '%2F')}"))["story"] for task in tasks]
    print(f"oldest of {ages} contacts: {oldest_s:.3f} s")
    assert [sum("claimed it" in line for line in story) for story in stories] == [1] * len(tasks), stories
    assert all("finished it" in story[-1] for story in stories), stories
    assert 0 < oldest_s < LAN.contact_window_s
