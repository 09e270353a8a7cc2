"""The laws of the quota lattice, and that rights are moved, never made."""

from functools import reduce
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actonce_crdt import NOBODY, TAKEN, Cool, Gift, Lapse, QuotaRecord, QuotaState, Share, State, encode, quota

from .records import cools, gifts, lapses, shares

ONE = st.just("q/requests")
states = st.lists(gifts(ONE) | shares(ONE) | lapses(ONE) | cools(ONE), max_size=6).map(
    lambda records: reduce(quota.join, map(quota.lift, records), QuotaState())
)


@given(states, states, states)
def test_laws(a: QuotaState, b: QuotaState, c: QuotaState) -> None:
    assert quota.join(a, b) == quota.join(b, a)
    assert quota.join(quota.join(a, b), c) == quota.join(a, quota.join(b, c))
    assert quota.join(a, a) == a
    assert quota.join(a, QuotaState()) == a
    both = quota.join(a, b)
    assert quota.join(both, a) == both
    assert quota.join(quota.join(a, c), both) == quota.join(both, c)


@given(states)
def test_a_joined_state_can_be_written_down_again(state: QuotaState) -> None:
    assert reduce(quota.join, map(quota.lift, state.records()), QuotaState()) == state


def joined(*records: QuotaRecord) -> QuotaState:
    return reduce(quota.join, map(quota.lift, records), QuotaState())


def test_rights_are_founded_received_given_and_destroyed() -> None:
    founded = Gift("q/r", 1, "a", "a/1", "a/1", 30, 0)
    to_b, back = Gift("q/r", 2, "a", "a/1", "b/1", 12, 0), Gift("q/r", 3, "b", "b/1", "a/1", 2, 2)
    state = joined(back, to_b, founded, Gift("q/r", 4, "b", "b/1", NOBODY, 1, 0))
    assert (state.held("a/1"), state.held("b/1"), state.held("c/1")) == (20, 9, 0)
    assert (state.founded, state.destroyed, state.late("a/1"), state.holders) == (30, 1, 2, ["a/1", "b/1"])


def test_rights_that_were_taken_are_no_gifts_of_their_holder() -> None:
    founded, own = Gift("q/r", 1, "a", "a/1", "a/1", 30, 0), Gift("q/r", 2, "a", "a/1", "b/1", 12, 0)
    state = joined(founded, own, Gift("q/r", 3, "b", "a/1" + TAKEN, "b/1", 5, 5))
    assert (state.held("a/1"), state.held("b/1"), state.late("b/1"), state.holders) == (13, 17, 5, ["a/1", "b/1"])
    assert (state.received("a/1"), state.given("a/1"), state.taken("a/1")) == (30, 12, 5)


def test_a_voter_gives_up_a_session_for_good() -> None:
    old, new = Lapse("q", 9, "a", "c/1", 1, "j", 4), Lapse("q", 1, "a", "c/1", 2, "j", 1)
    assert list(joined(new, old).lapses.values()) == [new]
    assert len(joined(new, Lapse("q", 1, "b", "c/1", 1, "j", 1)).lapses) == 2


def test_the_largest_total_counts_whatever_the_stamps() -> None:
    old, new = Gift("q/r", 9, "a", "a/1", "b/1", 5, 0), Gift("q/r", 1, "a", "a/1", "b/1", 7, 0)
    assert joined(new, old).held("b/1") == 7


def test_the_longest_pause_and_the_latest_factor_count() -> None:
    long, later = Cool("q", 0, "a", 60_000, 500), Cool("q", 1000 << 16, "b", 1000, 250)
    state = joined(later, long)
    assert state.cool == long
    assert state.factor == later
    assert quota.ends_ms(later) == 2000


def test_the_last_word_of_a_holder_counts() -> None:
    first, second = Share("q/r", 9, "a", "a/1", 1, 10, 0, 0), Share("q/r", 1, "a", "a/1", 2, 0, 3, 0)
    assert joined(second, first).shares == {"a/1": second}


@given(st.integers(0, 2**32), st.integers(2, 4))
def test_whatever_is_known_where_no_rights_are_made(seed: int, count: int) -> None:
    """Holders give what they believe to hold; entries arrive anywhere, in any order, or never: the sum of what each
    holder believes about itself is never more than was founded, and all of it once everything is known."""
    rng = Random(seed)
    holders = [f"{name}/1" for name in "abcd"[:count]]
    known = {holder: State() for holder in holders}
    written: list[tuple[tuple[int, int], Gift]] = []
    clocks = dict.fromkeys(holders, 0)

    def write(holder: str, record: Gift) -> None:
        entry = ((holders.index(holder) + 1, clocks[holder]), record)
        clocks[holder] += 1
        written.append(entry)
        known[holder].add(*entry)

    write("a/1", Gift("q/r", 0, "a", "a/1", "a/1", 20, 0))
    for step in range(40):
        holder = rng.choice(holders)
        mine = known[holder].quotas.get("q/r", QuotaState())
        held, to = mine.held(holder), rng.choice(holders)
        if rng.random() < 0.5 and held > 0 and to != holder:
            before = mine.gifts.get((holder, to))
            total = rng.randint(1, held) + (before.total if before else 0)
            write(holder, Gift("q/r", step, holder[0], holder, to, total, 0))
        elif written:
            known[holder].add(*rng.choice(written))
        believed = [known[one].quotas.get("q/r", QuotaState()).held(one) for one in holders]
        assert sum(believed) <= 20, f"seed {seed}"
        assert min(believed) >= 0, f"seed {seed}"
    for state in known.values():
        for entry in written:
            state.add(*entry)
        whole = state.quotas["q/r"]
        assert sum(whole.held(one) for one in holders) == 20
    assert len({state.canonical() for state in known.values()}) == 1


def test_entries_that_go_take_their_part_of_the_state_with_them() -> None:
    state, gift = State(), Gift("q/r", 1, "a", "a/1", "a/1", 30, 0)
    state.add((1, 0), gift)
    state.add((1, 1), replace(gift, total=40))
    state.remove((1, 1))
    assert state.quotas["q/r"].founded == 30
    state.remove((1, 0))
    assert dict(state.quotas) == {}
    assert encode(gift) not in state.canonical()
