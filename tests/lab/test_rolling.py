"""A rolling restart under load: each replica is asked to leave, and started again, one after the other."""

import signal
from functools import partial
from pathlib import Path

import pytest
from tests.lab.support import Loaded, loaded, until

from actonce.bench.rig import converge, until_whole
from actonce.demo.report import count_posts

RATE = 50.0
PAUSE_S_MAX = 0.5
SLOW_HOST = 10.0
"""Times the median wait: where other work keeps the processors, every message waits, with and without a restart."""
WAIT_S = 30.0
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def sent_more(stage: Loaded, than: float) -> bool:
    return len(stage.relay.deliveries) > than


async def test_a_rolling_restart_is_not_noticed(tmp_path: Path) -> None:
    async with loaded(tmp_path, RATE, work_s=0.01) as stage:
        mesh = stage.mesh
        for replica in mesh.replicas:
            enough = len(stage.relay.deliveries) + RATE / 2
            await until(partial(sent_more, stage, enough), WAIT_S)
            replica.child.signal(signal.SIGTERM)
            assert await replica.child.ended() == 0
            await mesh.start(replica)
            await until_whole(mesh)
        await stage.end()
        assert await converge(mesh, len(stage.messages)) == 1
        posts = await mesh.posts()
        status = await mesh.replicas[0].get("/status")
    lost, doubled = count_posts([message.id for message in stage.messages], posts)
    assert (lost, doubled, status["doubts"]) == ([], {}, 0)
    answered = {post["body"]["to"]: post["at"] for post in posts}
    waits = sorted((answered[each.message.id] - each.at, each.message.id) for each in stage.relay.deliveries)
    median = waits[len(waits) // 2][0]
    print(f"{len(waits)} messages, median wait {median}, longest {waits[-5:]}")
    assert waits[-1][0] <= max(PAUSE_S_MAX, SLOW_HOST * median), waits[-10:]
