"""Log entries: what a replica writes down, as typed records and as canonical msgpack bytes.

On the wire an entry is the msgpack array ``[code, key, stamp, author, ...fields]``:

    code        key         fields
    "task"      task id     kind, payload, priority, not_before_ms, after, needs_ok, parent
                                                              somebody asked for this work
    "claim"     task id     epoch, incarnation, holder,       the author does it, or has the holder do it
                            holder_incarnation
    "try"       task id     epoch, attempt, retry_at_ms, error  an attempt failed
    "done"      task id     epoch, ok, result, how            finished: result, or error text when not ok
    "passed"    task id     epoch, deaths                     that claim's process ended before the task did
    "cancel"    task id     epoch                             somebody called it off
    "reopen"    task id     epoch, attempts, deaths           somebody wants it tried again
    "intent"    effect key  task, epoch, sink, body           about to be sent
    "receipt"   effect key  epoch, receipt                    the answer of the sink
    "doubt"     effect key  epoch, settled, round             sent, perhaps: how that was settled
    "grant"     task id     epoch, claimant, incarnation,     the author, a voter, lets this claimant have this epoch
                            journal, roster, over
    "release"   task id     epoch, incarnation                the author acts under no claim up to this epoch any more
    "roster"    version     act, ballot, journal, voters,     one step of deciding who votes (see `roster`)
                            over
    "step"      step key    task, epoch, number, base_epoch, base_author, base_number, name, before, result
                                                              a part of the handler returned this
    "mark"      schedule    slot                              all of its slots up to this one are settled
    "cursor"    source      epoch, number, value              all up to here has become tasks
    "gift"      resource    giver, to, total, late            so many rights went that way in all
    "share"     resource    holder, seq, open, late, period,  which rights a crash of the holder makes unusable for
                            away, lease_ms                    long, how many it may have given away, its lease
    "lapse"     quota       holder, session, journal, roster  a voter vouches no more for the use of these rights
    "cool"      resource    for_ms, factor                    the provider complained
    "cell"      place       value, seen, expires_ms, task     somebody wrote to memory (see `memory`)
    "tally"     counter     journal, seq, plus, minus, task   somebody counted
    "switch"    target      number, mode, over, reason        somebody ordered pause, stop and so on (see `control`)
    "shut"      target      seen                              the author's gate is shut under these switches
    "floor"     "floor"     keeper, number, until, over, kept what was asked for before begins no more (see `horizon`)
    "cut"       log                                           the log was shortened (see `compaction`)

`decode` is strict (exact types, exact number of fields, limits, canonical bytes), so that one meaning has one form: the
bytes serve as last tie-break of every join and as input of the digest. An entry of an unknown code with a sound
header decodes to `Unknown` and is kept: a newer replica may have written it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, TypeAlias

from . import fields as check
from .cells import Cell, Tally
from .cursor import Cursor
from .cuts import Cut, Floor
from .errors import EntryInvalid, EntryTooLarge
from .packing import pack, unpack_tuple
from .rights import Cool, Gift, Lapse, Share
from .switch import Shut, Switch

ENTRY_BYTES_MAX: Final = 262_144


@dataclass(frozen=True, slots=True)
class Task:
    """Work to do: `kind` names the handler, `payload` is `pack_value` of its argument.

    Of those that one replica may begin, the highest `priority` goes first. None begins before `not_before_ms` (unix
    milliseconds), nor before all tasks of `after` have an outcome, which with `needs_ok` must be a result. `parent` is
    the task whose handler asked for it, or "".
    """

    key: str
    stamp: int
    author: str
    kind: str
    payload: bytes
    priority: int = 0
    not_before_ms: int = 0
    after: tuple[str, ...] = ()
    needs_ok: bool = True
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """`author`, in this incarnation, does the task, or has `holder` do it. The epoch is also the fencing token."""

    key: str
    stamp: int
    author: str
    epoch: int
    incarnation: int
    holder: str = ""
    """Whom the author delegates the task to; empty for itself."""
    holder_incarnation: int = 0

    @property
    def claimant(self) -> tuple[str, int]:
        """Name and incarnation of the process that has the task."""
        return (self.holder, self.holder_incarnation) if self.holder else (self.author, self.incarnation)


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
    """The task is over. `result` is `pack_value` of the returned value, or of the error text when not `ok`.

    `how` is "" when its handler decided that, else a member of `HOWS`.
    """

    key: str
    stamp: int
    author: str
    epoch: int
    ok: bool
    result: bytes
    how: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """The process that held the claim of this epoch ended, or left, before the task did.

    `deaths` processes have died with this task so far: one that left is not counted.
    """

    key: str
    stamp: int
    author: str
    epoch: int
    deaths: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody called the task off, when claims up to this epoch were known."""

    key: str
    stamp: int
    author: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Reopen:
    """Failures, cancellations and claims up to this epoch count no more; attempts and deaths count from these on."""

    key: str
    stamp: int
    author: str
    epoch: int
    attempts: int
    deaths: int


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
    """An effect that may have been sent without a recorded receipt: `settled` is a member of `SETTLED`.

    `round` counts how often it was sent again after such a word, so that no word of an earlier round speaks of a later
    sending: each sending after a word begins a new round with "sending".
    """

    key: str
    stamp: int
    author: str
    epoch: int
    settled: str
    round: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """The author, a voter with this journal in this roster version, lets `claimant` have `epoch`, and nobody else.

    `over` is the highest epoch that it knew to be granted to anybody else before; 0 for none.
    """

    key: str
    stamp: int
    author: str
    epoch: int
    claimant: str
    incarnation: int
    journal: str
    roster: int
    over: int


@dataclass(frozen=True, slots=True)
class Release:
    """The author, in this incarnation, acts under none of its claims up to this epoch any more."""

    key: str
    stamp: int
    author: str
    epoch: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Roster:
    """One step of deciding who votes in roster version `key`: `act` is a member of `ACTS`; see `actonce_crdt.roster`.

    `ballot` is (number, proposer), `journal` the author's, `voters` are (name, journal) pairs, sorted by name. `over`
    is, in a promise, the ballot in which `voters` were accepted before; (0, "") for none.
    """

    key: str
    stamp: int
    author: str
    act: str
    ballot: tuple[int, str]
    journal: str
    voters: tuple[tuple[str, str], ...]
    over: tuple[int, str]


@dataclass(frozen=True, slots=True)
class Step:
    """A named part of the handler of `task` returned `result`, as the `number`-th under the author's claim.

    `base_*` say up to which step of which claim this one goes on ("" and 0 for none). `before` is a fingerprint of the
    names started before it. A step without a name voids all that went before.
    """

    key: str
    stamp: int
    author: str
    task: str
    epoch: int
    number: int
    base_epoch: int
    base_author: str
    base_number: int
    name: str
    before: str
    result: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Of the schedule named `key`, every slot up to this one (unix seconds) is settled and never begins again."""

    key: str
    stamp: int
    author: str
    slot: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """An entry of a code that this version does not know; `data` is the whole entry, untouched."""

    key: str
    stamp: int
    author: str
    code: str
    data: bytes


TaskRecord: TypeAlias = Task | Claim | Try | Done | Passed | Cancel | Reopen | Grant | Release
EffectRecord: TypeAlias = Intent | Receipt | Doubt
QuotaRecord: TypeAlias = Gift | Share | Lapse | Cool
MemoryRecord: TypeAlias = Cell | Tally
ControlRecord: TypeAlias = Switch | Shut
_Other: TypeAlias = QuotaRecord | MemoryRecord | ControlRecord | Roster | Step | Mark | Cursor | Floor | Cut
Record: TypeAlias = TaskRecord | EffectRecord | _Other | Unknown

_Known: TypeAlias = TaskRecord | EffectRecord | _Other
_CHECKS: Final[dict[str, check.Check]] = {
    "key": check.key, "stamp": check.stamp, "author": check.name, "kind": check.key, "payload": check.blob,
    "epoch": check.count, "incarnation": check.count, "attempt": check.attempt, "retry_at_ms": check.count,
    "error": check.text, "ok": check.flag, "result": check.blob, "task": check.key, "sink": check.key,
    "body": check.blob, "receipt": check.blob, "settled": check.settled, "number": check.attempt,
    "base_epoch": check.count, "base_author": check.maybe_name, "base_number": check.count, "name": check.text,
    "before": check.text, "priority": check.priority, "not_before_ms": check.count, "after": check.keys,
    "needs_ok": check.flag, "parent": check.maybe_key, "how": check.how, "deaths": check.count,
    "attempts": check.count, "slot": check.count, "holder": check.maybe_name, "holder_incarnation": check.count,
    "claimant": check.name, "journal": check.key, "roster": check.count, "act": check.act, "ballot": check.ballot,
    "voters": check.voters, "giver": check.key, "to": check.key, "total": check.count, "late": check.count,
    "seq": check.count, "open": check.count, "period": check.count, "for_ms": check.count, "factor": check.count,
    "value": check.blob, "seen": check.seen, "expires_ms": check.count, "plus": check.count, "minus": check.count,
    "round": check.count, "mode": check.mode, "reason": check.reason, "away": check.count, "session": check.count,
    "lease_ms": check.count,
    "keeper": check.key, "until": check.stamp, "kept": check.marks,
}  # fmt: skip
_HEADER: Final = ("key", "stamp", "author")

_TYPES: Final[dict[str, type[_Known]]] = {
    "task": Task, "claim": Claim, "try": Try, "done": Done, "intent": Intent, "receipt": Receipt, "doubt": Doubt,
    "step": Step, "passed": Passed, "cancel": Cancel, "reopen": Reopen, "mark": Mark,
    "grant": Grant, "release": Release, "roster": Roster, "gift": Gift, "share": Share, "cool": Cool,
    "cell": Cell, "tally": Tally, "switch": Switch, "shut": Shut, "cursor": Cursor, "lapse": Lapse,
    "floor": Floor, "cut": Cut,
}  # fmt: skip
_CODES: Final[dict[type[_Known], str]] = {kind: code for code, kind in _TYPES.items()}
_GETTERS: Final[dict[type[_Known], Callable[[Any], tuple[object, ...]]]] = {
    kind: attrgetter(*(field.name for field in fields(kind))) for kind in _CODES
}
_SPECIAL: Final[dict[tuple[str, str], check.Check]] = {
    ("grant", "over"): check.count, ("roster", "over"): check.ballot, ("share", "holder"): check.key,
    ("cell", "task"): check.maybe_key, ("tally", "task"): check.maybe_key, ("lapse", "holder"): check.key,
    ("switch", "number"): check.attempt, ("switch", "over"): check.dots, ("shut", "seen"): check.dots,
    ("floor", "over"): check.versions,
}  # fmt: skip
_FIELDS: Final[dict[str, tuple[tuple[str, check.Check], ...]]] = {
    code: tuple((field.name, _SPECIAL.get((code, field.name)) or _CHECKS[field.name]) for field in fields(kind))
    for code, kind in _TYPES.items()
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
    check.name("code", code)
    kind = _TYPES.get(code)
    if kind is None:
        return _unknown(code, record, data)
    _check(code, record)
    return kind(*record)


def _check(code: str, values: tuple[object, ...]) -> None:
    expected = _FIELDS[code]
    if len(values) != len(expected):
        raise EntryInvalid(f"{code} entry: {len(values)} fields instead of {len(expected)}")
    for (field, checked), value in zip(expected, values, strict=True):
        checked(field, value)


def _unknown(code: str, values: tuple[Any, ...], data: bytes) -> Unknown:
    """An entry of a later version: its header is checked, its fields only for being of a kind that we would use."""
    for field, value in zip(_HEADER, values[: len(_HEADER)], strict=True):
        _CHECKS[field](field, value)
    for value in values[len(_HEADER) :]:
        if value is not None and type(value) not in (bool, int, str, bytes, tuple):
            raise EntryInvalid(f"{code} entry: a field of type {type(value).__name__}")
    return Unknown(values[0], values[1], values[2], code, data)
