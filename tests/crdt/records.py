"""Hypothesis strategies for records. Keys, names and numbers come from small sets, so that records often meet."""

from typing import Any

from hypothesis import strategies as st

from actonce_crdt import (
    Cancel,
    Cell,
    Claim,
    Cool,
    Cursor,
    Cut,
    Done,
    Doubt,
    Floor,
    Gift,
    Grant,
    Intent,
    Lapse,
    Mark,
    Passed,
    Receipt,
    Record,
    Release,
    Reopen,
    Roster,
    Share,
    Shut,
    Step,
    Switch,
    Tally,
    Task,
    Try,
    Unknown,
    encode,
    place,
)
from actonce_crdt.horizon import FLOOR_KEY, _hash
from actonce_crdt.packing import pack

small = st.integers(0, 3)
stamps = st.integers(0, 3) | st.integers(0, (1 << 63) - 1)
names = st.sampled_from(["a", "b", "node-1"])
task_keys = st.sampled_from(["t1", "shared"])
effect_keys = st.sampled_from(["e1", "shared"])
step_keys = st.sampled_from(["s1", "shared"])
blobs = st.binary(max_size=3)


def tasks(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Task]:
    after = st.lists(task_keys, max_size=2).map(tuple)
    terms = (st.integers(-2, 2), small, after, st.booleans(), st.sampled_from(["", "t1"]))
    return st.builds(Task, keys, stamps, names, st.sampled_from(["reply", "post"]), blobs, *terms)


def claims(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Claim]:
    return st.builds(Claim, keys, stamps, names, small, small)


def tries(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Try]:
    return st.builds(Try, keys, stamps, names, small, st.integers(1, 3), small, st.text(max_size=2))


def dones(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Done]:
    return st.builds(Done, keys, stamps, names, small, st.booleans(), blobs, st.sampled_from(["", "aside"]))


def passes(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Passed]:
    return st.builds(Passed, keys, stamps, names, small, small)


def cancels(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Cancel]:
    return st.builds(Cancel, keys, stamps, names, small)


def reopens(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Reopen]:
    return st.builds(Reopen, keys, stamps, names, small, small, small)


def grants(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Grant]:
    return st.builds(Grant, keys, stamps, names, small, names, small, st.sampled_from(["j1", "j2"]), small, small)


def releases(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Release]:
    return st.builds(Release, keys, stamps, names, small, small)


ballots = st.just((0, "")) | st.tuples(small, names)
journals = st.sampled_from(["j1", "j2"])
voters = st.dictionaries(names, journals, max_size=3).map(lambda found: tuple(sorted(found.items())))
versions = st.sampled_from(["1", "2"])
acts = st.sampled_from(["propose", "promise", "offer", "accept", "active"])


def rosters(keys: st.SearchStrategy[str] = versions) -> st.SearchStrategy[Roster]:
    return st.builds(Roster, keys, stamps, names, acts, ballots, journals, voters, ballots)


def intents(keys: st.SearchStrategy[str] = effect_keys) -> st.SearchStrategy[Intent]:
    return st.builds(Intent, keys, stamps, names, task_keys, small, st.just("room"), blobs)


def receipts(keys: st.SearchStrategy[str] = effect_keys) -> st.SearchStrategy[Receipt]:
    return st.builds(Receipt, keys, stamps, names, small, blobs)


def doubts(keys: st.SearchStrategy[str] = effect_keys) -> st.SearchStrategy[Doubt]:
    words = st.sampled_from(["found", "resend", "refused", "sending", "skipped", "open"])
    return st.builds(Doubt, keys, stamps, names, small, words, small)


def steps(keys: st.SearchStrategy[str] = step_keys) -> st.SearchStrategy[Step]:
    claim = (small, st.integers(1, 3), small, st.sampled_from(["", "a", "b"]), small)
    return st.builds(
        Step, keys, stamps, names, task_keys, *claim, st.sampled_from(["", "one", "two"]), st.just("f"), blobs
    )


marks = st.builds(Mark, step_keys, stamps, names, small)
cursors = st.builds(Cursor, step_keys, stamps, names, small, st.integers(1, 3), blobs)


resources = st.sampled_from(["q/requests", "shared"])
holders = st.sampled_from(["a/1", "b/1", "a/2"])


def gifts(keys: st.SearchStrategy[str] = resources) -> st.SearchStrategy[Gift]:
    givers = holders | st.just("b/1!")
    return st.builds(Gift, keys, stamps, names, givers, holders | st.just("-"), small, small)


def shares(keys: st.SearchStrategy[str] = resources) -> st.SearchStrategy[Share]:
    return st.builds(Share, keys, stamps, names, holders, *([small] * 6))


def lapses(keys: st.SearchStrategy[str] = resources) -> st.SearchStrategy[Lapse]:
    return st.builds(Lapse, keys, stamps, names, holders, small, st.sampled_from(["j", "k"]), small)


def cools(keys: st.SearchStrategy[str] = resources) -> st.SearchStrategy[Cool]:
    return st.builds(Cool, keys, stamps, names, st.integers(0, 100_000), small)


cell_places = st.sampled_from([place("r", "mood"), place("s", "seen", "x"), "shared"])
contexts = st.dictionaries(names, small, max_size=2).map(lambda found: tuple(sorted(found.items())))
counters = st.sampled_from([place("c", "posts"), "shared"])


def cells(keys: st.SearchStrategy[str] = cell_places) -> st.SearchStrategy[Cell]:
    return st.builds(Cell, keys, stamps, names, blobs, contexts, small, st.sampled_from(["", "t1"]))


def tallies(keys: st.SearchStrategy[str] = counters) -> st.SearchStrategy[Tally]:
    return st.builds(Tally, keys, stamps, names, journals, small, small, small, st.sampled_from(["", "t1"]))


targets = st.sampled_from(["agent", "shared"])
dots = st.dictionaries(names, st.integers(1, 4), max_size=3).map(lambda found: tuple(sorted(found.items())))


def switches(keys: st.SearchStrategy[str] = targets) -> st.SearchStrategy[Switch]:
    modes = st.sampled_from(["run", "drain", "pause", "stop", "halt"])
    return st.builds(Switch, keys, stamps, names, st.integers(1, 4), modes, dots, st.sampled_from(["", "why"]))


def shuts(keys: st.SearchStrategy[str] = targets) -> st.SearchStrategy[Shut]:
    return st.builds(Shut, keys, stamps, names, dots)


def _floor(stamp: int, author: str, keeper: str, number: int, until: int, kept: set[tuple[str, int]]) -> Floor:
    marks = b"".join(sorted({_hash(task) + asked.to_bytes(8, "big") for task, asked in kept}))
    return Floor(FLOOR_KEY, stamp, author, keeper, number, until, (), marks)


floors = st.builds(
    _floor, stamps, names, holders, st.integers(1, 3), stamps, st.sets(st.tuples(task_keys, small), max_size=2)
)
cuts = st.builds(Cut, names, stamps, names)


def _unknown(key: str, stamp: int, author: str, rest: list[Any]) -> Unknown:
    return Unknown(key, stamp, author, "later", pack(("later", key, stamp, author, *rest)))


unknowns = st.builds(_unknown, task_keys, stamps, names, st.lists(small | st.text(max_size=2), max_size=2))

task_records = st.one_of(*(tasks(), claims(), tries(), dones(), passes(), cancels(), reopens(), grants(), releases()))
effect_records = st.one_of(intents(), receipts(), doubts())
quota_records = st.one_of(gifts(), shares(), lapses(), cools())
control_records = st.one_of(switches(), shuts())
records: st.SearchStrategy[Record] = st.one_of(
    *(task_records, effect_records, quota_records, control_records, rosters(), steps(), marks, unknowns),
    *(cells(), tallies(), cursors, floors, cuts),
)


def by_bytes(found: list[Record]) -> list[bytes]:
    return sorted(encode(record) for record in found)
