"""Who sends an update on, and who only says that it has it: epidemic broadcast trees over neighbours. Pure.

After Plumtree (Leitao, Pereira, Rodrigues: "Epidemic Broadcast Trees", SRDS 2007). A new neighbour is *eager*: it is
sent every update. Who sends what we had already is asked to stop, and becomes *lazy*: it says what it has, in one
message for all that came within `lazy_s`. What somebody has and nobody sent within `graft_s` is asked for, from
one that has it, which becomes eager again. So the eager links become a tree, and the lazy ones mend it.

What differs from the paper: where several write, a replica could prune two neighbours for different updates at once, or
prune one while another prunes it, and be fed by nobody until lazy ones speak up. So nobody prunes the last one that
feeds it, and who loses that one grafts another at once. And a document of logs knows what it holds by its state
vector, so nothing is kept for each message: a claim is "below this clock of that client", and the answer to a graft is
all that the asker lacks. What no claim can name (a removal has no clock) shows in the digest that neighbours tell each
other with each pulse: where it stays different, one asks the other for the difference. Nothing here is needed for
safety; a lost, late, doubled or invented message costs messages.

No clock, no links, no document in here: the caller says what time it is and what it holds. Each call returns what has
to be sent to whom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice

from actonce.overlay_messages import CLAIMS_MAX

GRAFTS_MAX = 8
"""Times that a claim is asked for before it counts as wrong."""

DIFFERS_MAX = 5
"""Pulses with another digest after which even a document that keeps changing is compared."""


class Act(Enum):
    """What to send."""

    PRUNE = auto()
    GRAFT = auto()
    """Ask for what we lack, and for all that is new."""
    ASK = auto()
    """Ask for what we lack."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations in seconds."""

    lazy_s: float = 0.25
    """Between two messages that say what we have."""
    graft_s: float = 0.5
    """How long the tree may take for what a lazy neighbour has already."""
    ask_s: float = 1.0
    """How long an answer may take before somebody else is asked."""


@dataclass(slots=True)
class Side:
    """What we know of one neighbour."""

    eager: bool = True
    feeds: bool = True
    """It sends us every update, as far as we know."""
    fed_at: float = -math.inf
    """When it last sent us something new."""
    told: dict[int, int] = field(default_factory=dict)
    """What it knows that we have."""
    claims: dict[int, int] = field(default_factory=dict)
    """What it has beyond what we had when it said so."""
    asked_at: float = -math.inf
    differs: int = 0
    """Pulses in a row with another digest than ours."""
    ours: bytes = b""
    """Our own digest at its pulse before."""
    wanted: bool = False
    """Has something that we lack, by its digest or by a gap."""


@dataclass(slots=True)
class Missing:
    """Entries of one client that a neighbour has and we have not."""

    clock: int
    since: float
    grafts: int = 0


@dataclass(slots=True)
class Broadcast:
    """The tree as one replica sees it. `mine` is always our state vector."""

    pace: Pace = field(default_factory=Pace)
    root: bool = False
    """Updates come to us in other ways: nobody needs to feed us."""
    sides: dict[str, Side] = field(default_factory=dict)
    missing: dict[int, Missing] = field(default_factory=dict)
    _news: dict[int, None] = field(default_factory=dict)
    """Clients that grew since the lazy neighbours were told."""
    _told_at: float = -math.inf
    _asked: str = ""
    _asked_at: float = -math.inf

    # Neighbours

    def up(self, name: str) -> None:
        """A new neighbour: eager until one of us finds that it need not be."""
        self.sides[name] = Side()

    def down(self, name: str) -> None:
        """It is none any more. Its claims go with it."""
        self.sides.pop(name, None)

    @property
    def eager(self) -> list[str]:
        """Names of those to whom every update is sent."""
        return [name for name, side in self.sides.items() if side.eager]

    # What we hold

    def grew(self, clients: Iterable[int], mine: Mapping[int, int], source: str | None) -> list[str]:
        """We hold more of these clients, by an update of `source` (None: it did not come over the overlay).

        Returns whom to send the same update.
        """
        for client in clients:
            self._news[client] = None
            missing = self.missing.get(client)
            if missing is not None and mine.get(client, 0) >= missing.clock:
                del self.missing[client]
            if source in self.sides:
                self._note(self.sides[source].told, client, mine.get(client, 0))
        return [name for name, side in self.sides.items() if side.eager and name != source]

    # What neighbours say

    def pushed(self, name: str, *, fresh: bool, now: float, mine: Mapping[int, int]) -> list[tuple[str, Act]]:
        """An update of this neighbour was taken in; `fresh` if it brought anything."""
        side = self.sides.get(name)
        if side is None:
            return []
        answered = now - side.asked_at < self.pace.ask_s
        if name == self._asked:
            self._asked = ""
        if fresh:
            side.fed_at = now
            side.eager = side.eager or side.feeds
        elif side.eager and not answered and (self.root or self._fed_without(name)):
            self._make_lazy(side, mine)
            return [(name, Act.PRUNE)]
        return []

    def _fed_without(self, name: str) -> bool:
        """Whether another one feeds us. Two that are pruned at once, for what each was late with, would leave none."""
        return any(side.feeds for other, side in self.sides.items() if other != name)

    def gap(self, name: str, now: float) -> list[tuple[str, Act]]:
        """An update of this neighbour starts beyond what we hold."""
        if name in self.sides:
            self.sides[name].wanted = True
        return self._ask(now)

    def have(self, name: str, clocks: Mapping[int, int], now: float, mine: Mapping[int, int]) -> None:
        """This neighbour says what it holds."""
        side = self.sides.get(name)
        if side is None:
            return
        for client, clock in clocks.items():
            self._note(side.told, client, clock)
            if clock > mine.get(client, 0):
                self._note(side.claims, client, clock)
                missing = self.missing.get(client)
                if missing is not None:
                    missing.clock = max(missing.clock, clock)
                elif len(self.missing) < CLAIMS_MAX:
                    self.missing[client] = Missing(clock, now)

    def graft(self, name: str) -> None:
        """This neighbour wants every update."""
        if name in self.sides:
            self.sides[name].eager = True

    def prune(self, name: str, now: float, mine: Mapping[int, int]) -> list[tuple[str, Act]]:
        """This neighbour gets updates from somebody else, and sends us none from now on. If it was the last that fed
        us, another one has to."""
        if name not in self.sides:
            return []
        self._make_lazy(self.sides[name], mine)
        others = [other for other in self.sides if other != name]
        if self.root or not others or any(side.feeds for side in self.sides.values()):
            return []
        return self._feed_by(max(others, key=lambda other: (self.sides[other].fed_at, other)), now)

    def _feed_by(self, name: str, now: float) -> list[tuple[str, Act]]:
        side = self.sides[name]
        side.asked_at, side.eager, side.feeds = now, True, True
        return [(name, Act.GRAFT)]

    def pulse(self, name: str, digest: bytes, ours: bytes, now: float) -> list[tuple[str, Act]]:
        """This neighbour holds a document with this digest; `ours` is that of our own.

        On a new link a difference is looked into at once. Later it may just be under way: then it is looked into when
        it stays and our own document stands still.
        """
        side = self.sides.get(name)
        if side is None:
            return []
        still, side.ours = ours == side.ours, ours
        first = side.differs == 0 and not side.told and side.asked_at == -math.inf
        side.differs = side.differs + 1 if digest != ours else 0
        side.wanted = bool(side.differs) and (
            side.wanted or first or (still and side.differs > 1) or side.differs >= DIFFERS_MAX
        )
        return self._ask(now)

    # Time

    def tick(
        self, now: float, mine: Mapping[int, int], *, busy: bool = False
    ) -> tuple[list[tuple[str, Act]], dict[str, dict[int, int]]]:
        """Look at the clock, a few times in `lazy_s`.

        `busy`: a large answer is just coming in, so that nothing is asked for. Returns what to ask of whom, and whom
        to tell of which clocks.
        """
        return (self._ask(now) or self._graft(now, mine) if not busy else []), self._tell(now, mine)

    def _tell(self, now: float, mine: Mapping[int, int]) -> dict[str, dict[int, int]]:
        if not self._news or now - self._told_at < self.pace.lazy_s:
            return {}
        news, self._news, self._told_at = self._news, {}, now
        said: dict[str, dict[int, int]] = {}
        for name, side in self.sides.items():
            if side.eager:
                continue
            grown = (client for client in news if mine.get(client, 0) > side.told.get(client, 0))
            fresh = {client: mine[client] for client in islice(grown, CLAIMS_MAX)}
            if fresh:
                side.told.update(fresh)
                said[name] = fresh
        return said

    def _graft(self, now: float, mine: Mapping[int, int]) -> list[tuple[str, Act]]:
        overdue = [client for client, one in self.missing.items() if now - one.since >= self.pace.graft_s]
        counts: dict[str, int] = {}
        for client in overdue:
            have = mine.get(client, 0)
            names = [name for name, side in self.sides.items() if side.claims.get(client, 0) > have]
            if not names or self.missing[client].grafts >= GRAFTS_MAX:
                self._forget(client)
                continue
            for name in names:
                counts[name] = counts.get(name, 0) + 1
        if not counts:
            return []
        name = min(counts, key=lambda name: (self.sides[name].asked_at, -counts[name], name))
        for client in overdue:
            if client in self.missing:
                self.missing[client].since = now
                self.missing[client].grafts += 1
        return self._feed_by(name, now)

    def _ask(self, now: float) -> list[tuple[str, Act]]:
        """One question at a time: its answer is all that we lack."""
        wanted = [name for name, side in self.sides.items() if side.wanted]
        if not wanted or (self._asked in self.sides and now - self._asked_at < self.pace.ask_s):
            return []
        name = min(wanted, key=lambda name: (self.sides[name].asked_at, name))
        side = self.sides[name]
        if now - side.asked_at < self.pace.ask_s:
            return []
        side.wanted, side.differs = False, 0
        side.asked_at = self._asked_at = now
        self._asked = name
        return [(name, Act.ASK)]

    def _forget(self, client: int) -> None:
        self.missing.pop(client, None)
        for side in self.sides.values():
            side.claims.pop(client, None)

    def _make_lazy(self, side: Side, mine: Mapping[int, int]) -> None:
        side.eager = side.feeds = False
        side.told = dict(mine)

    def _note(self, clocks: dict[int, int], client: int, clock: int) -> None:
        if client in clocks or len(clocks) < CLAIMS_MAX:
            clocks[client] = max(clock, clocks.get(client, 0))
