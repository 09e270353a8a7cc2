"""Hypothesis strategies for records. Keys, names and numbers come from small sets, so that records often meet."""

from typing import Any

from hypothesis import strategies as st

from actonce_crdt import Claim, Cool, Done, Doubt, Gift, Intent, Receipt, Record, Share, Task, Try, Unknown, encode
from actonce_crdt.packing import pack

small = st.integers(0, 3)
stamps = st.integers(0, 3) | st.integers(0, (1 << 63) - 1)
names = st.sampled_from(["a", "b", "node-1"])
task_keys = st.sampled_from(["t1", "shared"])
effect_keys = st.sampled_from(["e1", "shared"])
blobs = st.binary(max_size=3)


def tasks(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Task]:
    return st.builds(Task, keys, stamps, names, st.sampled_from(["reply", "post"]), blobs)


def claims(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Claim]:
    return st.builds(Claim, keys, stamps, names, small, small)


def tries(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Try]:
    return st.builds(Try, keys, stamps, names, small, st.integers(1, 3), small, st.text(max_size=2))


def dones(keys: st.SearchStrategy[str] = task_keys) -> st.SearchStrategy[Done]:
    return st.builds(Done, keys, stamps, names, small, st.booleans(), blobs)


def intents(keys: st.SearchStrategy[str] = effect_keys) -> st.SearchStrategy[Intent]:
    return st.builds(Intent, keys, stamps, names, task_keys, small, st.just("room"), blobs)


def receipts(keys: st.SearchStrategy[str] = effect_keys) -> st.SearchStrategy[Receipt]:
    return st.builds(Receipt, keys, stamps, names, small, blobs)


def doubts(keys: st.SearchStrategy[str] = effect_keys) -> st.SearchStrategy[Doubt]:
    return st.builds(Doubt, keys, stamps, names, small, st.sampled_from(["found", "resent", "skipped", "open"]))


resources = st.sampled_from(["q/requests", "shared"])
holders = st.sampled_from(["a/1", "b/1", "a/2"])


def gifts(keys: st.SearchStrategy[str] = resources) -> st.SearchStrategy[Gift]:
    return st.builds(Gift, keys, stamps, names, holders, holders | st.just("-"), small, small)


def shares(keys: st.SearchStrategy[str] = resources) -> st.SearchStrategy[Share]:
    return st.builds(Share, keys, stamps, names, holders, small, small, small, small)


def cools(keys: st.SearchStrategy[str] = resources) -> st.SearchStrategy[Cool]:
    return st.builds(Cool, keys, stamps, names, st.integers(0, 100_000), small)


def _unknown(key: str, stamp: int, author: str, rest: list[Any]) -> Unknown:
    return Unknown(key, stamp, author, "later", pack(("later", key, stamp, author, *rest)))


unknowns = st.builds(_unknown, task_keys, stamps, names, st.lists(small | st.text(max_size=2), max_size=2))

task_records = st.one_of(tasks(), claims(), tries(), dones())
effect_records = st.one_of(intents(), receipts(), doubts())
quota_records = st.one_of(gifts(), shares(), cools())
records: st.SearchStrategy[Record] = st.one_of(task_records, effect_records, quota_records, unknowns)


def by_bytes(found: list[Record]) -> list[bytes]:
    return sorted(encode(record) for record in found)
