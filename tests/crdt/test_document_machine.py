"""Documents in any order of events, thought up by Hypothesis: whatever happens, one full exchange makes them equal.

Replicas append, messages are delivered in any order, twice, or not at all; a gap is refused, and asked for anew by the
exchange at the end. A replica that crashes comes back from what it had persisted, under a fresh client id. Two known
mistakes, planted, are found: a client id that is used again, and a gap that is accepted.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import actonce_crdt.document
from actonce_crdt import CrdtError, Document, State, Task, UpdateGap, decode, encode, pack_value, parse_state_vector
from actonce_crdt.updates import Limits, ParsedUpdate, _read_chains, parse_update
from actonce_crdt.wire import Cursor

NAMES = "abc"
TASKS = 4
replicas = st.integers(min_value=0, max_value=len(NAMES) - 1)
places = st.integers(min_value=0, max_value=2**16)

SETTINGS = settings(
    max_examples=150,
    stateful_step_count=25,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class Replica:
    """A document, its incremental state, and what of it is on disk."""

    def __init__(self, name: str) -> None:
        self.name, self.incarnation = name, 0
        self.disk: list[bytes] = []
        self.start(fresh_id=True)

    def start(self, *, fresh_id: bool) -> None:
        self.incarnation += 1
        client_id = ord(self.name) * 1_000 + (self.incarnation if fresh_id else 0)
        self.state = State()
        self.document = Document(self.name, 1)
        for update in self.disk:
            self.take(update)
        self.document.client_id = client_id

    def take(self, update: bytes) -> None:
        change = self.document.integrate(update)
        for entry in change.added:
            self.state.add(entry.id, decode(entry.data))

    def write(self, number: int) -> bytes:
        record = Task(f"t/{number % TASKS}", number, self.name, "t", pack_value(number))
        change = self.document.append([encode(record)])
        self.state.add(change.added[0].id, record)
        return change.update


class Documents(RuleBasedStateMachine):
    """`persists_first` and `fresh_id` are the rules of the runtime; the planted mistakes switch them off."""

    persists_first: ClassVar[bool] = True
    fresh_id: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.replicas = [Replica(name) for name in NAMES]
        self.flying: list[tuple[Replica, bytes]] = []
        self.numbers = 0
        self.gaps = 0

    @rule(at=replicas)
    def append(self, at: int) -> None:
        replica, self.numbers = self.replicas[at], self.numbers + 1
        update = replica.write(self.numbers)
        if self.persists_first:
            replica.disk.append(update)
        self.flying += [(other, update) for other in self.replicas if other is not replica]

    @precondition(lambda self: bool(self.flying))
    @rule(place=places, again=st.booleans())
    def deliver(self, place: int, again: bool) -> None:
        target, update = self.flying[place % len(self.flying)]
        if not again:
            self.flying.remove((target, update))
        try:
            target.take(update)
        except UpdateGap:
            self.gaps += 1

    @precondition(lambda self: bool(self.flying))
    @rule(place=places)
    def drop(self, place: int) -> None:
        self.flying.pop(place % len(self.flying))

    @rule(at=replicas)
    def persist(self, at: int) -> None:
        """All that it has, as one row: what others sent may be on disk or not."""
        replica = self.replicas[at]
        replica.disk = [replica.document.diff({})]

    @rule(at=replicas)
    def crash(self, at: int) -> None:
        self.replicas[at].start(fresh_id=self.fresh_id)

    @rule(giver=replicas, taker=replicas)
    def sync(self, giver: int, taker: int) -> None:
        """An exchange by state vector, as on a new link."""
        if giver != taker:
            vector = parse_state_vector(self.replicas[taker].document.encoded_state_vector())
            self.replicas[taker].take(self.replicas[giver].document.diff(vector))

    def teardown(self) -> None:
        for _ in range(2):
            for giver in range(len(NAMES)):
                for taker in range(len(NAMES)):
                    self.sync(giver, taker)
        documents = [replica.document for replica in self.replicas]
        assert len({document.digest for document in documents}) == 1, "the digests differ"
        assert len({tuple(sorted(document.state_vector().items())) for document in documents}) == 1
        for replica in self.replicas:
            entries = ((entry.id, decode(entry.data)) for entry in replica.document.entries())
            assert State.fold(entries).canonical() == replica.state.canonical(), "the state is not the fold"
        assert len({replica.state.canonical() for replica in self.replicas}) == 1, "the states differ"


class ReusedClientId(Documents):
    """Gossip before the disk, and the old client id after a crash."""

    persists_first = False
    fresh_id = False


def test_any_order_of_events_converges() -> None:
    run_state_machine_as_test(Documents, settings=SETTINGS)


def test_a_reused_client_id_is_found() -> None:
    with pytest.raises((AssertionError, ValueError, CrdtError)):
        run_state_machine_as_test(ReusedClientId, settings=SETTINGS)


def test_an_accepted_hole_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes, *, known: Mapping[int, int], logs: Mapping[int, str], **rest: Any) -> ParsedUpdate:
        try:
            return parse_update(data, known=known, logs=logs, **rest)
        except UpdateGap:
            chains = _read_chains(Cursor(data), logs, rest.get("limits", Limits()))
            if any(chain.log is None for chain in chains.values()):
                raise
            beyond = {client: max(known.get(client, 0), chain.start) for client, chain in chains.items()}
            return parse_update(data, known={**known, **beyond}, logs=logs, **rest)

    monkeypatch.setattr(actonce_crdt.document, "parse_update", careless)
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(Documents, settings=SETTINGS)
