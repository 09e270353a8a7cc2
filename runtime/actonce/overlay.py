"""Whom a replica is linked with, where not everybody is linked with everybody: partial views. Pure.

After HyParView (Leitao, Pereira, Rodrigues, DSN 2007). The *active* view are the neighbours: `ACTIVE_MAX` links that
both sides use; the *passive* view are addresses to dial when one is lost (`acquaintances`). Who joins is taken in
by whomever it dials, and sent on random walks that find it more neighbours; neighbours swap parts of what they know.

What differs from the paper: a link that is up is the neighbourhood, so there is nothing to agree on; contacts are
swapped between neighbours only (no connection just for that); and views are anchored: a follower that had no fresh
word of any member (see `Pulse.age_s`) dials a member, whatever its neighbours are, so that no island of followers
stays cut off from those who write.

Members never dial, and hold no more neighbours than a follower does: what followers cost a member does not depend on
how many there are.

No clock, no randomness, no links in here. Each call returns what to do: a list of `Send`, `Dial`, `Undial`, `Close`,
`Up` and `Down`, in order. Times are seconds on the caller's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from actonce.acquaintances import Acquaintances
from actonce.overlay_messages import (
    HOPS_MAX,
    LINKS_MAX,
    Contact,
    Elsewhere,
    Hello,
    OverlayMessage,
    Pulse,
    Swap,
    Walk,
)

ACTIVE_MAX = 5
"""Neighbours; the paper finds five enough for ten thousand nodes."""
ACTIVE_MIN = 3
"""With fewer a replica asks to be taken in also by those who are full."""
CROWD_MAX = 2 * ACTIVE_MAX
"""Nobody is taken in beyond it; between the two, those with most links go first, at the next beat."""
WALK_HOPS = 6
WALK_LEARN_HOPS = 3
"""A walk with so many hops left leaves its contact in the passive view."""
SWAP_BEATS = 8
"""Between two swaps."""
SILENT_BEATS = 5
"""A neighbour without a word for so long is given up."""
LOST_BEATS = 15
"""Who had no word of a member for so long dials one, as does who has no neighbour left. Each link on the way adds up to
a beat to a word's age."""
DIAL_BEATS = 5
"""An attempt to dial is given up after so many."""
WAIT_BEATS_MAX = 32
"""The longest pause between two attempts to get one neighbour more."""
HOME_BEATS_MAX = 16
"""... and to reach a member."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Send:
    name: str
    message: OverlayMessage


@dataclass(frozen=True, slots=True)
class Dial:
    """Keep trying until `Undial`."""

    address: str


@dataclass(frozen=True, slots=True)
class Undial:
    address: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the link; `Down` has been said already."""

    name: str


@dataclass(frozen=True, slots=True)
class Up:
    """A neighbour from now on."""

    name: str


@dataclass(frozen=True, slots=True)
class Down:
    name: str


Step = Send | Dial | Undial | Close | Up | Down


@dataclass(slots=True)
class Neighbour:
    """One of the active view."""

    contact: Contact
    dialed: str
    """The address that we dialed; "" if it dialed us."""
    heard: float
    links: int = 0
    """How many it said it has."""
    word_at: float = -math.inf
    """Date of the newest word of a member that it had."""
    hops: int = HOPS_MAX
    """Links between us and a member by way of it."""


@dataclass(slots=True)
class _Try:
    """A dial under way."""

    contact: Contact
    wish: str
    since: float


class Overlay:
    """The views of one replica."""

    def __init__(self, me: Contact, beat_s: float, dice: Callable[[], float]) -> None:
        """
        Args:
            me: what others are told to dial; a member neither dials nor looks for neighbours.
            beat_s: how often `beat` is called, about.
            dice: draws from 0 to below 1.
        """
        self.me, self._beat_s, self._dice = me, beat_s, dice
        self.active: dict[str, Neighbour] = {}
        self.waiting: dict[str, tuple[Contact, float]] = {}
        """Dialed us, when, and have not said hello."""
        self.known = Acquaintances(me, dice)
        self._dialing: dict[str, _Try] = {}
        self._beats = 0
        self._wait_beats, self._wait_until = 1, 0
        self._home_beats, self._home_until = 1, 0

    # Links

    def up(self, contact: Contact, dialed: str, now: float) -> list[Step]:
        """A link is up; `dialed` is the address that we dialed, or ""."""
        name = contact.name
        steps: list[Step] = [Down(name)] if self.active.pop(name, None) is not None else []
        self.waiting.pop(name, None)
        if not dialed:
            self.waiting[name] = (contact, now)
            return steps
        attempt = self._dialing.pop(dialed, None)
        wish = attempt.wish if attempt is not None else "may"
        return [*steps, Send(name, Hello(wish)), *self._take_in(contact, dialed, now)]

    def down(self, name: str) -> list[Step]:
        """A link is gone, by itself or by the peer."""
        self.waiting.pop(name, None)
        gone = self.active.pop(name, None)
        if gone is None:
            return []
        self._wait_beats, self._wait_until = 1, self._beats
        return [Down(name), *([Undial(gone.dialed)] if gone.dialed else [])]

    def failed(self, address: str) -> list[Step]:
        """Nobody could be reached there, or who is there does not want us."""
        if self._dialing.pop(address, None) is None:
            return []
        self.known.forget(address)
        return [Undial(address)]

    # What neighbours say

    def take(self, name: str, message: OverlayMessage, now: float) -> list[Step]:
        """A message about views. Of a stranger only `Hello` counts."""
        if name in self.waiting:
            contact, _ = self.waiting[name]
            return self._greet(contact, message.wish, now) if isinstance(message, Hello) else []
        neighbour = self.active.get(name)
        if neighbour is None:
            return []
        neighbour.heard = now
        match message:
            case Elsewhere(contacts):
                for known in contacts:
                    self._learn(known)
                return self._leave(name)
            case Walk(contact, hops):
                return self._walk(name, contact, hops, now)
            case Swap(contacts, answer):
                sample = self._sample()
                for known in contacts:
                    self._learn(known)
                return [] if answer else [Send(name, Swap(sample, True))]
            case Pulse(_, links, age_s, hops):
                neighbour.links = links
                if age_s >= 0:
                    neighbour.word_at, neighbour.hops = now - age_s, min(hops + 1, HOPS_MAX)
        return []

    def heard(self, name: str, now: float) -> None:
        """Any other message of a neighbour."""
        if name in self.active:
            self.active[name].heard = now

    def _greet(self, contact: Contact, wish: str, now: float) -> list[Step]:
        name, room = contact.name, ACTIVE_MAX - len(self.active)
        if (wish == "may" and room <= 0) or (wish == "need" and room <= ACTIVE_MAX - CROWD_MAX):
            del self.waiting[name]
            self._learn(contact)
            return [Send(name, Elsewhere(self._sample())), Close(name)]
        steps: list[Step] = []
        if room <= ACTIVE_MAX - CROWD_MAX:  # who knows nobody else is always let in
            steps += self._drop(self._most_linked())
        if wish == "join" and contact.address:
            walk = Walk(contact, WALK_HOPS)
            steps += [Send(other, walk) for other in self.active]
        steps += self._take_in(contact, "", now)
        return [*steps, Send(name, Swap(self._sample(), True))]

    def _take_in(self, contact: Contact, dialed: str, now: float) -> list[Step]:
        self.waiting.pop(contact.name, None)
        self.active[contact.name] = Neighbour(contact, dialed, now)
        self.known.passive.pop(contact.address, None)
        if contact.member and contact.address:
            self._learn(contact)
        return [Up(contact.name)]

    def _walk(self, name: str, contact: Contact, hops: int, now: float) -> list[Step]:
        if contact.name == self.me.name or contact.name in self.active:
            return []
        if hops == WALK_LEARN_HOPS:
            self._learn(contact)
        others = [other for other in self.active if other != name and not self.active[other].contact.member]
        if hops > 0 and others:
            return [Send(self._pick(others), Walk(contact, min(hops, WALK_HOPS) - 1))]
        return [] if self.me.member else self._dial(contact, "may", now)

    # Time

    def beat(self, now: float) -> list[Step]:
        """Give up who is silent, drop who is too much, look for who is missing, swap contacts."""
        self._beats += 1
        steps: list[Step] = []
        for name, neighbour in list(self.active.items()):
            if now - neighbour.heard > SILENT_BEATS * self._beat_s:
                steps += self._leave(name)
                steps.append(Close(name))
        for name, (_, since) in list(self.waiting.items()):
            if now - since > SILENT_BEATS * self._beat_s:
                del self.waiting[name]
                steps.append(Close(name))
        for address, attempt in list(self._dialing.items()):
            if now - attempt.since > DIAL_BEATS * self._beat_s:
                steps += self.failed(address)
        while len(self.active) > ACTIVE_MAX:
            steps += self._drop(self._most_linked())
        if not self.me.member:
            steps += self._seek(now)
        if self._beats % SWAP_BEATS == 0 and self.active:
            steps.append(Send(self._pick(list(self.active)), Swap(self._sample(), False)))
        return steps

    def _seek(self, now: float) -> list[Step]:
        lost = not self.active or self.age_s(now) > LOST_BEATS * self._beat_s
        if not lost:
            self._home_beats, self._home_until = 1, 0
        elif self._beats >= self._home_until:
            homes = [one for one in self.known.members.values() if one.name not in self.active]
            self._home_until = self._beats + 1 + int(self._dice() * self._home_beats)
            self._home_beats = min(2 * self._home_beats, HOME_BEATS_MAX)
            if homes:
                return self._dial(self._pick(homes), "join", now)
        if self._beats >= self._wait_until and len(self.active) + len(self._dialing) < ACTIVE_MAX:
            found = [one for one in self.known.passive.values() if one.name not in self.active]
            self._wait_until = self._beats + 1 + int(self._dice() * self._wait_beats)
            self._wait_beats = min(2 * self._wait_beats, WAIT_BEATS_MAX)
            if found:
                return self._dial(self._pick(found), "need" if len(self.active) < ACTIVE_MIN else "may", now)
        return []

    def _dial(self, contact: Contact, wish: str, now: float) -> list[Step]:
        address = contact.address
        if not address or address == self.me.address or address in self._dialing:
            return []
        if len(self._dialing) >= ACTIVE_MAX:
            return []
        self._dialing[address] = _Try(contact, wish, now)
        return [Dial(address)]

    # Who goes

    def _leave(self, name: str) -> list[Step]:
        """It is no neighbour any more; the link ends, or has to be closed by the caller."""
        return self.down(name)

    def _drop(self, name: str) -> list[Step]:
        contact, sample = self.active[name].contact, self._sample()
        steps = [Send(name, Elsewhere(sample)), *self.down(name), Close(name)]
        self._learn(contact)
        self._wait_beats, self._wait_until = WAIT_BEATS_MAX, self._beats + WAIT_BEATS_MAX
        return steps

    def _most_linked(self) -> str:
        """Who can best do without us: a follower, if there is one, with most links."""
        followers = [name for name, one in self.active.items() if not one.contact.member] or list(self.active)
        most = max(self.active[name].links for name in followers)
        return self._pick([name for name in followers if self.active[name].links == most])

    # How far from the members

    def age_s(self, now: float) -> float:
        """How old the newest word of a member is; infinity for none. A member's own is 0."""
        return 0.0 if self.me.member else now - max((one.word_at for one in self.active.values()), default=-math.inf)

    def hops(self, now: float) -> int | None:
        """Links between us and a member, by the shortest way on which a word came lately; None for no way."""
        if self.me.member:
            return 0
        since = now - LOST_BEATS * self._beat_s
        return min((one.hops for one in self.active.values() if one.word_at >= since), default=None)

    def pulse(self, digest: bytes, now: float) -> Pulse:
        """What to tell each neighbour at each beat."""
        age_s, hops = self.age_s(now), self.hops(now)
        links, known_s = min(len(self.active), LINKS_MAX), age_s if age_s < math.inf else -1.0
        return Pulse(digest, links, known_s, HOPS_MAX if hops is None else hops)

    # Contacts

    def _learn(self, contact: Contact) -> None:
        if contact.member or contact.name not in self.active:
            self.known.learn(contact)

    def _sample(self) -> tuple[Contact, ...]:
        """Some of whom we know, a member among them if we know one."""
        near = [one.contact for one in self.active.values() if one.contact.address and not one.contact.member]
        return self.known.sample(near)

    def _pick(self, items: Sequence[Item]) -> Item:
        return items[int(self._dice() * len(items))]
