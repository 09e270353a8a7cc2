"""What one replica knows of another: its link, its word, and how fresh both are.

A `Peer` lives as long as this process knows the name; a new incarnation of the name starts a new one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field

import msgpack

from actonce.errors import ConfigError, MessageInvalid
from actonce.messages import Announce, Heartbeat
from actonce.ownership import Member, View
from actonce.placement import NO_TRAITS, Traits
from actonce.settings import CONTACT_WINDOW_S_MAX
from actonce.world import ProcessId
from actonce_crdt.updates import DEFAULT_LIMITS
from actonce_transports import Identity

READ_MAX = DEFAULT_LIMITS.known_clients_max
"""Client ids that a peer may say it has read: no document has more."""


@dataclass(frozen=True, slots=True)
class About:
    """What a replica says of itself in the handshake; fixed for an incarnation."""

    agent: str
    journal: str
    """Id of its journal. Two journals with one name are two replicas by mistake."""
    incarnation: int
    client: int
    """Client id of the document entries that it writes in this incarnation."""
    kinds: Mapping[str, str]
    """Kinds of task it has a handler for -> how it places them (see `placement`)."""
    address: str
    """Where others can dial it, or "" when it does not say."""
    contact_window_s: float
    process: ProcessId
    traits: Traits = NO_TRAITS
    replaces: str = ""
    """Id of the damaged journal in whose place, under its lock, its journal was made: that one's process ended."""
    follows_only: bool = False
    """It holds the document, writes nothing and is no member: see `spread`."""

    def follows(self, other: About) -> bool:
        """Whether this process held the lock of the other's journal after it: then that one has surely ended."""
        return other.journal in (self.journal, self.replaces)

    def meet(self, name: str, peer: Identity) -> About:
        """What a peer says of itself to this replica, which is called `name`.

        Raises:
            MessageInvalid: it is none of ours; why, as a sentence for its user.
        """
        about = About.decode(peer.about)
        if about.agent != self.agent:
            raise MessageInvalid(f"this is agent {self.agent!r}, not {about.agent!r}")
        if peer.name == name:
            if about.journal == self.journal and about.incarnation == self.incarnation:
                raise MessageInvalid("self: this is the replica itself")
            raise MessageInvalid(f"name taken: another live replica is called {peer.name!r}")
        return about

    def encode(self) -> bytes:
        """For the handshake."""
        process = [self.process.host, self.process.pid, self.process.started]
        kinds = [[kind, placed] for kind, placed in sorted(self.kinds.items())]
        row = [self.agent, self.journal, self.incarnation, self.client, kinds, self.address, self.contact_window_s]
        packed: bytes = msgpack.packb([*row, process, list(astuple(self.traits)), self.replaces, self.follows_only])
        return packed

    @classmethod
    def decode(cls, data: bytes) -> About:
        """
        Raises:
            MessageInvalid: not what `encode` makes.
        """
        try:
            match msgpack.unpackb(data):
                case [
                    str(agent), str(journal), int(incarnation), int(client), list(kinds), str(address),
                    float(window), [str(host), int(pid), int(started)], [int(weight), int(priority), str(region)],
                    str(replaces), bool(only),
                ] if 0 < window <= CONTACT_WINDOW_S_MAX and all(isinstance(text, str) for row in kinds for text in row):
                    rest = ProcessId(host, pid, started), Traits(weight, priority, region), replaces, only
                    return cls(agent, journal, incarnation, client, dict(kinds), address, window, *rest)
        except (ValueError, TypeError, ConfigError):
            pass
        raise MessageInvalid("the peer speaks another protocol, or another version of this one")


EARLIER_MAX = 8


@dataclass(slots=True)
class Peer:
    """Mutable record of one incarnation of one other replica. All times are seconds on our own clock."""

    member: Member
    about: About | None = None
    """None while it is known only from somebody's view."""
    earlier: tuple[Member, ...] = ()
    """The latest of its name that we met before it, with the same journal."""
    linked: bool = False
    heard: float = 0.0
    """Our *active* time (see `Membership.tick`) at its last frame."""

    view: View | None = None
    flushed: bool = False
    """It has admitted us, and we have had its promise since: of what it knew before, nothing is missing here."""
    settled: bool = False
    vouches: bool = False
    """It is settled, and has read all of everybody in play since."""
    leaving: bool = False
    refused: frozenset[str] = frozenset()

    free: int = 0
    """Tasks that it could start at once, less those that we have delegated to it since it said so."""
    has_heard: int = 0
    """Number of the newest view of ours that it read. It says so while we are a member of its view: else it needs no
    promise of ours, and what it read binds it to nothing."""
    accused: frozenset[Member] = frozenset()
    """Those that it put out of its newest view as too slow."""
    their_sent: float = -math.inf
    """Newest heartbeat of it that we read, by its clock. Goes back to it as the echo."""
    beat_at: float = -math.inf
    """When we read the newest of its heartbeats: it counts on an answer for no longer than a window from here."""
    echoed: float = -math.inf
    """When we sent the newest heartbeat that it answered."""
    confirmed: float = -math.inf
    """The same, by a heartbeat that it sent under the view that it announced last."""
    contact: float = -math.inf
    """The same, once we had read all that it had read by then: the date of its promise."""
    round_trips: int = 0
    """Answered heartbeats since the link came up, or since it was removed from the view."""
    late_since: float = math.inf
    """Our active time since which its answers have been late: see `suspicion`."""
    admitted: float = -math.inf
    """Our active time when it became a member."""
    gone_at: float = -math.inf
    """When it stopped counting as in play, unless it left by itself."""
    removals: int = 0
    """How often it was removed for silence or lateness without having stayed for a while."""

    read: dict[int, int] = field(default_factory=dict)
    """Its state vector as far as it told us: client id -> clock."""
    behind: set[int] = field(default_factory=set)
    """Client ids of which it has read more than we have."""
    behind_since: float = math.inf
    unsaid: bool = False
    """It owes us a statement of what it has read on this link (see `comparing`): we may be behind, and not know it."""
    digest: bytes = b""
    kept: int = 0
    """Our entries below this clock are on its disk."""
    wall_s: float = 0.0
    """What its wall clock said in its last heartbeat, which came at `wall_at`."""
    wall_at: float = 0.0

    ended: bool = False
    """Its link was read to its end, and has not come back."""
    refuses: bool = False
    """... and its address refused a new one."""

    def announce(self, word: Announce) -> None:
        """A new view. Its promise counts again only after a heartbeat sent under this view was flushed.

        An older one than it announced before went another way, and came late: it says nothing any more. So may an older
        word on the same view. Under one in which it counts itself, a replica vouches after it settled, may leave after
        that, and once it unsettles, never acts again: whatever the order in which they come, the later word holds.
        """
        if self.view is not None and word.view.number < self.view.number:
            return
        again = word.view == self.view
        unsettled = again and not self.settled and self.member in word.view.members
        self.settled = word.settled and not unsettled
        self.vouches = self.settled and (word.vouches or (again and self.vouches))
        self.view, self.leaving = word.view, word.leaving or (again and self.leaving)
        self.accused = word.accused
        self.contact = self.confirmed = -math.inf

    def heartbeat(self, beat: Heartbeat, mine: Mapping[int, int], now: float) -> None:
        """Take a heartbeat; `mine` is our own state vector."""
        self.their_sent = max(self.their_sent, beat.sent)
        self.beat_at = now
        self.refused = frozenset(beat.refused)
        self.has_heard, self.free = max(self.has_heard, beat.heard), beat.free
        self.wall_s, self.wall_at = beat.wall_s, now
        if self.echoed < beat.echo <= now:
            self.echoed = beat.echo
            self.round_trips += 1
        if self.view is None or beat.view == self.view.number:  # announcement and heartbeat may go different ways
            self.confirmed = self.echoed
        self.has_read(beat.read, mine, now)
        self.digest = beat.digest

    def covers(self, clocks: Mapping[int, int]) -> bool:
        """Whether it told us that it has integrated all entries below these clocks."""
        return all(self.read.get(client, 0) >= clock for client, clock in clocks.items())

    def has_read(self, clocks: Mapping[int, int], mine: Mapping[int, int], now: float) -> None:
        """It has integrated these clocks. Its digest from before says nothing any more."""
        self.digest = b""
        for client, clock in clocks.items():
            if client not in self.read and len(self.read) >= READ_MAX:
                continue  # no mesh has so many: a faulty peer must not fill our memory
            self.read[client] = max(clock, self.read.get(client, 0))
            if clock > mine.get(client, 0):
                self.behind.add(client)
        self._flush(now)

    def stated(self, equal: dict[int, int], rest: Mapping[int, int], mine: Mapping[int, int], now: float) -> None:
        """All that it has read: `equal`, which we had already (and which is ours to keep), and the `rest`."""
        if self.read:
            self.read.update({client: clock for client, clock in equal.items() if clock > self.read.get(client, 0)})
        else:
            self.read = equal
        self.has_read(rest, mine, now)

    def caught_up(self, clients: Iterable[int], mine: Mapping[int, int], now: float) -> None:
        """We have integrated more of these clients."""
        if self.behind:
            for client in clients:
                if client in self.behind and mine.get(client, 0) >= self.read.get(client, 0):
                    self.behind.discard(client)
            self._flush(now)

    def _flush(self, now: float) -> None:
        if self.behind or self.unsaid:
            self.behind_since = min(self.behind_since, now)
        else:
            self.behind_since = math.inf
            self.contact = self.confirmed

    def unlink(self) -> None:
        """The link is gone; what it said stays, and grows old."""
        self.linked = False
        self.round_trips = 0
        self.their_sent = -math.inf
        self.confirmed = self.contact  # what was not flushed yet never will be: from here on we forget what we lack
        self.behind.clear()
        self.behind_since, self.unsaid = math.inf, False

    def after(self, other: Peer | None) -> Peer:
        """We met `other` of its name before it. An undamaged journal remembers what that one had on disk."""
        before = other.about if other is not None else None
        if other is not None and self.about is not None and before is not None and self.about.journal == before.journal:
            self.earlier = (*other.earlier, other.member)[-EARLIER_MAX:]
        return self

    def remember(self, me: Member) -> None:
        """Keep in mind whether it has admitted `me`, and whether we know what it knew by then."""
        self.flushed = self.promises(me) and (self.flushed or self.contact > -math.inf)

    def speaks_for(self, members: frozenset[Member]) -> bool:
        """Whether it knows what those of `members` that bear its name knew, if they ever acted.

        Without a view it has no memory: its disk is new, or was damaged. Unless it is that very process, or has that
        one's journal: who has acted had a view on disk.
        """
        same = {member for member in members if member.name == self.member.name}
        return not self.never_settled or (bool(same) and same <= {self.member, *self.earlier})

    @property
    def never_settled(self) -> bool:
        """It says that it has not settled, and that no view is on its disk."""
        return not self.settled and self.view is not None and not self.view.members | self.view.lingering

    def promises(self, me: Member) -> bool:
        """Whether its newest view contains us. How old that is, is `contact`."""
        return self.view is not None and me in self.view.members
