from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import HybridClock, stamp_wall_s

WALL = 1_700_000_000.0


def test_a_stamp_is_milliseconds_and_a_counter() -> None:
    clock = HybridClock()
    assert clock.tick(WALL) == 1_700_000_000_000 << 16
    assert clock.tick(WALL) == (1_700_000_000_000 << 16) + 1
    assert stamp_wall_s(clock.tick(WALL + 0.25)) == WALL + 0.25


def test_stamps_grow_while_the_wall_clock_steps_back() -> None:
    clock = HybridClock()
    stamps = [clock.tick(WALL - step) for step in range(100)]
    assert stamps == sorted(set(stamps))


def test_more_stamps_than_a_millisecond_holds_borrow_from_the_next() -> None:
    clock = HybridClock()
    stamps = [clock.tick(WALL) for _ in range(70_000)]
    assert stamps == sorted(set(stamps))
    assert stamp_wall_s(stamps[-1]) == WALL + 0.001


def test_a_stamp_made_after_one_was_seen_is_larger() -> None:
    ours, theirs = HybridClock(), HybridClock()
    remote = theirs.tick(WALL + 59)
    assert ours.observe(remote, WALL)
    assert ours.tick(WALL) == remote + 1


def test_a_stamp_from_the_far_future_is_clamped_and_told() -> None:
    clock = HybridClock(drift_max_ms=1_000)
    far = HybridClock().tick(WALL + 3_600)
    assert not clock.observe(far, WALL)
    assert stamp_wall_s(clock.tick(WALL)) == WALL + 1
    assert clock.tick(WALL) < far


def test_a_stamp_exactly_at_the_limit_is_accepted() -> None:
    clock = HybridClock(drift_max_ms=1_000)
    limit = HybridClock().tick(WALL + 1)
    assert clock.observe(limit, WALL)
    assert not clock.observe(limit + 1, WALL)


def test_times_before_1970_count_as_1970() -> None:
    assert HybridClock().tick(-5.0) == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 4e9), st.integers(0, 1 << 60)), max_size=30))
def test_ticks_always_grow(events: list[tuple[bool, float, int]]) -> None:
    clock = HybridClock()
    before = clock.last
    for local, wall_s, stamp in events:
        if local:
            assert clock.tick(wall_s) > before
        elif clock.observe(stamp, wall_s):
            assert clock.last >= stamp
        assert clock.last >= before
        before = clock.last
