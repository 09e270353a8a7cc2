"""What must hold of a recorded history. Each checker returns violations as sentences; none means that it held.

A checker looks at the ground truth (who was really paused, cut off, dead), never at what a replica believed. To add
one, write a function of a `Cluster` and put it into SAFETY (checked after the run) or LIVENESS (after healing).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from actonce.sim.cluster import Cluster, Posted
from actonce.sim.history import Event, Runner
from actonce_crdt import State, decode

Checker = Callable[[Cluster], Iterator[str]]

_NEVER = float("inf")
AFTERMATH_S = 4.0
"""How long after two replicas were long apart the one that was given up may still learn of it."""


def long_apart(cluster: Cluster, one: Runner, other: Runner, at: float, *, pauses: bool) -> bool:
    """Whether the two were apart, shortly before `at`, for so long that one may have given the other up.

    Held frames, slow links and lost packets add to the silence that a cut causes, so the limit is below the grace.
    Whoever started since is on the side of those that it may have synced with.
    """
    settings = cluster.settings
    limit_s = (settings.suspicion_s + settings.grace_s) * 0.85 - cluster.slack_s

    def apart(first: Runner, second: Runner) -> bool:
        return cluster.truth.longest(first, second, at - AFTERMATH_S, at, pauses=pauses) >= limit_s

    dead = {event.pid for event in cluster.history.of("killed") if event.at <= at}
    started = [event for event in cluster.history.of("started") if event.at <= at and event.pid not in dead]
    new = {event.pid for event in started if event.at > at - AFTERMATH_S}
    old = [(str(event.facts[0]), event.pid) for event in started if event.pid not in new]
    sides = [old if side[1] in new else [side] for side in (one, other)]
    if not any(first != second and apart(first, second) for first in (one, *sides[0]) for second in (other, *sides[1])):
        return False
    return not bridged(cluster, one, other, at)


def bridged(cluster: Cluster, one: Runner, other: Runner, at: float) -> bool:
    """Whether a third process was in touch with both all the while: its view holds both, so neither may replace the
    other (the closure of the ownership rules), however long they do not hear each other.
    """
    since = at - 2 * AFTERMATH_S
    if 2 * cluster.slack_s >= cluster.settings.suspicion_s:
        return False
    dead = {event.pid for event in cluster.history.of("killed") if event.at <= at}
    thirds = [
        (str(event.facts[0]), event.pid)
        for event in cluster.history.of("started")
        if event.at <= since and event.pid not in dead and event.facts[0] not in (one[0], other[0])
    ]
    return any(
        all(cluster.truth.longest(third, side, since, at, pauses=True) == 0.0 for side in (one, other))
        for third in thirds
    )


def runs(cluster: Cluster) -> dict[str, list[tuple[Event, float]]]:
    """By task: each begin of a handler, with the time when it ended, was revoked, or its process was killed."""
    ends: dict[tuple[int, str, int, int], float] = {}
    killed: dict[int, float] = {event.pid: event.at for event in cluster.history.of("killed")}
    counts: dict[tuple[int, str, int], int] = defaultdict(int)
    for event in cluster.history.of("end"):
        _, task, epoch, _ = event.facts
        counts[event.pid, str(task), int(epoch)] += 1
        ends[event.pid, str(task), int(epoch), counts[event.pid, str(task), int(epoch)]] = event.at
    begun: dict[tuple[int, str, int], int] = defaultdict(int)
    found: dict[str, list[tuple[Event, float]]] = defaultdict(list)
    for event in cluster.history.of("begin"):
        _, task, epoch, _ = event.facts
        begun[event.pid, str(task), int(epoch)] += 1
        key = (event.pid, str(task), int(epoch), begun[event.pid, str(task), int(epoch)])
        found[str(task)].append((event, ends.get(key, killed.get(event.pid, float("inf")))))
    return found


def one_executor_per_epoch(cluster: Cluster) -> Iterator[str]:
    """A (task, epoch) belongs to one process.

    But for a claimant that was killed before anybody heard of its claim: it had published nothing (an intent is heard
    by all before its effect leaves), and the number may be used again.
    """
    killed = {event.pid: event.at for event in cluster.history.of("killed")}
    posted = {(event.pid, event.facts[2], event.facts[1]) for event in cluster.history.of("publish")}
    tasks = effect_tasks(cluster)
    acted = {(pid, epoch, tasks.get(str(key))) for pid, epoch, key in posted}
    for task, begins in runs(cluster).items():
        owners: dict[int, Event] = {}
        for event, _ in begins:
            first = owners.setdefault(int(event.facts[2]), event)
            unheard = killed.get(first.pid, _NEVER) <= event.at and (first.pid, first.facts[2], task) not in acted
            if first.pid != event.pid and not unheard and not _cut_long(cluster, first, event):
                yield f"{task}: epoch {event.facts[2]} ran on {first.facts[0]} and on {event.facts[0]}"


def no_overlap(cluster: Cluster) -> Iterator[str]:
    """No handler begins while another live process is running the task, unless that one was long out of reach."""
    for task, begins in runs(cluster).items():
        for index, (event, _) in enumerate(begins):
            for earlier, end in begins[:index]:
                if earlier.pid != event.pid and end > event.at and not _long(cluster, earlier, event, event.at):
                    yield (
                        f"{task}: began on {event.facts[0]} at {event.at:.3f} (epoch {event.facts[2]}) while "
                        f"{earlier.facts[0]} ran it since {earlier.at:.3f} (epoch {earlier.facts[2]})"
                    )


def gate_held(cluster: Cluster) -> Iterator[str]:
    """Nothing passes the gate under a claim that another process, with a higher epoch, has already begun to replace.

    A pause is no excuse here: that is what the gate is for. A partition longer than the grace is.
    """
    tasks = effect_tasks(cluster)
    begins = runs(cluster)
    for event in cluster.history.of("publish"):
        name, key, epoch = str(event.facts[0]), str(event.facts[1]), int(event.facts[2])
        for begin, _ in begins.get(tasks.get(key, ""), []):
            later = begin.pid != event.pid and begin.at < event.at and int(begin.facts[2]) > epoch
            if later and not _cut_long_names(cluster, (name, event.pid), begin, event.at):
                yield f"{key}: left {name} at {event.at:.3f} in epoch {epoch}, after {begin.facts[0]} had taken it over"


def posted_once(cluster: Cluster) -> Iterator[str]:
    """One request a key at the feed, which can be asked; one for each side of a partition longer than the grace."""
    by_key: dict[str, list[Posted]] = defaultdict(list)
    for post in cluster.feed.posts:
        by_key[post.key].append(post)
    for key, posts in by_key.items():
        for index, post in enumerate(posts):
            for earlier in posts[:index]:
                one, other = (earlier.replica, earlier.pid), (post.replica, post.pid)
                if one == other or not long_apart(cluster, one, other, post.at, pauses=False):
                    yield f"{key}: posted by {earlier.replica} at {earlier.at:.3f} and {post.replica} at {post.at:.3f}"


def fenced_once(cluster: Cluster) -> Iterator[str]:
    """Of a fenced task: one request a key, however long the mesh was cut; each holder shows a higher fence."""
    seen: set[str] = set()
    highest: dict[str, tuple[int, Posted]] = {}
    for post in sorted(cluster.feed.posts, key=lambda post: post.at):
        task, _, _ = post.key.rpartition("/")
        if not cluster.is_fenced(task):
            continue
        if post.key in seen:
            yield f"{post.key}: fenced, and posted again by {post.replica} at {post.at:.3f}"
        seen.add(post.key)
        fence, latest = highest.get(task, (0, post))
        if post.fence < fence or (post.fence == fence and post.pid != latest.pid):
            yield (
                f"{post.key}: posted by {post.replica} at {post.at:.3f} with fence {post.fence}, after {latest.key} "
                f"by {latest.replica} at {latest.at:.3f} with fence {fence}"
            )
        highest[task] = max((fence, latest), (post.fence, post), key=lambda pair: pair[0])


def published_in_contact(cluster: Cluster) -> Iterator[str]:
    """Nothing passes the gate under a promise older than the contact window.

    Looked at only where the truth is plain: one cut, longer than the window and too short for giving anybody up, after
    a quiet time in which nobody paused, between two processes that were there all along. (Who has lost the others, too,
    goes on with its own tasks once the last one has left its view: nobody may take these over before the grace ends.)
    """
    settings, slack_s = cluster.settings, cluster.slack_s
    window_s = settings.contact_window_s * (1 + settings.clock_rate_error_max)
    limit_s = (settings.suspicion_s + settings.grace_s) * 0.85 - slack_s
    started = {event.pid: (str(event.facts[0]), event.at) for event in cluster.history.of("started")}
    killed = {event.pid: event.at for event in cluster.history.of("killed")}
    for event in cluster.history.of("publish"):
        me, at = (str(event.facts[0]), event.pid), event.at
        for pid, (name, start) in started.items():
            spans = cluster.truth.cuts.get(frozenset((me[0], name)), [])
            since = next((span[0] for span in spans if span[0] <= at < span[1]), at)
            quiet_from = since - 2 * AFTERMATH_S
            if not window_s < at - since < limit_s or max(start, started[me[1]][1]) > quiet_from:
                continue
            if any(_reaches(cluster, third, (me[0], name), at - window_s, at) for third, _ in started.values()):
                continue  # a relayed round trip is contact
            calm = all(begin >= since or over <= quiet_from for begin, over in spans)
            pauses = [span for spans in cluster.truth.pauses.values() for span in spans if span[0] <= at]
            if calm and all(over <= quiet_from for _, over in pauses) and killed.get(pid, at + 1) > at:
                yield f"{event.facts[1]}: left {me[0]} at {at:.3f}, out of contact with {name} since {since:.3f}"


def _reaches(cluster: Cluster, third: str, pair: tuple[str, str], since: float, at: float) -> bool:
    """Whether `third` could pass messages on between the two at some moment of that time."""
    if third in pair:
        return False
    spans = sorted(tuple(span) for one in pair for span in cluster.truth.cuts.get(frozenset((third, one)), []))
    for begin, over in spans:
        if begin <= since < over:
            since = over
    return since < at


def fold_from_scratch(cluster: Cluster) -> Iterator[str]:
    """The state that is kept incrementally equals the fold of the entries in the document."""
    for engine in cluster.live():
        written = [(entry.id, entry.data) for entry in engine.ledger.document.entries()]
        entries = ((entry_id, decode(data)) for entry_id, data in [*written, *engine.ledger.unflushed])
        if State.fold(entries).canonical() != engine.ledger.state.canonical():
            yield f"{engine.me.name}: the state is not the fold of its entries"


def nothing_failed(cluster: Cluster) -> Iterator[str]:
    """No replica stopped on an error of its own, and no rule that is checked on the fly was broken."""
    yield from cluster.failures


def acknowledged_done(cluster: Cluster) -> Iterator[str]:
    """Every acknowledged task has an outcome on every replica."""
    for engine in cluster.live():
        tasks = engine.ledger.state.tasks
        for task in dict.fromkeys(cluster.acknowledged):
            state = tasks.get(task)
            if (state is None or state.task is None) and task in cluster.history.outcomes:
                continue  # over, and forgotten
            if state is None or state.task is None:
                yield f"{task}: acknowledged, and lost on {engine.me.name}"
            elif state.done is None:
                yield f"{task}: acknowledged, and without an outcome on {engine.me.name}"


def everything_posted(cluster: Cluster) -> Iterator[str]:
    """What the document calls posted, the feed has carried out."""
    keys = set(cluster.feed.keys())
    for engine in cluster.live()[:1]:
        for key, effect in engine.ledger.state.effects.items():
            if effect.receipt is not None and key not in keys:
                yield f"{key}: has a receipt, and the feed never saw it"


def converged(cluster: Cluster) -> Iterator[str]:
    """Equal digests and equal decoded state vectors on all replicas."""
    if not cluster.converged():
        digests = {engine.me.name: engine.ledger.document.digest.hex()[:8] for engine in cluster.live()}
        yield f"not converged: {digests}"


def longest_wait(cluster: Cluster) -> float:
    """The longest time from the acknowledgement of a task to the first end of its handler that counted."""
    asked: dict[str, float] = {}
    for event in cluster.history.of("acknowledged"):
        asked.setdefault(str(event.facts[1]), event.at)
    ended: dict[str, float] = {}
    for event in cluster.history.of("end"):
        if not event.facts[3]:
            ended.setdefault(str(event.facts[1]), event.at)
    return max((ended[task] - at for task, at in asked.items() if task in ended), default=0.0)


def effect_tasks(cluster: Cluster) -> dict[str, str]:
    """Effect key -> task, from the intents."""
    found: dict[str, str] = {}
    for engine in cluster.live():
        for key, effect in engine.ledger.state.effects.items():
            if effect.intent is not None:
                found[key] = effect.intent.task
    return found


def _long(cluster: Cluster, one: Event, other: Event, at: float) -> bool:
    return long_apart(cluster, (str(one.facts[0]), one.pid), (str(other.facts[0]), other.pid), at, pauses=True)


def _cut_long(cluster: Cluster, one: Event, other: Event) -> bool:
    runner = (str(one.facts[0]), one.pid)
    return _cut_long_names(cluster, runner, other, max(one.at, other.at))


def _cut_long_names(cluster: Cluster, runner: Runner, other: Event, at: float) -> bool:
    return long_apart(cluster, runner, (str(other.facts[0]), other.pid), at, pauses=False)


SAFETY: tuple[Checker, ...] = (
    nothing_failed,
    one_executor_per_epoch,
    no_overlap,
    gate_held,
    posted_once,
    fenced_once,
    published_in_contact,
    fold_from_scratch,
)
LIVENESS: tuple[Checker, ...] = (acknowledged_done, everything_posted, converged)
