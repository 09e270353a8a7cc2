"""Meshes whose document has many client ids, or that take few for many: anti-entropy by digest first (see `comparing`).

Beside the checkers of every run two watch what replicas believe of each other, at every heartbeat that comes in:
nobody is thought to have read what it has not, and nobody is counted on who had read more than oneself.

python -m tests.simulation.incarnations FIRST COUNT     runs so many seeds of each scenario, and prints what was rare
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

import actonce.comparing
import actonce.upkeep
from actonce.compare_messages import Rows
from actonce.comparing import Comparing, _Side
from actonce.envelopes import Kind, is_envelope, open_envelope
from actonce.journal import UPDATE, Recovered, Row
from actonce.membership import Membership
from actonce.messages import Heartbeat, decode
from actonce.sim.cluster import simulate
from actonce.sim.disk import Disk
from actonce.sim.plan import Mix
from actonce.sim.process import Process
from actonce.sim.run import Outcome, Run, Scenario
from actonce_crdt import Delta
from actonce_crdt.buckets import Standing
from actonce_crdt.updates import encode_update

from .forgetting import SOON
from .planted import Patch, make_agent, only, scenario

FEW, NEWS = 2, 6
"""In place of the runtime's bounds: with these nearly every link begins by digest, and many heartbeats state anew."""

ALL = Mix(down_s=(0.0, 1.0)).without("Skew", "DiskFull", "Drift")
BAD_DAYS = scenario(7.0, 60, (0.02, 0.3), mix=replace(ALL, between_s=(0.1, 0.6)), replicas=(2, 4), settings=SOON)
"""Everything, and outcomes that are forgotten within seconds, so that entries are removed at any moment."""
FAR_DROPS = scenario(
    6.0,
    100,
    (0.02, 0.1),
    mix=only((0.1, 0.4), Mix(down_s=(0.0, 0.4)), Crash=1, DropLink=3, SlowDisk=1),
    delay_s=(0.005, 0.08),
    settings=SOON,
)
SCENARIOS = {"bad days": BAD_DAYS, "far drops": FAR_DROPS}


@dataclass
class OldDisk(Disk):
    """The disk of a replica of an old mesh: its journal holds what is left of many processes, and nothing else."""

    past: bytes = b""

    def open(self, name: str) -> Recovered:
        first = not self.rows
        if first:
            self.rows = [Row(UPDATE, self.past)]
            self.synced = self.mark = 1
        return replace(super().open(name), new=True) if first else super().open(name)


def past(clients: int) -> bytes:
    """Chains of processes that ended long ago, and of which compaction has left nothing."""
    random = Random(clients)
    ids = sorted({random.getrandbits(53) | 1 for _ in range(clients)})
    return encode_update(tuple(Delta(one, "abc"[one % 3], 0, 1 + one % 90, 0, 1 + one % 90, ()) for one in ids))


class Watched(Run):
    """A run that knows the truth. `clients`: ids of earlier processes, on each disk from the start."""

    def __init__(self, seed: int, scenario: Scenario, clients: int = 0) -> None:
        super().__init__(seed, scenario, make_agent, None)
        if clients:
            for node in self.cluster.nodes.values():
                node.disk = OldDisk(node.disk.rng, past=past(clients))
        self.inspect, self.cluster.network.inspect = self.cluster.network.inspect, self._inspect
        self.sent: dict[tuple[str, int, float], dict[int, int]] = {}
        """Of each heartbeat: all that its sender had read."""
        self.words: Counter[str] = Counter()

    def _inspect(self, process: Process, frame: bytes) -> None:
        self.inspect(process, frame)
        if is_envelope(frame):
            envelope = open_envelope(frame)
            if envelope.kind is not Kind.DATA or envelope.source != process.name:
                return
            frame = envelope.body
        message = decode(frame)
        self.words[type(message).__name__] += 1
        if isinstance(message, Heartbeat):
            engine = self.cluster.engine(process.name)
            key = process.name, engine.me.incarnation, message.sent
            if key not in self.sent:  # one to each peer, all in one moment
                self.sent[key] = engine.ledger.state_vector()

    def heard(self, membership: Membership, name: str, beat: Heartbeat, mine: Mapping[int, int]) -> None:
        """Compare what a replica makes of a heartbeat with the truth."""
        me, peer = membership.me.name, membership.peers[name]
        sender = self.cluster.nodes[name].engine
        if sender is not None and sender.me == peer.member:
            for client, clock in peer.read.items():
                if clock > sender.ledger.document.clock_of(client):
                    self._violated(f"{me} thinks that {name} has read {clock} of {client}, which it has not")
        if not peer.behind and not peer.unsaid:
            had = self.sent.get((name, peer.member.incarnation, beat.sent), {})
            if any(mine.get(client, 0) < clock for client, clock in had.items()):
                self._violated(f"{me} counts on {name}, and has not read what that one had")

    def _violated(self, text: str) -> None:
        if len(self.cluster.failures) < 20:
            self.cluster.failures.append(text)

    async def outcome(self) -> Outcome:
        found = await super().outcome()
        found.violations += self.cluster.failures
        found.sometimes.update({f"said {word}": count for word, count in self.words.items()})
        for engine in self.cluster.live():
            found.sometimes["passes"] += engine.upkeep.passes
            found.sometimes["clients"] += engine.ledger.document.client_count
        return found


@contextmanager
def watching(few: int, news: int) -> Iterator[list[Watched]]:
    """Bounds for a while, and whose heartbeats are watched: the last of the list."""
    heartbeat, runs = Membership.heartbeat, list[Watched]()

    def watched(self: Membership, name: str, beat: Heartbeat, mine: Mapping[int, int], now: float) -> None:
        heartbeat(self, name, beat, mine, now)
        runs[-1].heard(self, name, beat, mine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Membership, "heartbeat", watched)
        patch.setattr(actonce.comparing, "CLIENTS_FEW", few)
        patch.setattr(actonce.comparing, "NEWS_MAX", news)
        patch.setattr(actonce.upkeep, "FRONT", 16)
        patch.setattr(actonce.upkeep, "PASS_MIN", 64)
        yield runs


def run(seed: int, scenario: Scenario, *, clients: int = 0, few: int = FEW, news: int = NEWS) -> Outcome:
    """Deterministic."""

    async def go() -> Outcome:
        runs.append(Watched(seed, scenario, clients))
        return await runs[-1].outcome()

    with watching(few, news) as runs:
        return simulate(go)


# Faults


def as_of_now(patch: Patch) -> None:
    """Where the fingerprints were equal, the peer has what we have by the time of its answer."""
    read = Comparing._read

    def hasty(self: Comparing, side: _Side, message: Rows, standing: Standing) -> None:
        read(self, side, message, replace(standing, base=self._ledger.document.table()))

    patch.setattr(Comparing, "_read", hasty)


def another_moment(patch: Patch) -> None:
    """An answer about an earlier table of ours is taken for one about the last."""
    take = Comparing.take

    def careless(self: Comparing, line: Any, message: Any) -> None:
        sent = self._side(line).sent
        if isinstance(message, Rows) and sent is not None:
            message = replace(message, moment=sent.moment)
        take(self, line, message)

    patch.setattr(Comparing, "take", careless)


def statement_not_needed(patch: Patch) -> None:
    """A heartbeat counts, whether or not that has come to which it only adds."""
    patch.setattr(Comparing, "owes", lambda self, line: False)


def removals_left_out(patch: Patch) -> None:
    """Of a chain of which no entry is missing, no removal is said."""
    row = Standing.row

    def careless(self: Standing, client: int) -> tuple[int, int]:
        clock, removed = row(self, client)
        return clock, max(clock, removed)

    patch.setattr(Standing, "row", careless)


def main(first: int, count: int) -> None:
    rare: Counter[str] = Counter()
    for name, bad in SCENARIOS.items():
        began = time.process_time()
        for seed in range(first, first + count):
            found = run(seed, bad)
            rare.update(found.sometimes)
            for text in found.violations[:3]:
                print(f"{name} {seed}: {text}", flush=True)
        print(f"{name}: {count} seeds, {time.process_time() - began:.0f} s of CPU", flush=True)
    print(dict(sorted(rare.items())))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
