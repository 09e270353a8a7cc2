"""Followers come and go, each under a name of its own: nothing that a member keeps grows with how many there were."""

from __future__ import annotations

from collections import Counter

import anyio

from .flocks import Flock, run
from .test_leaks import sizes

FOLLOWERS = 16


def test_a_follower_that_has_gone_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        flock = Flock(1, FOLLOWERS, members=("a",))
        followers, flock.followers = flock.followers, []
        await flock.form()
        flock.submit("a", "note", "hello", "n")
        found = []
        for name in followers:
            flock.followers = [name]
            flock.start(name)
            assert await flock.until(lambda: flock.linked() and flock.converged(), 20.0)
            flock.kill(name)
            await anyio.sleep(3.0)
            assert not flock.engine("a").spread.lines
            found.append(Counter(dict(sizes(flock.engine("a")))))
        grown = {path: found[-1][path] - found[1][path] for path in found[-1] if "spread" in path}
        assert max(grown.values()) < FOLLOWERS / 2, grown

    run(scenario)
