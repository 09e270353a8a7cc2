"""One link between two names, although both may dial, at once, and see different things of the network.

If each side chose for itself among several connections to one peer, they could choose differently and close both. So
one side chooses: the one with the smaller name *leads*, the other *follows*. A connection becomes a link in two
messages after authentication:

    follower: READY(number, holds)    I want this connection. `number` counts my READYs; `holds` are the numbers of the
                                      other connections to you that I have said READY for and that have not ended here
    leader:   GO(number)              This one it is; `number` counts my GOs. Or: refused, "duplicate".

The leader has a current link E to the follower and gets READY on a candidate C. It keeps

- C, if `about` differs: E belongs to an earlier process of that name (whom to accept is the receiver's question);
- C, if E is gone at the follower: C's READY is younger than E's and does not hold it. Without this rule a link that
  only the follower has seen die would block each new one, for as long as TCP goes on retransmitting;
- C, if both were dialed from the same side: the dialer knows best why it dialed again;
- otherwise the one that the leader dialed, so that two simultaneous dials end the same way every time.

The follower obeys. A GO that overtakes another one on a different connection is recognised by its number.

Pure: no I/O, no clock. Messages between different connections may be delayed and reordered at will.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .contract import Identity
from .limits import HOLDS_MAX

__all__ = ["Candidate", "LinkTable", "Ready"]


@dataclass(eq=False, slots=True)
class Candidate:
    """One authenticated connection, a link to be. The numbers are 0 until they are known."""

    peer: Identity
    dialed: bool
    ready: int = 0
    go: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The follower's READY."""

    number: int
    holds: tuple[int, ...] = ()


C = TypeVar("C", bound=Candidate)


@dataclass(slots=True)
class LinkTable(Generic[C]):
    """The links of one replica, at most one for each peer name, and the connections that wait to become one."""

    name: str
    _links: dict[str, C] = field(default_factory=dict)
    _waiting: dict[str, list[C]] = field(default_factory=dict)
    _readies: int = 0
    _goes: int = 0

    def leads(self, candidate: C) -> bool:
        """True if this side chooses."""
        assert candidate.peer.name != self.name
        return self.name < candidate.peer.name

    def link(self, name: str) -> C | None:
        """The link to a peer, if there is one."""
        return self._links.get(name)

    def links(self) -> list[C]:
        """All links."""
        return list(self._links.values())

    def offer(self, candidate: C) -> Ready | None:
        """The follower's READY for a candidate; None if too many connections to this peer are waiting already."""
        assert not self.leads(candidate)
        waiting = self._waiting.setdefault(candidate.peer.name, [])
        if len(waiting) >= HOLDS_MAX - 1:
            return None
        held = [*waiting, *filter(None, [self._links.get(candidate.peer.name)])]
        self._readies += 1
        candidate.ready = self._readies
        waiting.append(candidate)
        return Ready(candidate.ready, tuple(sorted(other.ready for other in held)))

    def choose(self, candidate: C, ready: Ready) -> tuple[bool, C | None]:
        """The leader's choice: (the candidate is the link now, the link that it replaces).

        If chosen, `candidate.go` is the number to send. (False, None) means: refuse it as a duplicate.
        """
        assert self.leads(candidate)
        candidate.ready = ready.number
        current = self._links.get(candidate.peer.name)
        if current is not None and not self._prefers(candidate, ready, current):
            return False, None
        self._goes += 1
        candidate.go = self._goes
        self._links[candidate.peer.name] = candidate
        return True, current

    @staticmethod
    def _prefers(candidate: C, ready: Ready, current: C) -> bool:
        if candidate.peer.about != current.peer.about:
            return True
        gone_there = candidate.ready > current.ready and current.ready not in ready.holds
        return gone_there or candidate.dialed == current.dialed or candidate.dialed

    def obey(self, candidate: C, go: int) -> tuple[bool, C | None]:
        """The follower hears GO: (the candidate is the link now, the link that it replaces).

        (False, None) means: the leader has replaced this one already, and we heard of that first.
        """
        assert not self.leads(candidate)
        self.drop(candidate)
        candidate.go = go
        current = self._links.get(candidate.peer.name)
        if current is not None and current.peer.about == candidate.peer.about and current.go > go:
            return False, None
        self._links[candidate.peer.name] = candidate
        return True, current

    def drop(self, candidate: C) -> None:
        """The candidate has ended, as a link or before. Dropping it again does nothing."""
        name = candidate.peer.name
        if self._links.get(name) is candidate:
            del self._links[name]
        waiting = self._waiting.get(name, [])
        if candidate in waiting:
            waiting.remove(candidate)
        if not waiting:
            self._waiting.pop(name, None)
