"""A rolling restart under load: each replica is asked to leave, and started again, one after the other."""

import math
import signal
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from tests.lab.support import Loaded, loaded, until

from actonce.bench.rig import converge, until_whole
from actonce.demo.report import count_posts

RATE = 50.0
PAUSE_S_MAX = 0.5
SLOW_HOST = 10.0
"""Times the median wait: where other work keeps the processors, every message waits, with and without a restart."""
LOST_S = 4 * PAUSE_S_MAX
"""One of the three restarts may meet other work of this host: a pause of its own comes with each of them."""
WAIT_S = 30.0
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def sent_more(stage: Loaded, than: float) -> bool:
    return len(stage.relay.deliveries) > than


async def test_a_rolling_restart_is_not_noticed(tmp_path: Path) -> None:
    begins: list[float] = []
    async with loaded(tmp_path, RATE, work_s=0.01) as stage:
        mesh = stage.mesh
        for replica in mesh.replicas:
            begins.append(time.time())
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
    waits = [(each.at, answered[each.message.id] - each.at) for each in stage.relay.deliveries]
    usual = median(wait for _, wait in waits)
    pauses = sorted(longest(waits, *span) for span in pairwise([*begins, math.inf]))
    print(f"{len(waits)} messages, median wait {usual:.3f} s, longest wait of each restart {pauses}")
    assert median(pauses) <= max(PAUSE_S_MAX, SLOW_HOST * usual)
    assert pauses[-1] <= LOST_S, "a restart was noticed as a death is"


def longest(waits: list[tuple[float, float]], since: float, until: float) -> float:
    return max(wait for at, wait in waits if since <= at < until)
