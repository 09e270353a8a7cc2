"""Which of several connections between two names becomes the link: both sides agree, whatever the network does."""

import random
from dataclasses import dataclass, field

import pytest

from actonce_transports import Identity
from actonce_transports.limits import HOLDS_MAX
from actonce_transports.links import Candidate, LinkTable, Ready

A, B = Identity("a"), Identity("b")


def tables() -> tuple[LinkTable[Candidate], LinkTable[Candidate]]:
    """The leader `a` and the follower `b`."""
    return LinkTable("a"), LinkTable("b")


def agree(a: LinkTable[Candidate], b: LinkTable[Candidate], *, a_dialed: bool, about: bytes = b"") -> bool:
    """A whole agreement without delay."""
    at_a, at_b = Candidate(Identity("b", about), a_dialed), Candidate(A, not a_dialed)
    ready = b.offer(at_b)
    assert ready is not None
    chosen, _ = a.choose(at_a, ready)
    if chosen:
        assert b.obey(at_b, at_a.go)[0]
    else:
        b.drop(at_b)
    return chosen


def test_the_first_connection_becomes_the_link() -> None:
    a, b = tables()
    assert agree(a, b, a_dialed=False)
    assert a.link("b") is not None
    assert b.link("a") is not None
    assert a.links() == [a.link("b")]


@pytest.mark.parametrize(
    ("first_by_a", "second_by_a", "replaced"),
    [(True, False, False), (False, True, True), (True, True, True), (False, False, True)],
)
def test_the_one_that_the_leader_dialed_stays_and_otherwise_the_newest(
    first_by_a: bool, second_by_a: bool, replaced: bool
) -> None:
    a, b = tables()
    assert agree(a, b, a_dialed=first_by_a)
    assert agree(a, b, a_dialed=second_by_a) is replaced


def test_another_process_of_the_name_wins() -> None:
    a, b = tables()
    agree(a, b, a_dialed=True, about=b"1")
    assert agree(a, LinkTable("b"), a_dialed=False, about=b"2")


def test_a_link_that_only_the_follower_has_seen_die_does_not_block_the_next() -> None:
    a, b = tables()
    agree(a, b, a_dialed=True)
    link = b.link("a")
    assert link is not None
    b.drop(link)
    assert agree(a, b, a_dialed=False)


def test_an_older_ready_is_no_evidence() -> None:
    """READY 1 travels slowly; READY 2 is chosen meanwhile. READY 1 does not hold 2, because 2 did not exist then."""
    a, b = tables()
    slow, quick = b.offer(Candidate(A, True)), b.offer(Candidate(A, False))
    assert slow == Ready(1, ())
    assert quick == Ready(2, (1,))
    assert a.choose(Candidate(B, True), quick) == (True, None)
    assert a.choose(Candidate(B, False), slow) == (False, None)


def test_a_go_that_was_overtaken_is_recognised() -> None:
    a, b = tables()
    first, second = Candidate(A, True), Candidate(A, False)
    for follower, leader in ((first, Candidate(B, False)), (second, Candidate(B, True))):
        ready = b.offer(follower)
        assert ready is not None
        a.choose(leader, ready)
        leader_go = leader.go
    assert b.obey(second, leader_go) == (True, None)
    assert b.obey(first, leader_go - 1) == (False, None)
    assert b.link("a") is second


def test_waiting_connections_have_a_limit() -> None:
    _, b = tables()
    waiting = [Candidate(A, True) for _ in range(HOLDS_MAX)]
    assert [b.offer(candidate) is None for candidate in waiting] == [False] * (HOLDS_MAX - 1) + [True]
    b.drop(waiting[0])
    last = b.offer(Candidate(A, True))
    assert last is not None
    assert len(last.holds) <= HOLDS_MAX


@dataclass
class Wire:
    """One connection between two tables; each direction is FIFO, and the two ends may see it die at different times."""

    at_a: Candidate
    at_b: Candidate
    to_a: list[Ready] = field(default_factory=list)
    to_b: list[int] = field(default_factory=list)
    dead_at_a: bool = False
    dead_at_b: bool = False

    def close(self, a: LinkTable[Candidate], b: LinkTable[Candidate]) -> None:
        self.dead_at_a = self.dead_at_b = True
        a.drop(self.at_a)
        b.drop(self.at_b)


def test_both_sides_end_with_the_same_link_under_any_delays() -> None:
    """Connections come up and die in any order, on one side before the other; at the end everything arrives."""
    seed = random.randrange(1 << 32)
    for run in range(300):
        rng = random.Random(seed + run)
        a, b = tables()
        wires: list[Wire] = []
        for _ in range(rng.randrange(5, 40)):
            step(rng, a, b, wires)
        # The network calms down: deaths are heard on both sides, and messages arrive.
        moved = True
        while moved:
            for wire in wires:
                if wire.dead_at_a or wire.dead_at_b:
                    wire.close(a, b)
            moved = any(deliver(a, b, wires, wire) for wire in rng.sample(wires, len(wires)))
        if a.link("b") is None:
            assert b.link("a") is None, f"seed {seed + run}"
            assert agree(a, b, a_dialed=rng.random() < 0.5), f"seed {seed + run}"
        else:
            same = [wire for wire in wires if wire.at_a is a.link("b") and wire.at_b is b.link("a")]
            assert len(same) == 1, f"seed {seed + run}"


def step(rng: random.Random, a: LinkTable[Candidate], b: LinkTable[Candidate], wires: list[Wire]) -> None:
    """Something happens."""
    deed = rng.random()
    if deed < 0.3 or not wires:
        dialed = rng.random() < 0.5
        wire = Wire(Candidate(B, dialed), Candidate(A, not dialed))
        ready = b.offer(wire.at_b)
        assert ready is not None
        wire.to_a.append(ready)
        wires.append(wire)
    elif deed < 0.4:
        wire = rng.choice(wires)
        if rng.random() < 0.5:
            wire.dead_at_a = True
            a.drop(wire.at_a)
        else:
            wire.dead_at_b = True
            b.drop(wire.at_b)
    else:
        deliver(a, b, wires, rng.choice(wires))


def deliver(a: LinkTable[Candidate], b: LinkTable[Candidate], wires: list[Wire], wire: Wire) -> bool:
    """Deliver one message of the wire, if there is one. A loser is closed, as connections do; the peer hears later."""
    if wire.to_a and not wire.dead_at_a:
        chosen, replaced = a.choose(wire.at_a, wire.to_a.pop())
        for other in wires:
            other.dead_at_a |= other.at_a is replaced
        if chosen:
            wire.to_b.append(wire.at_a.go)
        else:
            wire.close(a, b)
        return True
    if wire.to_b and not wire.dead_at_b:
        chosen, replaced = b.obey(wire.at_b, wire.to_b.pop())
        for other in wires:
            other.dead_at_b |= other.at_b is replaced
        if not chosen:
            wire.close(a, b)
        return True
    return False
