"""The two laws of compaction, on random histories, and that they can fail: each rule taken out is found by a few seeds.

ACTONCE_COMPACTION_SEEDS=N runs so many seeds instead of a few.
"""

import os
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actonce_crdt import (
    Cancel,
    Change,
    Claim,
    Cut,
    Document,
    Done,
    Floor,
    Grant,
    Intent,
    Mark,
    Passed,
    Receipt,
    Record,
    Release,
    Reopen,
    Rules,
    State,
    Step,
    Task,
    Try,
    Unfinished,
    Unknown,
    UpdateGap,
    compaction,
    decode,
    encode,
    horizon,
    next_floor,
    rewrite,
)
from actonce_crdt.packing import pack

from .logs import Logs, Replica, compact
from .test_entries import EXAMPLES
from .truncating import truncate

SEEDS = int(os.environ.get("ACTONCE_COMPACTION_SEEDS", "2"))
STEPS = 300
PLANTED_SEEDS = 25
"""Within so many seeds each planted bug is found."""

KEEP = Rules(lambda task: 100, lambda task: False)
LATER = pack(("later", "u", 2, "a"))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("away", [True, False])
def test_a_live_value_never_changes_and_nothing_is_runnable_again(seed: int, away: bool) -> None:
    logs = Logs(seed, replicas=2 + seed % 3, away=away)
    logs.run(STEPS)
    logs.settle()
    assert logs.counts["cuts"]


@example(2)
@settings(max_examples=25)
@given(st.integers(7, 2**32))
def test_the_laws_hold_for_any_seed(seed: int) -> None:
    logs = Logs(seed, away=bool(seed % 2))
    logs.run(60)
    logs.settle()


def test_all_that_is_rare_happens() -> None:
    """The histories above are worth something: things are forgotten, late, asked for again, and refused as gaps."""
    counts = {"late": 0, "forgotten": 0, "gaps": 0, "floors": 0, "cuts": 0, "resubmitted": 0}
    for seed in range(3):
        logs = Logs(seed)
        logs.run(STEPS)
        counts = {what: counts[what] + count for what, count in logs.counts.items()}
    assert min(counts.values()) > 2, counts


# Bugs, planted

Patch = pytest.MonkeyPatch


def own_words_only(patch: Patch) -> None:
    """What others wrote of a key is not written again, since their logs hold it."""
    joined = State.joined

    def mine(self: State, record: Record) -> list[Record]:
        return [one for one in joined(self, record) if one.author == record.author]

    patch.setattr(State, "joined", mine)


def delete_before_its_cause(patch: Patch) -> None:
    """What is appended, and the removal that it makes harmless, go out one after the other."""

    def split(replica: Replica, log: str, count: int, rules: Rules, stamp: int) -> tuple[Change, ...]:
        front = replica.document.front(log, count)
        own = replica.document.client_id if log == replica.name else None
        made = rewrite(replica.state, front, {}, own, rules, Cut(log, stamp, replica.name))
        return replica.document.append(made.entries), truncate(replica.document, log, len(front))

    plant_compact(patch, split)


def no_floor(patch: Patch) -> None:
    """What is over is forgotten after its retention; nothing says so to whoever was away."""
    old = compaction._is_old

    def is_old(state: State, task: str, entries: list[Record], rules: Rules) -> bool:
        newest = max(record.stamp for record in state._present.values())
        return max(record.stamp for record in entries) + rules.retention(task) <= newest or old(
            state, task, entries, rules
        )

    patch.setattr(compaction, "_is_old", is_old)


def tombstone_forgotten(patch: Patch) -> None:
    """The floors are not written into the log from which something is forgotten."""

    def hasty(replica: Replica, log: str, count: int, rules: Rules, stamp: int) -> tuple[Change, ...]:
        front = replica.document.front(log, count)
        own = replica.document.client_id if log == replica.name else None
        made = rewrite(replica.state, front, {}, own, rules, Cut(log, stamp, replica.name))
        kept = [data for data in made.entries if not isinstance(decode(data), Floor)]
        kept = kept or [encode(Cut(log, stamp, replica.name))]
        return (replica.document.compact(log, len(front), kept),)

    plant_compact(patch, hasty)


def nothing_is_kept(patch: Patch) -> None:
    """A floor keeps none of the tasks that are unfinished."""
    plain = horizon.next_floor

    def careless(
        stamp: int, author: str, keeper: str, until: int, unfinished: list[Unfinished], floors: tuple[Floor, ...]
    ) -> Floor | None:
        floor = plain(stamp, author, keeper, until, [], floors)
        return replace(floor, kept=b"") if floor is not None else None

    patch.setattr("tests.crdt.logs.next_floor", careless)


def open_doubts_are_forgotten(patch: Patch) -> None:
    """An effect of which nobody knows whether it was sent goes with its task."""
    patch.setattr(compaction, "is_settled", lambda effect: True)


def late_is_not_late(patch: Patch) -> None:
    """What comes from below a floor counts like anything else."""
    patch.setattr(horizon, "passes", lambda task, stamp, reopened, floors: True)


def plant_compact(patch: Patch, planted: Callable[[Replica, str, int, Rules, int], tuple[Change, ...]]) -> None:
    plain = Logs.__init__

    def made(self: Logs, seed: int, replicas: int = 3, *, away: bool = True) -> None:
        plain(self, seed, replicas, away=away)
        self.compact = planted

    patch.setattr(Logs, "__init__", made)


def try_seeds(*, away: bool) -> None:
    for seed in range(PLANTED_SEEDS):
        logs = Logs(seed, away=away)
        logs.run(STEPS)
        logs.settle()


@pytest.mark.parametrize(
    "plant",
    [
        own_words_only,
        delete_before_its_cause,
        no_floor,
        tombstone_forgotten,
        nothing_is_kept,
        open_doubts_are_forgotten,
        late_is_not_late,
    ],
)
def test_each_rule_is_needed(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        try_seeds(away=plant is not nothing_is_kept)


# One by one


def test_two_that_shorten_each_others_logs_keep_what_is_alive() -> None:
    """Each holds a copy of its own. Whoever counted on that, and took the other's away, would lose both."""
    task = Task("t", 1, "a", "reply", b"")
    a, b = Replica("a", Document("a", 1)), Replica("b", Document("b", 2))
    for one, other in ((a, b), (b, a)):
        change = one.document.append([encode(task)])
        one.took(change)
        other.took(other.document.integrate(change.update))
    (mine,), (theirs,) = compact(a, "b", 1, KEEP, 5), compact(b, "a", 1, KEEP, 5)
    a.took(mine)
    a.took(a.document.integrate(theirs.update))
    assert a.state.tasks["t"].task == task
    assert (a.document.count("a"), a.document.count("b")) == (1, 1)


def test_a_removal_does_not_bring_along_an_earlier_one_whose_copies_are_not_read() -> None:
    """c moves what is alive from the log of a to its own; b goes on where c stopped. d reads b, and not c."""
    alive, other = Task("t", 1, "a", "reply", b""), Mark("daily", 2, "a", 60)
    a, b, c, d = (Replica(name, Document(name, number)) for number, name in enumerate("abcd", 1))
    written = a.document.append([encode(alive), encode(other)])
    for one in (b, c, d):
        one.took(one.document.integrate(written.update))
    (by_c,) = compact(c, "a", 1, KEEP, 5)
    b.took(b.document.integrate(by_c.update))
    (by_b,) = compact(b, "a", 1, KEEP, 6)
    b.took(by_b)
    with pytest.raises(UpdateGap):
        d.document.integrate(by_b.update)
    d.took(d.document.integrate(b.document.diff(d.document.state_vector())))
    assert d.state.tasks["t"].task == alive
    assert d.state.marks["daily"] == other
    assert d.document.digest == b.document.digest


def test_what_was_removed_before_it_came_is_read_all_the_same() -> None:
    """Else whoever waits to have read it would wait for ever."""
    a, b = Document("a", 1), Document("b", 2)
    a.append([b"x", b"y"])
    truncate(a, "a", 2)
    change = b.integrate(a.diff({}))
    assert (change.added, change.removed, change.advanced) == ((), (), (1,))
    assert b.state_vector() == {1: 2}


def test_an_outcome_is_remembered_while_a_floor_keeps_its_task() -> None:
    """A keeper that had not read the outcome keeps the task: it would begin again wherever the outcome is forgotten."""
    task = Task("t", 1, "a", "reply", b"")
    state = State.fold([((1, 0), task), ((2, 0), Done("t", 2, "b", 1, True, b""))])
    ignorant = next_floor(900, "a", "a/1", 800, [Unfinished("t", 1, 1)], ())
    assert ignorant is not None
    state.add((1, 1), ignorant)
    assert not compaction.is_forgotten(state, task, KEEP)
    knowing = next_floor(950, "b", "b/1", 850, [], state.floors)
    assert knowing is not None
    state.add((2, 1), knowing)
    assert compaction.is_forgotten(state, task, KEEP)
    assert not compaction.is_forgotten(state, task, Rules(lambda task: 900, lambda task: False))
    assert not compaction.is_forgotten(state, task, Rules(lambda task: 100, lambda task: True))


def test_what_lost_is_kept_for_the_retention() -> None:
    """Two sides did the task: the report of that outlives a shortened log, and is forgotten in time."""
    task, won, lost = Task("t", 1, "a", "reply", b""), Claim("t", 2, "a", 2, 1), Claim("t", 3, "b", 1, 1)
    a = Replica("a", Document("a", 1))
    a.took(a.document.append([encode(one) for one in (task, won, lost)]))
    compact_all(a)
    assert set(a.state.history("t")) == {task, won, lost}
    floor = next_floor(300, "a", "a/1", 200, [Unfinished("t", 1, 1)], ())
    assert floor is not None
    a.took(a.document.append([encode(floor)]))
    compact_all(a)
    assert set(a.state.history("t")) == {task, won}


def test_what_became_of_an_effect_goes_after_all_that_it_settles() -> None:
    """A pass that ends behind a receipt leaves a later copy of its intent: unsettled, neither would be forgotten."""
    task, done = Task("t", 1, "a", "reply", b""), Done("t", 5, "a", 1, True, b"")
    intent, receipt = Intent("t/#1", 2, "a", "t", 1, "room", b""), Receipt("t/#1", 4, "a", 1, b"")
    a = Replica("a", Document("a", 1))
    a.took(a.document.append([encode(one) for one in (task, intent, receipt, done)]))
    front(a, 2)  # the intent is written again, behind its receipt
    floor = Floor("floor", 900, "a", "a/1", 1, 800, (), b"")
    a.took(a.document.append([encode(floor)]))
    front(a, 2)  # the receipt and the outcome go
    compact_all(a)
    compact_all(a)
    assert [decode(entry.data) for entry in a.document.entries()] == [floor]


def front(replica: Replica, count: int) -> None:
    replica.took(*compact(replica, replica.name, count, KEEP, 400))


def compact_all(replica: Replica) -> None:
    front(replica, replica.document.count(replica.name))


KINDS = {type(record): record for record, _ in EXAMPLES} | {Unknown: Unknown("u", 2, "a", "later", LATER)}
GOES = {Claim, Try, Done, Passed, Cancel, Reopen, Grant, Release, Step, Receipt, Cut}
"""What goes when it is old, and nothing else is known of its task. An open task, and what may have been sent, does not;
what belongs to no task lives for ever."""


def test_every_kind_is_spoken_of() -> None:
    assert set(KINDS) == set(get_args(Record))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_lives_for_ever_outlives_a_shortened_log_as_one_entry(kind: type[Record]) -> None:
    record = KINDS[kind]
    a = Replica("a", Document("a", 1))
    a.took(a.document.append([encode(record)] * 3))
    before = a.state.canonical()
    compact_all(a)  # without a floor nothing is forgotten
    assert a.state.canonical() == before
    assert a.document.entry_count == 1
    floor = next_floor(10**6, "b", "b/1", 10**5, [], a.state.floors)
    assert floor is not None
    a.took(a.document.append([encode(floor)]))
    assert compaction.is_forgotten(a.state, record, KEEP) == (kind in GOES)
    before = a.state.canonical()
    compact_all(a)
    assert (a.state.canonical() == before) == (kind not in GOES - {Cut})


def test_a_compaction_is_refused_by_who_misses_what_came_before_it() -> None:
    a, b = Document("a", 1), Document("b", 2)
    first = a.append([encode(Task("t", 1, "a", "reply", b""))])
    missed = a.append([encode(Task("u", 2, "a", "reply", b""))])
    cut = a.compact("a", 1, [encode(Cut("a", 3, "a"))])
    b.integrate(first.update)
    with pytest.raises(UpdateGap):
        b.integrate(cut.update)
    b.integrate(missed.update)
    assert b.integrate(cut.update).removed == ((1, 0),)
    assert a.digest == b.digest


def test_a_removal_comes_with_an_entry() -> None:
    a = Document("a", 1)
    a.append([b"x"])
    with pytest.raises(ValueError, match="a removal needs an entry"):
        a.compact("a", 1, [])
    with pytest.raises(ValueError, match="cannot remove 2 entries"):
        a.compact("a", 2, [b"y"])
    assert a.count("a") == 1


def test_entries_that_nobody_can_read_are_kept_as_they_are() -> None:
    made = rewrite(State(), [(1, 0)], {(1, 0): b"what is this"}, 1, KEEP, Cut("a", 9, "a"))
    assert made.entries == (b"what is this",)


def test_a_late_task_counts_again_when_somebody_asks_for_it() -> None:
    floor = next_floor(90, "a", "a/1", 50, [], ())
    assert floor is not None
    state = State.fold([((1, 0), floor), ((2, 0), Task("t", 40, "b", "reply", b""))])
    assert state.late["t"].author == "b"
    outcome = state.tasks["t"].done
    assert outcome is not None
    assert (outcome.ok, outcome.how) == (False, "late")
    assert outcome not in state.joined(state.late["t"])
    state.add((1, 1), Done("t", 95, "a", 1, False, b"", "dropped"))
    assert not state.late
    state.add((1, 2), Reopen("t", 96, "a", 2, 0, 0))
    assert state.tasks["t"].task is not None
    assert state.tasks["t"].done is None
    assert not state.late


def test_a_floor_keeps_what_is_unfinished_and_is_lower_if_that_is_too_much() -> None:
    many = [Unfinished(f"t{number}", number, number) for number in range(1, horizon.KEPT_MAX + 11)]
    floor = next_floor(10**6, "a", "a/1", 10**5, many, ())
    assert floor is not None
    assert floor.until == horizon.KEPT_MAX
    assert len(encode(floor)) < 140_000
    assert horizon.passes("t7", 7, 0, (floor,))
    assert not horizon.passes("t7", 8, 0, (floor,))
    assert not horizon.passes("other", 7, 0, (floor,))
    assert next_floor(10**6, "a", "a/1", horizon.KEPT_MAX, many, (floor,)) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.booleans(), max_size=12)), max_size=12))
def test_floors_are_a_semilattice(made: list[tuple[str, list[bool]]]) -> None:
    """Each keeper reads some of the floors before; then any two halves join to what the whole is."""
    floors: list[Floor] = []
    for number, (name, seen) in enumerate(made):
        read = [one for one, taken in zip(floors, [*seen, *[False] * len(floors)], strict=False) if taken]
        read += [one for one in floors if one.keeper == f"{name}/1"]
        floor = next_floor(number, name, f"{name}/1", 10 + number, [], horizon.tips(read))
        if floor is not None:
            floors.append(floor)
    whole = horizon.tips(floors)
    for at in range(len(floors) + 1):
        left, right = horizon.tips(floors[:at]), horizon.tips(floors[at:])
        assert horizon.tips([*left, *right]) == whole == horizon.tips([*right, *left, *right])
    assert horizon.tips([*reversed(floors), *whole]) == whole
