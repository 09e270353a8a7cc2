"""What a run of the demo found, counted at the feed and read from the replicas' own stories."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

_CLAIM = re.compile(r"(\S+ \S+Z) (\S+) claimed it: ")


@dataclass(frozen=True, slots=True)
class Report:
    """One run. Durations in seconds."""

    messages: int
    """Messages that were sent."""
    posts: int
    """Posts that reached the feed, the repeated ones too."""
    lost: int
    """Messages that nobody answered."""
    doubled: int
    """Posts beyond the first for the same message."""
    doubts: int
    """Effects that may or may not have happened when their replica died, paused or lost its answer."""
    found: int
    """Doubts that ended by asking the feed, which had the post."""
    resent: int
    """Doubts that ended by posting again: the feed did not have it."""
    skipped: int
    """Doubts that were given up."""
    takeover_s: float | None
    """From SIGKILL to the first claim, by a survivor, of a task that the dead replica had claimed and not finished.
    By the stamps of the claims, which have the precision of milliseconds. None: it had nothing unfinished."""
    taken_over: int
    """Tasks that survivors took over from the dead replica."""
    pause_takeover_s: float | None
    """The same from SIGSTOP: suspicion and grace pass first."""
    convergence_s: float | None
    """From the last event of the story, the healing of the cut or the last acknowledgement, whichever was later, until
    every replica reports that all tasks are finished and all have equal digests. None: that never came."""
    refused: int
    """Frames that a replica refused as invalid. Counts of killed processes are as of shortly before their death."""
    failed: int
    """Tasks that were given up after their last attempt."""
    replicas: int
    seed: int
    seconds: float
    """From the first message to the report, without the start of the processes."""

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, and the replicas agree."""
        return self.lost == self.doubled == 0 and self.convergence_s is not None

    def as_json(self) -> dict[str, Any]:
        """For one line of JSON; durations rounded to milliseconds."""
        rows = asdict(self).items()
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in rows}

    def rows(self) -> list[tuple[str, str]]:
        """For people."""
        settled = f"{self.found} found at the feed, {self.resent} sent again, {self.skipped} skipped"
        return [
            ("messages", f"{self.messages:,}"),
            ("posts", f"{self.posts:,}"),
            ("lost", f"{self.lost:,}"),
            ("doubled", f"{self.doubled:,}"),
            ("doubts", f"{self.doubts:,}" + (f" ({settled})" if self.doubts else "")),
            ("takeover after SIGKILL", f"{seconds(self.takeover_s)} ({self.taken_over} tasks)"),
            ("takeover in the pause", seconds(self.pause_takeover_s)),
            ("convergence", seconds(self.convergence_s)),
            ("refused frames", f"{self.refused:,}"),
            ("duration", seconds(self.seconds)),
        ]


def seconds(value: float | None) -> str:
    """A duration, or that there was none."""
    return "none" if value is None else f"{value:.3f} s"


def count_posts(ids: Iterable[str], posts: Sequence[dict[str, Any]]) -> tuple[list[str], dict[str, int]]:
    """(ids that were never answered, ids that were answered more than once with the number of extra posts).

    A post counts for the message that its body names, under whatever key it came.
    """
    answers = Counter(str(post["body"].get("to")) for post in posts if isinstance(post["body"], dict))
    lost = [name for name in ids if not answers[name]]
    return lost, {name: count - 1 for name, count in answers.items() if count > 1}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim in the story of a task, as `explain` tells it."""

    at: float
    """Unix seconds."""
    by: str


def claims_in(story: Iterable[str]) -> list[Claimed]:
    """The claims of a story, in its order."""
    return [
        Claimed(datetime.fromisoformat(match[1]).timestamp(), match[2])
        for match in map(_CLAIM.match, story)
        if match is not None
    ]


def takeover(stories: Iterable[Sequence[str]], of: str, since: float) -> list[float]:
    """Seconds from `since` to the first claim by another replica, for each story that has one; in ascending order.

    `stories` are those of tasks that the replica `of` had claimed and not finished at `since`, in unix seconds: when
    it was killed or stopped. A task whose outcome was on its way by then has no such claim.
    """
    since_ms = math.floor(since * 1000)  # stamps are whole milliseconds
    waits = []
    for story in stories:
        after = [claim.at for claim in claims_in(story) if claim.by != of and round(claim.at * 1000) >= since_ms]
        if after:
            waits.append(max(0.0, min(after) - since))
    return sorted(waits)
