"""Whoever answers the doubts of a simulated mesh: looks at the feed once nothing can be on its way, and says so."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from actonce.errors import WrongState
from actonce.sim.cluster import Cluster

SURE_S = 1.0
"""After so long whatever left has arrived."""


class Person:
    """Honest, slow, and asks any replica."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._rng = cluster, random.Random(f"{cluster.seed}/person")
        self._since: dict[tuple[str, int], float] = {}

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.3, 1.0))
            for engine in self._cluster.live():
                asked = [doubt for doubt in engine.doubts.open() if doubt.waits == "person"]
                for doubt in asked:
                    count = doubt.effect.doubt.round if doubt.effect.doubt is not None else 0
                    since = self._since.setdefault((doubt.key, count), self._cluster.loop.time())
                    if self._cluster.loop.time() - since >= SURE_S:
                        self._answer(engine.me.name, doubt.key)

    def _answer(self, name: str, key: str) -> None:
        answer = "posted" if any(post.key == key for post in self._cluster.feed.posts) else "resend"
        engine, world = self._cluster.engine(name), self._cluster.nodes[name].world
        assert world is not None
        self._cluster.history.sometimes[f"a person said {answer}"] += 1

        def say() -> None:
            with suppress(WrongState):  # it was paused, and knows better by now
                engine.doubts.resolve(key, answer, lambda word: None)

        world.guard(say)
