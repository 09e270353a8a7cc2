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
from typing import Any, Final, TypeAlias

from msgspec import MsgspecError
from msgspec.msgpack import Decoder, Encoder

from . import fields as check
from .cells import Cell, Tally
from .cursor import Cursor
from .cuts import Cut, Floor
from .errors import EntryInvalid, EntryTooLarge
from .facts import (
    Act,
    Ballot,
    Blob,
    Count,
    Fact,
    Flag,
    How,
    Key,
    Keys,
    Left,
    MaybeKey,
    MaybeName,
    Name,
    Number,
    Priority,
    Rule,
    Settled,
    Text,
    Voters,
    rules,
)
from .packing import pack, unpack_tuple
from .rights import Cool, Gift, Lapse, Share
from .switch import Shut, Switch

ENTRY_BYTES_MAX: Final = 262_144


class Task(Fact, frozen=True, tag="task"):
    """Work to do: `kind` names the handler, `payload` is `pack_value` of its argument.

    Of those that one replica may begin, the highest `priority` goes first. None begins before `not_before_ms` (unix
    milliseconds), nor before all tasks of `after` have an outcome, which with `needs_ok` must be a result. `parent` is
    the task whose handler asked for it, or "".
    """

    kind: Key
    payload: Blob
    priority: Priority = 0
    not_before_ms: Count = 0
    after: Keys = ()
    needs_ok: Flag = True
    parent: MaybeKey = ""


class Claim(Fact, frozen=True, tag="claim"):
    """`author`, in this incarnation, does the task, or has `holder` do it. The epoch is also the fencing token."""

    epoch: Count
    incarnation: Count
    holder: MaybeName = ""
    """Whom the author delegates the task to; empty for itself."""
    holder_incarnation: Count = 0

    @property
    def claimant(self) -> tuple[str, int]:
        """Name and incarnation of the process that has the task."""
        return (self.holder, self.holder_incarnation) if self.holder else (self.author, self.incarnation)


class Try(Fact, frozen=True, tag="try"):
    """The attempt with this number (from 1) failed; the next one is due at `retry_at_ms` (unix milliseconds)."""

    epoch: Count
    attempt: Number
    retry_at_ms: Count
    error: Text


class Done(Fact, frozen=True, tag="done"):
    """The task is over. `result` is `pack_value` of the returned value, or of the error text when not `ok`.

    `how` is "" when its handler decided that, else a member of `HOWS`.
    """

    epoch: Count
    ok: Flag
    result: Blob
    how: How = ""


class Passed(Fact, frozen=True, tag="passed"):
    """The process that held the claim of this epoch ended, or left, before the task did.

    `deaths` processes have died with this task so far: one that left is not counted.
    """

    epoch: Count
    deaths: Count


class Cancel(Fact, frozen=True, tag="cancel"):
    """Somebody called the task off, when claims up to this epoch were known."""

    epoch: Count


class Reopen(Fact, frozen=True, tag="reopen"):
    """Failures, cancellations and claims up to this epoch count no more; attempts and deaths count from these on."""

    epoch: Count
    attempts: Count
    deaths: Count


class Intent(Fact, frozen=True, tag="intent"):
    """The effect is about to be sent to `sink` with this body, on behalf of the task with id `task`."""

    task: Key
    epoch: Count
    sink: Key
    body: Blob


class Receipt(Fact, frozen=True, tag="receipt"):
    """The answer of the sink; a replay returns it instead of acting again."""

    epoch: Count
    receipt: Blob


class Doubt(Fact, frozen=True, tag="doubt"):
    """An effect that may have been sent without a recorded receipt: `settled` is a member of `SETTLED`.

    `round` counts how often it was sent again after such a word, so that no word of an earlier round speaks of a later
    sending: each sending after a word begins a new round with "sending".
    """

    epoch: Count
    settled: Settled
    round: Count = 0


class Grant(Fact, frozen=True, tag="grant"):
    """The author, a voter with this journal in this roster version, lets `claimant` have `epoch`, and nobody else.

    `over` is the highest epoch that it knew to be granted to anybody else before; 0 for none.
    """

    epoch: Count
    claimant: Name
    incarnation: Count
    journal: Key
    roster: Count
    over: Count


class Release(Fact, frozen=True, tag="release"):
    """The author, in this incarnation, acts under none of its claims up to this epoch any more."""

    epoch: Count
    incarnation: Count


class Roster(Fact, frozen=True, tag="roster"):
    """One step of deciding who votes in roster version `key`: `act` is a member of `ACTS`; see `actonce_crdt.roster`.

    `ballot` is (number, proposer), `journal` the author's, `voters` are (name, journal) pairs, sorted by name. `over`
    is, in a promise, the ballot in which `voters` were accepted before; (0, "") for none.
    """

    act: Act
    ballot: Ballot
    journal: Key
    voters: Voters
    over: Ballot


class Step(Fact, frozen=True, tag="step"):
    """A named part of the handler of `task` returned `result`, as the `number`-th under the author's claim.

    `base_*` say up to which step of which claim this one goes on ("" and 0 for none). `before` is a fingerprint of the
    names started before it. A step without a name voids all that went before.
    """

    task: Key
    epoch: Count
    number: Number
    base_epoch: Count
    base_author: MaybeName
    base_number: Count
    name: Text
    before: Text
    result: Blob


class Mark(Fact, frozen=True, tag="mark"):
    """Of the schedule named `key`, every slot up to this one (unix seconds) is settled and never begins again."""

    slot: Count


class Unknown(Fact, frozen=True):
    """An entry of a code that this version does not know; `data` is the whole entry, untouched."""

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
_HEADER: Final = ("key", "stamp", "author")
_TYPES: Final[dict[object, type[_Known]]] = {kind.__struct_config__.tag: kind for kind in _Known.__args__}
_RULES: Final[dict[type[_Known], tuple[tuple[str, Rule], ...]]] = {kind: tuple(rules(kind)) for kind in _TYPES.values()}


def _left(left: Left) -> dict[type[_Known], tuple[tuple[str, check.Check], ...]]:
    return {
        kind: tuple((field, rule.check) for field, rule in found if rule.left is left and field not in _HEADER)
        for kind, found in _RULES.items()
    }


_HEADER_RULES: Final = tuple(rules(Fact))
_LEFT: Final = _left(Left.ALL)
_LEFT_OF_LONG: Final = _left(Left.BYTES)

_write: Final[Callable[[object], bytes]] = Encoder().encode
_read: Final[Callable[[bytes], Any]] = Decoder(_Known).decode
_REFUSALS: Final = (EntryInvalid, MsgspecError, ValueError, OverflowError, RecursionError)
"""Of the quick way. `MsgspecError` where the bytes are not of a known type, `ValueError` for texts without UTF-8."""


def encode(record: Record) -> bytes:
    """The bytes of an entry. Raises EntryInvalid for a record that `decode` would refuse."""
    if isinstance(record, Unknown):
        return record.data
    kind = type(record)
    for field, rule in _RULES[kind]:
        rule.check(field, getattr(record, field))
    try:
        data = _write(record)
    except ValueError as error:  # a lone surrogate has no UTF-8 form
        raise EntryInvalid(f"{kind.__struct_config__.tag} entry: {error}") from error
    if len(data) > ENTRY_BYTES_MAX:
        raise EntryTooLarge(f"{kind.__struct_config__.tag} entry of {len(data)} bytes: the limit is {ENTRY_BYTES_MAX}")
    return data


def decode(data: bytes) -> Record:
    """The record in `data`. Raises EntryInvalid, or EntryTooLarge, for anything that `encode` does not make."""
    try:
        record: _Known = _read(data)
        if _write(record) == data and len(data) <= ENTRY_BYTES_MAX:
            _check_left(record, len(data))
            return record
    except _REFUSALS:
        pass
    return _decode_by_rules(data)


def _check_left(record: _Known, size: int) -> None:
    """What msgspec leaves open, of a record of so many bytes whose types and limits it has checked."""
    kind = type(record)
    if not check.short_name_is_valid(record.author):
        check.name("author", record.author)
    for field, checked in _LEFT[kind]:
        checked(field, getattr(record, field))
    if size > check.KEY_BYTES_MAX:
        check.key("key", record.key)
        for field, checked in _LEFT_OF_LONG[kind]:
            checked(field, getattr(record, field))


def _decode_by_rules(data: bytes) -> Record:
    """The same as `decode`, field by field: whoever is refused hears why. And entries of unknown codes."""
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
    _check(code, _RULES[kind], record)
    return kind(*record)


def _check(code: object, rules_of: tuple[tuple[str, Rule], ...], values: tuple[object, ...]) -> None:
    if len(values) != len(rules_of):
        raise EntryInvalid(f"{code} entry: {len(values)} fields instead of {len(rules_of)}")
    for (field, rule), value in zip(rules_of, values, strict=True):
        rule.check(field, value)


def _unknown(code: str, values: tuple[Any, ...], data: bytes) -> Unknown:
    """An entry of a later version: its header is checked, its fields only for being of a kind that we would use."""
    for (field, rule), value in zip(_HEADER_RULES, values[: len(_HEADER)], strict=True):
        rule.check(field, value)
    for value in values[len(_HEADER) :]:
        if value is not None and type(value) not in (bool, int, str, bytes, tuple):
            raise EntryInvalid(f"{code} entry: a field of type {type(value).__name__}")
    return Unknown(values[0], values[1], values[2], code, data)
