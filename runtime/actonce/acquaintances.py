"""Whom a replica knows of without being linked with it: the passive view, and the members to come back to. Pure.

Bounded, and random where there is too much: what one neighbour says can push out what others said, but never an address
that the user gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from actonce.overlay_messages import Contact

PASSIVE_MAX = 30
MEMBERS_KEPT = 16
"""Addresses of members."""
SAMPLE = 7
"""Contacts in one swap."""

Item = TypeVar("Item")


class Acquaintances:
    """Contacts by address."""

    def __init__(self, me: Contact, dice: Callable[[], float]) -> None:
        """
        Args:
            dice: draws from 0 to below 1.
        """
        self._me, self._dice = me, dice
        self.passive: dict[str, Contact] = {}
        """Followers."""
        self.members: dict[str, Contact] = {}
        self.given: set[str] = set()
        """Addresses that the user gave."""

    def seed(self, addresses: Iterable[str]) -> None:
        """Addresses of members, or of anybody who is there; never forgotten."""
        for address in addresses:
            self.given.add(address)
            self.members[address] = Contact("", address, True)

    def mesh(self, contacts: Iterable[Contact]) -> None:
        """The members that this member knows now; followers are told of some."""
        self.members.clear()
        for contact in contacts:
            self.learn(contact)

    def learn(self, contact: Contact) -> None:
        """Somebody told us of it."""
        address = contact.address
        if not address or address == self._me.address or contact.name == self._me.name:
            return
        if contact.member:
            if address not in self.members and len(self.members) >= MEMBERS_KEPT:
                others = [known for known in self.members if known not in self.given]
                if not others:
                    return
                del self.members[self._pick(others)]
            self.members[address] = contact
        else:
            if address not in self.passive and len(self.passive) >= PASSIVE_MAX:
                del self.passive[self._pick(list(self.passive))]
            self.passive[address] = contact

    def forget(self, address: str) -> None:
        """Nobody is there, or nobody who wants us."""
        self.passive.pop(address, None)
        if address not in self.given:
            self.members.pop(address, None)

    def sample(self, near: Sequence[Contact]) -> tuple[Contact, ...]:
        """Some of those and of the passive view, and a member if we know one by name."""
        left, found = [*near, *self.passive.values()], list[Contact]()
        while left and len(found) < SAMPLE - 1:
            found.append(left.pop(int(self._dice() * len(left))))
        homes = [one for one in self.members.values() if one.name]
        return (*found, self._pick(homes)) if homes else tuple(found)

    def _pick(self, items: Sequence[Item]) -> Item:
        return items[int(self._dice() * len(items))]
