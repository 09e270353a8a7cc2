"""Partial views and broadcast trees over hundreds of replicas; each mechanism with the bug that takes it out.

FLOCK_REPLICAS=1000 FLOCK_SEEDS=10 for the long run.
"""

import os

import pytest

from actonce import overlay
from actonce.broadcast import Act, Broadcast
from actonce.overlay import ACTIVE_MAX, ACTIVE_MIN, CROWD_MAX
from actonce.sim.flock import Flock

SEEDS = range(1, 1 + int(os.environ.get("FLOCK_SEEDS", "1")))
REPLICAS = int(os.environ.get("FLOCK_REPLICAS", "250"))


def formed(seed: int, followers: int, loss: float = 0.0, *, digests: bool = True) -> Flock:
    flock = Flock(seed, 3, followers, loss=loss, digests=digests)
    flock.start_all(4.0)
    flock.run(8.0)
    return flock


@pytest.mark.parametrize("seed", SEEDS)
def test_all_converge_with_loss_and_a_fifth_of_them_crashing(seed: int) -> None:
    flock = formed(seed, REPLICAS - 3, loss=0.03)
    assert flock.islands() == 0
    for name in flock.rng.sample(flock.followers, REPLICAS // 5):
        flock.crash(name, silent=flock.rng.random() < 0.5)
    entries = [flock.write(name) for name in flock.members]
    assert all(flock.until_all_have(entry, 15.0) for entry in entries)
    assert flock.until(flock.converged, 5.0)
    flock.run(5.0)
    assert flock.islands() == 0
    assert all(len(bird.overlay.active) <= CROWD_MAX for bird in flock.live())
    few = sum(len(bird.overlay.active) < ACTIVE_MIN for bird in flock.live())
    assert few <= len(flock.live()) // 50


def costs(followers: int, seed: int = 1, updates: int = 6) -> tuple[float, float]:
    """Pushed updates, and all messages, for each update and replica, once the tree has formed. Quiet otherwise."""
    flock = formed(seed, followers)
    for _ in range(5):
        assert flock.until_all_have(flock.write("m0"), 5.0)
        flock.run(0.5)
    for bird in flock.live():
        bird.sent.clear()
    for index in range(updates):
        assert flock.until_all_have(flock.write(f"m{index % 3}"), 5.0)
        flock.run(1.0)
    sent = [bird.sent for bird in flock.live()]
    everything = sum(sum(one.values()) for one in sent)
    return sum(one["Update"] for one in sent) / updates / len(sent), everything / updates / len(sent)


def test_what_an_update_costs_a_replica_does_not_grow_with_their_number() -> None:
    pushes_10, all_10 = costs(7)
    pushes_60, all_60 = costs(57)
    pushes_150, all_150 = costs(147)
    assert max(pushes_10, pushes_60, pushes_150) < 1.3  # one would be a perfect tree
    assert all_150 < all_60 * 1.3
    assert all_60 < all_10 * 3  # which is too small for full views


def test_without_prunes_updates_are_sent_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broadcast, "_make_lazy", lambda self, side, mine: None)
    pushes, _ = costs(37)
    assert pushes > 2


def mended_by_grafts() -> bool:
    """Some inner nodes of the tree crash without a word; what those behind them miss, only lazy neighbours can say."""
    flock = formed(2, 60, digests=False)
    for _ in range(4):  # so that the tree has formed
        flock.until_all_have(flock.write("m0"), 5.0)
        flock.run(0.5)
    for name in flock.followers[::5]:
        flock.crash(name, silent=True)
    entry = flock.write("m0")
    return flock.until_all_have(entry, 4.0)


def test_a_broken_tree_is_mended_before_anybody_is_missed() -> None:
    assert mended_by_grafts()


def test_without_grafts_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broadcast, "_graft", lambda self, now, mine: [])
    assert not mended_by_grafts()


def mended_by_digests() -> bool:
    """Everything that is said of one update is lost."""
    flock = formed(3, 20)
    flock.loss = 1.0
    entry = flock.write("m0")
    flock.run(0.4)
    flock.loss = 0.0
    return flock.until_all_have(entry, 10.0)


def test_what_nobody_spoke_of_shows_in_the_digests() -> None:
    assert mended_by_digests()


def test_without_questions_it_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Broadcast._ask
    monkeypatch.setattr(Broadcast, "_ask", lambda self, now: [one for one in asked(self, now) if one[1] is not Act.ASK])
    assert not mended_by_digests()


def found_again() -> bool:
    """All members crash, and come back after the followers have forgotten that they ever were neighbours."""
    flock = formed(4, 30)
    for name in flock.members:
        flock.crash(name)
    flock.run(20.0)
    for name in flock.members:
        flock.start(name)
    flock.run(20.0)
    return flock.islands() == 0 and flock.until_all_have(flock.write("m0"), 5.0)


def test_members_that_were_gone_are_found_again() -> None:
    assert found_again()


def test_without_an_anchor_followers_remain_an_island(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "LOST_BEATS", 1_000_000)
    assert not found_again()


def test_what_followers_cost_a_member_does_not_grow_with_their_number() -> None:
    sent = []
    for followers in (20, 80):
        flock = formed(5, followers)
        for bird in flock.live():
            bird.sent.clear()
        for _ in range(8):
            flock.write("m0")
            flock.run(1.0)
        assert all(len(flock.birds[name].overlay.active) <= ACTIVE_MAX for name in flock.members)
        sent.append(sum(sum(flock.birds[name].sent.values()) for name in flock.members))
    assert sent[1] < sent[0] * 1.3


def test_a_seed_repeats() -> None:
    traces = []
    for _ in range(2):
        flock = formed(6, 40, loss=0.1)
        flock.write("m1")
        flock.run(3.0)
        traces.append([(bird.name, sorted(bird.sent.items()), list(bird.overlay.active)) for bird in flock.live()])
    assert traces[0] == traces[1]
