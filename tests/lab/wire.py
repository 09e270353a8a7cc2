"""The wire between the hosts of the lab: carries Ethernet frames with delay and loss, and can be cut one way.

Frames of one host to another stay in order; node 0, which stands for the world outside, is always reached at once.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.lab.namespaces import MAC_HEAD, Node

FRAME_BYTES_MAX = 65_536
Pair = tuple[int, int]
"""(index of the sender, of the receiver)."""


class Wire:
    """Carries frames while the event loop runs."""

    def __init__(self, nodes: Sequence[Node], seed: int) -> None:
        self._taps = [node.tap for node in nodes]
        self._rng = random.Random(f"wire {seed}")
        self.delay_s, self.loss = 0.0, 0.0
        """Each way, and the share of frames that are lost."""
        self._cut: set[Pair] = set()
        self._due: dict[Pair, float] = {}
        self.counts: Counter[str] = Counter()
        """Frames: carried, lost, cut."""

    def start(self) -> None:
        """Begin to carry, in the running loop."""
        for index, tap in enumerate(self._taps):
            asyncio.get_running_loop().add_reader(tap, self._read, index)

    def stop(self) -> None:
        """Carry no more."""
        for tap in self._taps:
            asyncio.get_running_loop().remove_reader(tap)

    def cut(self, pairs: Iterable[Pair]) -> None:
        """From now on nothing passes from the first to the second of each pair; until `heal`."""
        self._cut |= set(pairs)

    def partition(self, one: Sequence[int], other: Sequence[int]) -> None:
        """Nothing passes between the two sides, either way."""
        self.cut(pair for a in one for b in other for pair in ((a, b), (b, a)))

    def heal(self) -> None:
        """No cuts, no delay, no loss."""
        self._cut.clear()
        self.delay_s = self.loss = 0.0

    def _read(self, source: int) -> None:
        while True:
            try:
                frame = os.read(self._taps[source], FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            for target in self._targets(source, frame):
                self._carry(source, target, frame)

    def _targets(self, source: int, frame: bytes) -> Iterable[int]:
        if frame[0] & 1:  # broadcast
            return (target for target in range(len(self._taps)) if target != source)
        known = frame[:5] == MAC_HEAD and 0 < frame[5] <= len(self._taps)
        return (frame[5] - 1,) if known else ()

    def _carry(self, source: int, target: int, frame: bytes) -> None:
        pair, loop = (source, target), asyncio.get_running_loop()
        if pair in self._cut:
            self.counts["cut"] += 1
        elif 0 in pair:
            self._write(target, frame)
        elif self._rng.random() < self.loss:
            self.counts["lost"] += 1
        else:
            due = max(loop.time() + self.delay_s, self._due.get(pair, 0.0))
            self._due[pair] = due
            if due <= loop.time():
                self._write(target, frame)
            else:
                loop.call_at(due, self._write, target, frame)

    def _write(self, target: int, frame: bytes) -> None:
        try:
            os.write(self._taps[target], frame)
            self.counts["carried"] += 1
        except BlockingIOError:
            self.counts["lost"] += 1  # as a switch does whose port is full
