"""Histories as in `logs`, whose replicas learn by fingerprints what they lack: in three messages, each at its own time.

Between two of them anything may happen: entries, removals, other differences, compaction of any log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actonce_crdt import UpdateGap
from actonce_crdt.buckets import Row, Standing, Table, differing, encode_rows, encode_sums, parse_rows, parse_sums

from .logs import Logs, Replica

WIDTH = 8


@dataclass
class Talk:
    """`source` said its sums; `target` will answer with rows, and get what it lacks."""

    source: Replica
    target: Replica
    table: Table
    sums: bytes
    rows: bytes | None = None


def begin(source: Replica, target: Replica) -> Talk:
    return Talk(source, target, source.document.table(), encode_sums(source.document.sums(WIDTH)))


def answer(talk: Talk) -> None:
    document = talk.target.document
    buckets = differing(document.sums(WIDTH), parse_sums(talk.sums))
    talk.rows = encode_rows(WIDTH, buckets, document.rows(WIDTH, buckets))


def standing(talk: Talk) -> Standing:
    """What the target holds, as the source may know it."""
    assert talk.rows is not None
    buckets, rows = parse_rows(talk.rows, WIDTH, 1_000)
    return make_standing(talk, buckets, rows)


def make_standing(talk: Talk, buckets: frozenset[int], rows: Mapping[int, Row]) -> Standing:
    return Standing(talk.table, WIDTH, buckets, rows)


class Talks(Logs):
    """The same histories, with talks in place of state vectors."""

    def __init__(self, seed: int, replicas: int = 3, *, away: bool = True) -> None:
        super().__init__(seed, replicas, away=away)
        self.talks: list[Talk] = []
        self.counts |= {"talks": 0, "nothing": 0}

    def _sync(self, node: Replica) -> None:
        """Begin, or go on with any that is under way; one may be forgotten."""
        self.talks = [talk for talk in self.talks if talk.source in self.nodes and talk.target in self.nodes]
        other = self.random.choice(self.nodes)
        if other is not node and self.random.random() < 0.5:
            self.talks.append(begin(node, other))
        for talk in self.random.sample(self.talks, min(len(self.talks), 2)):
            if max(talk.source.away_until, talk.target.away_until) > self.now:
                continue
            if talk.rows is None:
                answer(talk)
                continue
            self.talks.remove(talk)
            self._finish_talk(talk)

    def _finish_talk(self, talk: Talk) -> None:
        update = talk.source.document.lacking(standing(talk))
        self.counts["talks"] += 1
        self.counts["nothing"] += len(update) == 2
        try:
            self._took(talk.target, talk.target.document.integrate(update))
        except UpdateGap as error:
            raise AssertionError("a difference is never a gap") from error
        self.check(talk.target)

    def _pull(self, target: Replica, source: Replica) -> None:
        if target is not source and max(target.away_until, source.away_until) <= self.now:
            talk = begin(source, target)
            answer(talk)
            self._finish_talk(talk)
