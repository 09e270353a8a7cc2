"""On disk before anyone hears of it."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from actonce.journal import Row
from actonce.ledger import Ledger
from actonce.world import World
from actonce_crdt import Claim, State, Task, UpdateGap, UpdateInvalid, decode, stamp_wall_s

WALL_S = 1_700_000_000.0


@dataclass
class Desk:
    """A world of one thread whose disk is done when the test says so. Serves as journal too."""

    wall_s: float = WALL_S
    rows: list[Row] = field(default_factory=list)
    soon: list[Callable[[], None]] = field(default_factory=list)
    writes: list[Callable[[], None]] = field(default_factory=list)

    @property
    def journal(self) -> "Desk":
        return self

    def wall(self) -> float:
        return self.wall_s

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def append(self, rows: Sequence[Row], durable: Callable[[], None]) -> None:
        self.rows += rows
        self.writes.append(durable)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for call in soon:
            call()

    def sync(self) -> None:
        writes, self.writes = self.writes, []
        for durable in writes:
            durable()


class Made:
    """A ledger and what it reported."""

    def __init__(self, name: str = "a", client: int = 1) -> None:
        self.desk = Desk()
        self.changed: list[list[str]] = []
        self.integrated: list[tuple[int, ...]] = []
        self.pushed: list[bytes] = []
        self.it = Ledger(
            cast(World, self.desk),
            name,
            client,
            on_changed=self.changed.append,
            on_integrated=self.integrated.append,
            on_durable=self.pushed.append,
        )

    def task(self, key: str = "reply/k") -> int:
        return self.it.write(Task(key, self.it.stamp(), self.it.name, "reply", b"\xc0"))

    def flush(self) -> None:
        self.desk.turn()
        self.desk.sync()


def update_of(name: str, client: int, *keys: str) -> list[bytes]:
    other = Made(name, client)
    for key in keys:
        other.task(key)
        other.flush()
    return other.pushed


def test_what_is_written_is_seen_at_once_and_pushed_only_from_disk() -> None:
    made = Made()
    assert made.task() == 1
    assert "reply/k" in made.it.state.tasks
    assert made.changed == [["reply/k"]]
    assert made.it.state_vector() == {}, "nobody may know of it yet"
    made.desk.turn()
    assert made.pushed == []
    assert made.it.state_vector() == {}
    made.desk.sync()
    assert [row.data for row in made.desk.rows] == made.pushed
    assert made.it.state_vector() == {1: 1}


def test_one_turn_is_one_update() -> None:
    made = Made()
    for index in range(5):
        made.task(f"reply/{index}")
    made.flush()
    assert len(made.pushed) == 1
    assert made.it.durable_clock == made.it.next_clock == 5


def test_waiting_for_the_disk() -> None:
    made, order = Made(), []
    made.it.when_durable(lambda: order.append("nothing to wait for"))
    made.task()
    made.it.when_durable(lambda: order.append(f"first, with {len(made.pushed)} pushed"))
    made.desk.turn()
    made.task("reply/2")
    made.it.when_durable(lambda: order.append("second"))
    made.desk.sync()
    assert order == ["nothing to wait for", "first, with 1 pushed"]
    made.flush()
    assert order[2:] == ["second"]


def test_what_others_wrote_is_kept_and_reported() -> None:
    made = Made()
    [update] = update_of("b", 2, "reply/x")
    made.it.integrate(update)
    assert made.changed == [["reply/x"]]
    assert made.integrated == [(2,)]
    assert [row.kind for row in made.desk.rows] == ["update"]
    assert made.it.state_vector() == {2: 1}
    made.it.integrate(update)
    assert len(made.desk.rows) == 1, "nothing new, nothing written"
    assert made.integrated == [(2,)]


def test_a_gap_changes_nothing() -> None:
    made = Made()
    _, second = update_of("b", 2, "reply/1", "reply/2")
    with pytest.raises(UpdateGap):
        made.it.integrate(second)
    with pytest.raises(UpdateInvalid):
        made.it.integrate(b"\x01\x01\x02\x00\x00\x00\x00")
    assert (made.desk.rows, made.changed, made.it.state_vector()) == ([], [], {})


def test_a_journal_brings_everything_back() -> None:
    made = Made()
    for index in range(3):
        made.task(f"reply/{index}")
        made.flush()
    made.it.write(Claim("reply/1", made.it.stamp(), "a", 1, 1))
    made.flush()
    for update in update_of("b", 2, "reply/x"):
        made.it.integrate(update)
    again = Made(client=9)
    again.it.recover(row.data for row in made.desk.rows)
    assert again.it.state.canonical() == made.it.state.canonical()
    assert again.it.document.digest == made.it.document.digest
    assert again.it.state_vector() == {1: 4, 2: 1}
    assert not again.changed, "what is recovered was told before"
    assert not again.pushed


@pytest.mark.parametrize("seed", range(10))
def test_the_state_kept_is_the_state_folded_from_scratch(seed: int) -> None:
    rng, all_ = random.Random(seed), [Made(name, index) for index, name in enumerate("abc", 1)]
    for _ in range(60):
        one, other = rng.sample(all_, 2)
        if rng.random() < 0.5:
            one.task(f"reply/{rng.randint(0, 9)}")
            one.flush()
        else:
            other.it.integrate(one.it.document.diff(other.it.document.state_vector()))
        fresh = State.fold((entry.id, decode(entry.data)) for entry in other.it.document.entries())
        assert fresh.canonical() == other.it.state.canonical(), f"seed {seed}"


def test_stamps_grow_past_what_was_seen() -> None:
    made, ahead = Made(), Made("b", 2)
    ahead.desk.wall_s += 5
    ahead.task()
    ahead.flush()
    made.it.integrate(ahead.pushed[0])
    seen = made.it.state.tasks["reply/k"].task
    assert seen is not None
    assert made.it.stamp() > seen.stamp
    assert made.it.drifted == {}


def test_a_clock_far_ahead_is_named_and_not_followed() -> None:
    made, ahead = Made(), Made("b", 2)
    ahead.desk.wall_s += 3600
    ahead.task()
    ahead.flush()
    made.it.integrate(ahead.pushed[0])
    assert {author: stamp_wall_s(stamp) for author, stamp in made.it.drifted.items()} == {"b": WALL_S + 3600}
    assert math.isclose(stamp_wall_s(made.it.stamp()), WALL_S + 60, abs_tol=1)


def test_an_entry_that_means_nothing_stays_for_the_others() -> None:
    made, other = Made(), Made("b", 2)
    change = other.it.document.append([b"\x01"])
    made.it.integrate(change.update)
    assert made.it.document.digest == other.it.document.digest
    assert made.it.state.tasks == {}
