"""A rolling restart under load: each replica is asked to leave, and started again, one after the other."""

import math
import signal
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from tests.lab.host import Host
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
    with Host(tmp_path) as host:
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
    waits = list[tuple[float, float]]()
    for each in stage.relay.deliveries:
        done = answered[each.message.id]
        waits.append((each.at, done - each.at - host.lost_s(each.at, done)))
    usual = median(wait for _, wait in waits)
    pauses = sorted(longest(waits, *span) for span in pairwise([*begins, math.inf]))
    stood = sum(end - begin for begin, end in host.stalls)
    print(f"{len(waits)} messages, median wait {usual:.3f} s, longest of each restart {pauses}; host {stood:.3f} s")
    assert median(pauses) <= max(PAUSE_S_MAX, SLOW_HOST * usual)
    assert pauses[-1] <= LOST_S, "a restart was noticed as a death is"


def test_only_what_the_host_took_of_a_wait_is_taken_off(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.stalls += [(1.0, 2.0), (5.0, 5.5)]
    assert host.lost_s(0.0, 0.9) == host.lost_s(2.0, 5.0) == 0.0
    assert host.lost_s(0.0, 1.5) == host.lost_s(1.5, 5.0) == 0.5
    assert host.lost_s(0.0, 9.0) == 1.5


def longest(waits: list[tuple[float, float]], since: float, until: float) -> float:
    return max(wait for at, wait in waits if since <= at < until)
