"""What a run of the lab may not show. Judged from what reached the feed, never from what a replica believes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EARLIEST_S = 1.0
"""Into a cut: no double before. The contact window of the `lan` settings."""
LATEST_S = 3.0
"""After a cut or a healing: what was begun before may still arrive."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A partition that outlasted suspicion and grace. Times are unix seconds."""

    sides: tuple[str, ...]
    """Names of the replicas of each side, one letter each."""
    began: float
    healed: float

    def side(self, name: str) -> str:
        return next(side for side in self.sides if name in side)


@dataclass(frozen=True, slots=True)
class Guard:
    """What a kind of task promises in a partition."""

    name: str
    kind: str
    prefix: str
    """Ids of its messages begin with it."""
    both_sides: bool
    """Whether each side of a long partition may post once for one message; otherwise only the larger one does."""


GUARDS = (Guard("available", "reply", "m", both_sides=True), Guard("majority", "decide", "d", both_sides=False))
"""The kinds that the lab's load is made of, in equal parts. Their handlers are in `agent.py`."""


def posts_of(guard: Guard, posts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that tasks of this kind made."""
    return [post for post in posts if str(post["key"]).startswith(f"{guard.kind}/")]


def judge(
    guard: Guard,
    messages: Iterable[str],
    posts: Sequence[Mapping[str, Any]],
    cuts: Sequence[Cut],
    skipped: Iterable[str],
) -> Iterator[str]:
    """A sentence for each violation.

    Args:
        messages: ids of all messages of this kind that were acknowledged.
        posts: all posts, as the feed lists them; the body names the message (`to`) and the replica (`by`).
        skipped: ids of messages whose effect is a reported doubt that was not sent again.
    """
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for post in posts_of(guard, posts):
        found[post["body"]["to"]].append(post)
    reported = set(skipped)
    for message in messages:
        if not found[message] and message not in reported:
            yield f"{guard.name}: {message} was never answered, and is no reported doubt"
    for message, answers in found.items():
        for extra in answers[1:]:
            cut = next((c for c in cuts if c.began + EARLIEST_S <= extra["at"] <= c.healed + LATEST_S), None)
            if cut is None:
                yield f"{guard.name}: {message} was answered twice while no long partition was"
            elif not guard.both_sides:
                yield f"{guard.name}: {message} was answered on two sides"
        for cut in cuts:
            for side, count in Counter(cut.side(post["body"]["by"]) for post in answers).items():
                if count > 1:
                    yield f"{guard.name}: {message} was answered {count} times by side {side}"
    for cut in cuts if not guard.both_sides else ():
        since, until = cut.began + LATEST_S, cut.healed
        acting = {cut.side(post["body"]["by"]) for post in posts_of(guard, posts) if since <= post["at"] <= until}
        larger = max(cut.sides, key=len)
        if acting != {larger}:
            yield f"{guard.name}: in the partition {sorted(acting)} answered, and not {larger} alone"
