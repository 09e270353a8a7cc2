"""What a field of an entry may hold: one function a kind of field, which raises EntryInvalid with the field's name."""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeAlias

from .errors import EntryInvalid
from .stamps import STAMP_MAX

KEY_BYTES_MAX: Final = 512
NAME_BYTES_MAX: Final = 64
COUNT_MAX: Final = (1 << 53) - 1
"""Largest epoch, incarnation, attempt and unix millisecond: exact also in readers that know only doubles."""

PRIORITY_MAX: Final = 1000
AFTER_MAX: Final = 64
"""Tasks that one task can wait for."""

ACTS: Final = frozenset({"propose", "promise", "offer", "accept", "active"})
VOTERS_MAX: Final = 64
"""Voters in one roster."""
AUTHORS_MAX: Final = 1_024
"""Replicas whose writes one write to memory can replace."""
MODES: Final = ("run", "drain", "pause", "stop", "halt")
"""What a target may be ordered to do, the strictest last."""
REASON_CHARS_MAX: Final = 500
DOTS_MAX: Final = 1024
"""Authors of switches of one target."""
MARK_BYTES: Final = 16
"""Bytes of one task in `Floor.kept`: a hash of its id, and the stamp of its `Task` entry."""
HOWS: Final = frozenset({"", "aside", "cancelled", "dropped", "late", "skipped"})
SETTLED: Final = frozenset({"sending", "open", "resend", "refused", "skipped", "posted", "resent", "found"})
"""Of a doubt: about to be sent again; nobody knows; a person wants it sent again; surely not done; given up; a person
says that it was done; done by sending it again; found done at the sink."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

Check: TypeAlias = Callable[[str, object], None]


def name_is_valid(name: str) -> bool:
    """Whether `name` may name a replica: ``[a-z0-9][a-z0-9._-]*``, at most `NAME_BYTES_MAX` bytes."""
    return len(name) <= NAME_BYTES_MAX and short_name_is_valid(name)


@lru_cache(maxsize=4096)
def short_name_is_valid(name: str) -> bool:
    """The same, of a name that is not longer than that."""
    return _NAME.fullmatch(name) is not None


def name(field: str, value: object) -> None:
    if type(value) is not str or not name_is_valid(value):
        raise EntryInvalid(f"{field} must be a name such as node-1, of at most {NAME_BYTES_MAX} bytes")


def key(field: str, value: object) -> None:
    if type(value) is not str or not value:
        raise EntryInvalid(f"{field} must be a text that is not empty")
    # A character takes at most 4 bytes: most keys need no encoding to be measured.
    if len(value) > KEY_BYTES_MAX // 4 and len(value.encode(errors="surrogatepass")) > KEY_BYTES_MAX:
        raise EntryInvalid(f"{field} is longer than {KEY_BYTES_MAX} bytes")


def stamp(field: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= STAMP_MAX:
        raise EntryInvalid(f"{field} must be an integer from 0 to 2**63-1")


def count(field: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise EntryInvalid(f"{field} must be an integer from 0 to 2**53-1")


def attempt(field: str, value: object) -> None:
    count(field, value)
    if value == 0:
        raise EntryInvalid(f"{field} counts from 1")


def flag(field: str, value: object) -> None:
    if type(value) is not bool:
        raise EntryInvalid(f"{field} must be true or false")


def blob(field: str, value: object) -> None:
    if type(value) is not bytes:
        raise EntryInvalid(f"{field} must be bytes")


def maybe_name(field: str, value: object) -> None:
    if value != "":
        name(field, value)


def maybe_key(field: str, value: object) -> None:
    if value != "":
        key(field, value)


def keys(field: str, value: object) -> None:
    if type(value) is not tuple or len(value) > AFTER_MAX:
        raise EntryInvalid(f"{field} must be an array of at most {AFTER_MAX} keys")
    for one in value:
        key(field, one)


def priority(field: str, value: object) -> None:
    if type(value) is not int or not -PRIORITY_MAX <= value <= PRIORITY_MAX:
        raise EntryInvalid(f"{field} must be an integer from {-PRIORITY_MAX} to {PRIORITY_MAX}")


def how(field: str, value: object) -> None:
    if type(value) is not str or value not in HOWS:
        raise EntryInvalid(f"{field} must be empty or one of {', '.join(sorted(HOWS - {''}))}")


def text(field: str, value: object) -> None:
    if type(value) is not str:
        raise EntryInvalid(f"{field} must be text")


def settled(field: str, value: object) -> None:
    if type(value) is not str or value not in SETTLED:
        raise EntryInvalid(f"{field} must be one of {', '.join(sorted(SETTLED))}")


def act(field: str, value: object) -> None:
    if type(value) is not str or value not in ACTS:
        raise EntryInvalid(f"{field} must be one of {', '.join(sorted(ACTS))}")


def ballot(field: str, value: object) -> None:
    if type(value) is not tuple or len(value) != 2:
        raise EntryInvalid(f"{field} must be a number and a name")
    count(field, value[0])
    if value != (0, ""):
        name(field, value[1])


def mode(field: str, value: object) -> None:
    if type(value) is not str or value not in MODES:
        raise EntryInvalid(f"{field} must be one of {', '.join(MODES)}")


def reason(field: str, value: object) -> None:
    if type(value) is not str or len(value) > REASON_CHARS_MAX:
        raise EntryInvalid(f"{field} must be text of at most {REASON_CHARS_MAX} characters")


def voters(field: str, value: object) -> None:
    _pairs(field, value, VOTERS_MAX, "a journal", key)


def dots(field: str, value: object) -> None:
    _pairs(field, value, DOTS_MAX, "a number", attempt)


def seen(field: str, value: object) -> None:
    _pairs(field, value, AUTHORS_MAX, "a stamp", stamp)


def _pairs(field: str, value: object, limit: int, what: str, check: Check) -> None:
    """Pairs of a replica's name and something that passes `check`, one a name, sorted by it."""
    if type(value) is not tuple or len(value) > limit:
        raise EntryInvalid(f"{field} must be at most {limit} pairs of a name and {what}")
    for pair in value:
        if type(pair) is not tuple or len(pair) != 2:
            raise EntryInvalid(f"{field} must be pairs of a name and {what}")
        name(field, pair[0])
        check(field, pair[1])
    names = [pair[0] for pair in value]
    if names != sorted(set(names)):
        raise EntryInvalid(f"{field} must be sorted by name, and name nobody twice")


def marks(field: str, value: object) -> None:
    blob(field, value)
    assert isinstance(value, bytes)
    if len(value) % MARK_BYTES:
        raise EntryInvalid(f"{field} must be marks of {MARK_BYTES} bytes each")
    parts = [value[start : start + MARK_BYTES] for start in range(0, len(value), MARK_BYTES)]
    if any(one >= other for one, other in pairwise(parts)):
        raise EntryInvalid(f"{field} must be sorted, and name nothing twice")


def versions(field: str, value: object) -> None:
    if type(value) is not tuple or any(type(pair) is not tuple or len(pair) != 2 for pair in value):
        raise EntryInvalid(f"{field} must be pairs of a keeper and a number")
    for pair in value:
        key(field, pair[0])
        attempt(field, pair[1])
    if any(one[0] >= other[0] for one, other in pairwise(value)):
        raise EntryInvalid(f"{field} must be sorted by keeper, and name nobody twice")
