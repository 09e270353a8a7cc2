"""The base of all entry types, and the types of their fields: what msgspec holds while it decodes, in C.

Each type of a field carries the rule of `fields` that it stands for, since msgspec cannot hold all of them: it measures
a text in characters, not bytes, and knows no names, orders or choices. What it leaves open, the rule decides afterwards
(see `Left`); and whoever is refused gets the sentence of the rule.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, TypeAlias, get_type_hints

from msgspec import Meta, Struct

from . import fields
from .stamps import STAMP_MAX


class Left(Enum):
    """What of a rule is left to be checked once msgspec has decoded a field."""

    NOTHING = auto()
    BYTES = auto()
    """A text may be too long in bytes: not in an entry of at most `KEY_BYTES_MAX` bytes."""
    ALL = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field may hold."""

    check: fields.Check
    left: Left = Left.NOTHING


_TEXT = Meta(max_length=fields.KEY_BYTES_MAX)

Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=fields.KEY_BYTES_MAX), Rule(fields.key, Left.BYTES)]
MaybeKey: TypeAlias = Annotated[str, _TEXT, Rule(fields.maybe_key, Left.BYTES)]
Keys: TypeAlias = Annotated[tuple[Key, ...], Meta(max_length=fields.AFTER_MAX), Rule(fields.keys, Left.BYTES)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=fields.NAME_BYTES_MAX), Rule(fields.name, Left.ALL)]
MaybeName: TypeAlias = Annotated[str, Meta(max_length=fields.NAME_BYTES_MAX), Rule(fields.maybe_name, Left.ALL)]
Stamp: TypeAlias = Annotated[int, Meta(ge=0, le=STAMP_MAX), Rule(fields.stamp)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=fields.COUNT_MAX), Rule(fields.count)]
Number: TypeAlias = Annotated[int, Meta(ge=1, le=fields.COUNT_MAX), Rule(fields.attempt)]
Priority: TypeAlias = Annotated[int, Meta(ge=-fields.PRIORITY_MAX, le=fields.PRIORITY_MAX), Rule(fields.priority)]
Flag: TypeAlias = Annotated[bool, Rule(fields.flag)]
Blob: TypeAlias = Annotated[bytes, Rule(fields.blob)]
Text: TypeAlias = Annotated[str, Rule(fields.text)]
Reason: TypeAlias = Annotated[str, Meta(max_length=fields.REASON_CHARS_MAX), Rule(fields.reason)]
How: TypeAlias = Annotated[str, _TEXT, Rule(fields.how, Left.ALL)]
Settled: TypeAlias = Annotated[str, _TEXT, Rule(fields.settled, Left.ALL)]
Act: TypeAlias = Annotated[str, _TEXT, Rule(fields.act, Left.ALL)]
Mode: TypeAlias = Annotated[str, _TEXT, Rule(fields.mode, Left.ALL)]
Ballot: TypeAlias = Annotated[tuple[int, str], Rule(fields.ballot, Left.ALL)]
Voters: TypeAlias = Annotated[
    tuple[tuple[str, str], ...], Meta(max_length=fields.VOTERS_MAX), Rule(fields.voters, Left.ALL)
]
Dots: TypeAlias = Annotated[tuple[tuple[str, int], ...], Meta(max_length=fields.DOTS_MAX), Rule(fields.dots, Left.ALL)]
Seen: TypeAlias = Annotated[
    tuple[tuple[str, int], ...], Meta(max_length=fields.AUTHORS_MAX), Rule(fields.seen, Left.ALL)
]
Versions: TypeAlias = Annotated[tuple[tuple[str, int], ...], Rule(fields.versions, Left.ALL)]
Marks: TypeAlias = Annotated[bytes, Rule(fields.marks, Left.ALL)]


class Fact(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What every entry begins with. Its `tag` is the entry's code.

    `gc=False`: an entry holds texts, numbers, bytes and tuples of these, so it is never part of a cycle; a hundred
    thousand of them are not looked at by each full collection of garbage.
    """

    key: Key
    stamp: Stamp
    author: Name


def rules(kind: type[Fact]) -> Iterator[tuple[str, Rule]]:
    """The fields of an entry type, in order, each with what it may hold."""
    hints = get_type_hints(kind, include_extras=True)
    for name in kind.__struct_fields__:
        yield name, next(one for one in hints[name].__metadata__ if isinstance(one, Rule))
