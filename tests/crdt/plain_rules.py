"""The entry format once more, as plainly as it can be said: what the decoder has to agree with, input by input."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from actonce_crdt.packing import pack, unpack_tuple

Rule = Callable[[Any], bool]


def integer(low: int, high: int) -> Rule:
    return lambda value: type(value) is int and low <= value <= high


def choice(*words: str) -> Rule:
    return lambda value: type(value) is str and value in words


def maybe(rule: Rule) -> Rule:
    return lambda value: (type(value) is str and value == "") or rule(value)


def pairs(first: Rule, second: Rule, most: int | None) -> Rule:
    """Pairs, strictly sorted by their first part."""

    def is_one(value: Any) -> bool:
        return type(value) is tuple and len(value) == 2 and first(value[0]) and second(value[1])

    def rule(value: Any) -> bool:
        if type(value) is not tuple or (most is not None and len(value) > most) or not all(map(is_one, value)):
            return False
        return all(one[0] < other[0] for one, other in pairwise(value))

    return rule


def is_name(value: Any) -> bool:
    return type(value) is str and len(value) <= 64 and re.fullmatch(r"[a-z0-9][a-z0-9._-]*", value) is not None


def is_key(value: Any) -> bool:
    return type(value) is str and 1 <= len(value.encode()) <= 512


def is_keys(value: Any) -> bool:
    return type(value) is tuple and len(value) <= 64 and all(map(is_key, value))


def is_ballot(value: Any) -> bool:
    if type(value) is not tuple or len(value) != 2 or not count(value[0]):
        return False
    return value == (0, "") or is_name(value[1])


def is_marks(value: Any) -> bool:
    if type(value) is not bytes or len(value) % 16:
        return False
    return all(one < other for one, other in pairwise(value[at : at + 16] for at in range(0, len(value), 16)))


def is_later(value: Any) -> bool:
    """What an entry of a code that is not known here may hold."""
    return value is None or type(value) in (bool, int, str, bytes, tuple)


def flag(value: Any) -> bool:
    return type(value) is bool


def blob(value: Any) -> bool:
    return type(value) is bytes


def text(value: Any) -> bool:
    return type(value) is str


def reason(value: Any) -> bool:
    return type(value) is str and len(value) <= 500


count, number, stamp = integer(0, 2**53 - 1), integer(1, 2**53 - 1), integer(0, 2**63 - 1)
how = choice("", "aside", "cancelled", "dropped", "late", "skipped")
settled = choice("sending", "open", "resend", "refused", "skipped", "posted", "resent", "found")
act = choice("propose", "promise", "offer", "accept", "active")
mode = choice("run", "drain", "pause", "stop", "halt")
dots = pairs(is_name, number, 1024)

HEADER: tuple[Rule, ...] = (is_key, stamp, is_name)
FIELDS: dict[str, tuple[Rule, ...]] = {
    "task": (is_key, blob, integer(-1000, 1000), count, is_keys, flag, maybe(is_key)),
    "claim": (count, count, maybe(is_name), count),
    "try": (count, number, count, text),
    "done": (count, flag, blob, how),
    "passed": (count, count),
    "cancel": (count,),
    "reopen": (count, count, count),
    "intent": (is_key, count, is_key, blob),
    "receipt": (count, blob),
    "doubt": (count, settled, count),
    "grant": (count, is_name, count, is_key, count, count),
    "release": (count, count),
    "roster": (act, is_ballot, is_key, pairs(is_name, is_key, 64), is_ballot),
    "step": (is_key, count, number, count, maybe(is_name), count, text, text, blob),
    "mark": (count,),
    "cursor": (count, number, blob),
    "gift": (is_key, is_key, count, count),
    "share": (is_key, count, count, count, count, count, count),
    "lapse": (is_key, count, is_key, count),
    "cool": (count, count),
    "cell": (blob, pairs(is_name, stamp, 1024), count, maybe(is_key)),
    "tally": (is_key, count, count, count, maybe(is_key)),
    "switch": (number, mode, dots, reason),
    "shut": (dots,),
    "floor": (is_key, number, stamp, pairs(is_key, number, None), is_marks),
    "cut": (),
}


def accepted(data: bytes) -> tuple[Any, ...] | None:
    """The values of a sound entry; None for anything else."""
    try:
        values = unpack_tuple(data)
        if len(data) > 262_144 or type(values) is not tuple or pack(values) != data:
            return None
    except ValueError:
        return None
    if len(values) < 4 or not is_name(values[0]):
        return None
    rules = (*HEADER, *FIELDS.get(values[0], (is_later,) * (len(values) - 4)))
    if len(rules) != len(values) - 1 or not all(rule(one) for rule, one in zip(rules, values[1:], strict=True)):
        return None
    return values
