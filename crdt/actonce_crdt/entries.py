"""Log entries: what a replica writes down, as typed records and as canonical msgpack bytes.

On the wire an entry is the msgpack array ``[code, key, stamp, author, ...fields]``:

    code        key         fields
    "task"      task id     kind, payload                     somebody asked for this work
    "claim"     task id     epoch, incarnation                the author does it
    "try"       task id     epoch, attempt, retry_at_ms, error  an attempt failed
    "done"      task id     epoch, ok, result                 finished: result, or error text when not ok
    "intent"    effect key  task, epoch, sink, body           about to be sent
    "receipt"   effect key  epoch, receipt                    the answer of the sink
    "doubt"     effect key  epoch, settled                    sent, perhaps: how that was settled
    "gift"     resource    giver, to, total, late            so many rights went that way in all
    "share"     resource    holder, seq, open, late, period   which rights a crash of the holder makes unusable for long
    "cool"      resource    for_ms, factor                    the provider complained

`decode` is strict (exact types, exact number of fields, limits, canonical bytes), so that one meaning has one form: the
bytes serve as last tie-break of every join and as input of the digest. An entry of an unknown code with a sound
header decodes to `Unknown` and is kept: a newer replica may have written it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

from .errors import EntryInvalid, EntryTooLarge
from .packing import pack, unpack_tuple
from .stamps import STAMP_MAX

ENTRY_BYTES_MAX: Final = 262_144
KEY_BYTES_MAX: Final = 512
NAME_BYTES_MAX: Final = 64
COUNT_MAX: Final = (1 << 53) - 1
"""Largest epoch, incarnation, attempt and unix millisecond: exact also in readers that know only doubles."""

SETTLED: Final = frozenset({"found", "resent", "skipped", "open"})

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Task:
    """Work to do: `kind` names the handler, `payload` is `pack_value` of its argument."""

    key: str
    stamp: int
    author: str
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """`author`, in this incarnation, does the task. The epoch is also the fencing token."""

    key: str
    stamp: int
    author: str
    epoch: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Try:
    """The attempt with this number (from 1) failed; the next one is due at `retry_at_ms` (unix milliseconds)."""

    key: str
    stamp: int
    author: str
    epoch: int
    attempt: int
    retry_at_ms: int
    error: str


@dataclass(frozen=True, slots=True)
class Done:
    """The task is over. `result` is `pack_value` of the returned value, or of the error text when not `ok`."""

    key: str
    stamp: int
    author: str
    epoch: int
    ok: bool
    result: bytes


@dataclass(frozen=True, slots=True)
class Intent:
    """The effect is about to be sent to `sink` with this body, on behalf of the task with id `task`."""

    key: str
    stamp: int
    author: str
    task: str
    epoch: int
    sink: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer of the sink; a replay returns it instead of acting again."""

    key: str
    stamp: int
    author: str
    epoch: int
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Doubt:
    """An effect that may have been sent without a recorded receipt: `settled` is a member of `SETTLED`."""

    key: str
    stamp: int
    author: str
    epoch: int
    settled: str


@dataclass(frozen=True, slots=True)
class Gift:
    """Of a limited resource, `total` rights went from `giver` to `to` in all, `late` of them while still in use.

    Holders are written ``name/journal``. From a holder to itself: the rights that it founded.
    """

    key: str
    stamp: int
    author: str
    giver: str
    to: str
    total: int
    late: int


@dataclass(frozen=True, slots=True)
class Share:
    """The `seq`-th word of a holder about its rights: `open` of them may be in use in `period` (0: no calendar).

    `late` counts the rights received while in use whose use is over.
    """

    key: str
    stamp: int
    author: str
    holder: str
    seq: int
    open: int
    late: int
    period: int


@dataclass(frozen=True, slots=True)
class Cool:
    """The provider asked for a pause of `for_ms` milliseconds, and is used at `factor` thousandths of the limit."""

    key: str
    stamp: int
    author: str
    for_ms: int
    factor: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """An entry of a code that this version does not know; `data` is the whole entry, untouched."""

    key: str
    stamp: int
    author: str
    code: str
    data: bytes


TaskRecord: TypeAlias = Task | Claim | Try | Done
EffectRecord: TypeAlias = Intent | Receipt | Doubt
QuotaRecord: TypeAlias = Gift | Share | Cool
Record: TypeAlias = TaskRecord | EffectRecord | QuotaRecord | Unknown

_Known: TypeAlias = TaskRecord | EffectRecord | QuotaRecord
_Check: TypeAlias = Callable[[str, object], None]


def name_is_valid(name: str) -> bool:
    """Whether `name` may name a replica: ``[a-z0-9][a-z0-9._-]*``, at most `NAME_BYTES_MAX` bytes."""
    return len(name) <= NAME_BYTES_MAX and _matches(name)


@lru_cache(maxsize=4096)
def _matches(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _name(field: str, value: object) -> None:
    if type(value) is not str or not name_is_valid(value):
        raise EntryInvalid(f"{field} must be a name such as node-1, of at most {NAME_BYTES_MAX} bytes")


def _key(field: str, value: object) -> None:
    if type(value) is not str or not value:
        raise EntryInvalid(f"{field} must be a text that is not empty")
    # A character takes at most 4 bytes: most keys need no encoding to be measured.
    if len(value) > KEY_BYTES_MAX // 4 and len(value.encode(errors="surrogatepass")) > KEY_BYTES_MAX:
        raise EntryInvalid(f"{field} is longer than {KEY_BYTES_MAX} bytes")


def _stamp(field: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= STAMP_MAX:
        raise EntryInvalid(f"{field} must be an integer from 0 to 2**63-1")


def _count(field: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise EntryInvalid(f"{field} must be an integer from 0 to 2**53-1")


def _attempt(field: str, value: object) -> None:
    _count(field, value)
    if value == 0:
        raise EntryInvalid(f"{field} counts from 1")


def _flag(field: str, value: object) -> None:
    if type(value) is not bool:
        raise EntryInvalid(f"{field} must be true or false")


def _blob(field: str, value: object) -> None:
    if type(value) is not bytes:
        raise EntryInvalid(f"{field} must be bytes")


def _text(field: str, value: object) -> None:
    if type(value) is not str:
        raise EntryInvalid(f"{field} must be text")


def _settled(field: str, value: object) -> None:
    if type(value) is not str or value not in SETTLED:
        raise EntryInvalid(f"{field} must be one of {', '.join(sorted(SETTLED))}")


_CHECKS: Final[dict[str, _Check]] = {
    "key": _key, "stamp": _stamp, "author": _name, "kind": _key, "payload": _blob, "epoch": _count,
    "incarnation": _count, "attempt": _attempt, "retry_at_ms": _count, "error": _text, "ok": _flag, "result": _blob,
    "task": _key, "sink": _key, "body": _blob, "receipt": _blob, "settled": _settled,
    "giver": _key, "to": _key, "total": _count, "late": _count, "holder": _key, "seq": _count, "open": _count,
    "period": _count, "for_ms": _count, "factor": _count,
}  # fmt: skip
_HEADER: Final = ("key", "stamp", "author")

_TYPES: Final[dict[str, type[_Known]]] = {
    "task": Task, "claim": Claim, "try": Try, "done": Done, "intent": Intent, "receipt": Receipt, "doubt": Doubt,
    "gift": Gift, "share": Share, "cool": Cool,
}  # fmt: skip
_CODES: Final[dict[type[_Known], str]] = {kind: code for code, kind in _TYPES.items()}
_GETTERS: Final[dict[type[_Known], Callable[[Any], tuple[object, ...]]]] = {
    kind: attrgetter(*(field.name for field in fields(kind))) for kind in _CODES
}
_FIELDS: Final[dict[str, tuple[tuple[str, _Check], ...]]] = {
    code: tuple((field.name, _CHECKS[field.name]) for field in fields(kind)) for code, kind in _TYPES.items()
}


def encode(record: Record) -> bytes:
    """The bytes of an entry. Raises EntryInvalid for a record that `decode` would refuse."""
    if isinstance(record, Unknown):
        return record.data
    code = _CODES[type(record)]
    values = _GETTERS[type(record)](record)
    _check(code, values)
    try:
        data = pack((code, *values))
    except ValueError as error:  # a lone surrogate has no UTF-8 form
        raise EntryInvalid(f"{code} entry: {error}") from error
    if len(data) > ENTRY_BYTES_MAX:
        raise EntryTooLarge(f"{code} entry of {len(data)} bytes: the limit is {ENTRY_BYTES_MAX}")
    return data


def decode(data: bytes) -> Record:
    """The record in `data`. Raises EntryInvalid, or EntryTooLarge, for anything that `encode` does not make."""
    if len(data) > ENTRY_BYTES_MAX:
        raise EntryTooLarge(f"entry of {len(data)} bytes: the limit is {ENTRY_BYTES_MAX}")
    try:
        values = unpack_tuple(data)
        canonical = pack(values)
    except ValueError as error:
        raise EntryInvalid(f"not msgpack: {error}") from error
    if canonical != data:
        raise EntryInvalid("not the canonical form of an entry")
    if not isinstance(values, tuple) or len(values) < 1 + len(_HEADER):
        raise EntryInvalid("an entry is an array of code, key, stamp, author and fields")
    code, record = values[0], values[1:]
    _name("code", code)
    kind = _TYPES.get(code)
    if kind is None:
        return _unknown(code, record, data)
    _check(code, record)
    return kind(*record)


def _check(code: str, values: tuple[object, ...]) -> None:
    expected = _FIELDS[code]
    if len(values) != len(expected):
        raise EntryInvalid(f"{code} entry: {len(values)} fields instead of {len(expected)}")
    for (field, check), value in zip(expected, values, strict=True):
        check(field, value)


def _unknown(code: str, values: tuple[Any, ...], data: bytes) -> Unknown:
    """An entry of a later version: its header is checked, its fields only for being of a kind that we would use."""
    for field, value in zip(_HEADER, values[: len(_HEADER)], strict=True):
        _CHECKS[field](field, value)
    for value in values[len(_HEADER) :]:
        if value is not None and type(value) not in (bool, int, str, bytes, tuple):
            raise EntryInvalid(f"{code} entry: a field of type {type(value).__name__}")
    return Unknown(values[0], values[1], values[2], code, data)
