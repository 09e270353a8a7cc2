"""What is said on links of the overlay, beside `Push` and `Ask`: each a msgpack array `[tag, ...]`, tags from 48 on.

Read by `messages.decode`, which turns every complaint of `read` into `MessageInvalid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

CONTACTS_MAX = 64
"""Contacts in one message."""

HOPS_MAX = 64
"""Of a walk, and of the way to a member."""

LINKS_MAX = 1024
"""Links that a replica may say it has."""

CLAIMS_MAX = 4_096
"""Client ids in one `Have`; the digests show what was left out."""

NAME_CHARS_MAX = 64
ADDRESS_CHARS_MAX = 255
AGE_S_MAX = 2.0**40
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, order=True)
class Contact:
    """A replica that somebody may dial."""

    name: str
    """"" where only the address is known."""
    address: str
    """"" for one that cannot be dialed."""
    member: bool = False
    """Whether it acts; followers do not."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First on every link, by the side that dialed: it wants to be a neighbour.

    `wish`: "join", it knows nobody else; "need", it has few links; "may", it has some, and takes a no.
    """

    wish: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The sender is about to close this link, on purpose; here are others."""

    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """A replica that joined looks for neighbours: pass it on at random, `hops` times, the last one dials it."""

    contact: Contact
    hops: int


@dataclass(frozen=True, slots=True)
class Swap:
    """Some contacts that the sender knows; it gets some back, unless this is the answer."""

    contacts: tuple[Contact, ...]
    answer: bool


@dataclass(frozen=True, slots=True)
class Pulse:
    """Sent now and then: the sender lives, and holds a document of this digest."""

    digest: bytes
    links: int
    """How many neighbours it has."""
    age_s: float
    """How old its newest word of a member is; -1: it never had one. A member's own is 0."""
    hops: int
    """Links between it and that member."""


@dataclass(frozen=True, slots=True)
class Have:
    """Lazy push (Plumtree's IHAVE): the sender holds entries below these clocks, and has not sent them."""

    clocks: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Graft:
    """Send me what this encoded state vector lacks, and all that is new from now on. Empty: only the latter."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class Prune:
    """What you sent I had: do not send, only say what you have."""


OverlayMessage = Hello | Elsewhere | Walk | Swap | Pulse | Have | Graft | Prune

WISHES = ("join", "need", "may")


def body_of(message: OverlayMessage) -> list[Any]:
    """The array that stands for a message."""
    match message:
        case Hello(wish):
            return [48, wish]
        case Elsewhere(contacts):
            return [49, _rows(contacts)]
        case Walk(contact, hops):
            return [50, _rows((contact,)), hops]
        case Swap(contacts, answer):
            return [51, _rows(contacts), answer]
        case Pulse(digest, links, age_s, hops):
            return [52, digest, links, age_s, hops]
        case Have(clocks):
            return [53, dict(clocks)]
        case Graft(state_vector):
            return [54, state_vector]
        case Prune():
            return [55]


def read(body: list[Any]) -> OverlayMessage | None:
    """What `body_of` made; None for what it never makes.

    Raises:
        ValueError: something in it is out of its bounds.
    """
    match body:
        case [48, str(wish)] if wish in WISHES:
            return Hello(wish)
        case [49, list(rows)]:
            return Elsewhere(_contacts(rows))
        case [50, list(rows), int(hops)] if len(rows) == 1 and _within(hops, HOPS_MAX):
            return Walk(_contacts(rows)[0], hops)
        case [51, list(rows), bool(answer)]:
            return Swap(_contacts(rows), answer)
        case [52, bytes(digest), int(links), float(age_s), int(hops)]:
            known = age_s == -1.0 or 0 <= age_s <= AGE_S_MAX
            if len(digest) == DIGEST_BYTES and known and _within(links, LINKS_MAX) and _within(hops, HOPS_MAX):
                return Pulse(digest, links, age_s, hops)
        case [53, dict(clocks)] if len(clocks) <= CLAIMS_MAX:
            if all(_is_count(client) and _is_count(clock) for client, clock in clocks.items()):
                return Have(clocks)
        case [54, bytes(state_vector)]:
            return Graft(state_vector)
        case [55]:
            return Prune()
    return None


def _rows(contacts: tuple[Contact, ...]) -> list[list[Any]]:
    return [list(astuple(contact)) for contact in contacts]


def _contacts(rows: list[Any]) -> tuple[Contact, ...]:
    if len(rows) > CONTACTS_MAX:
        raise ValueError(f"more than {CONTACTS_MAX} contacts")
    found = []
    for row in rows:
        match row:
            case [str(name), str(address), bool(member)]:
                if len(name) > NAME_CHARS_MAX or len(address) > ADDRESS_CHARS_MAX:
                    raise ValueError("a contact with too long a name or address")
                if not (name + address).isprintable():
                    raise ValueError("a contact that would not print")
                found.append(Contact(name, address, member))
            case _:
                raise ValueError("a contact is a name, an address and whether it is a member")
    return tuple(found)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _within(value: int, most: int) -> bool:
    return _is_count(value) and value <= most
