"""The join of steps, and which of them a run may use."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import NO_BASE, ClaimId, Step, lineage, order, step, step_key

from .records import steps

ONE = st.just("key")
MINE: ClaimId = (99, "z")


@given(steps(ONE), steps(ONE), steps(ONE))
def test_laws(a: Step, b: Step, c: Step) -> None:
    assert step.join(a, b) == step.join(b, a)
    assert step.join(step.join(a, b), c) == step.join(a, step.join(b, c))
    assert step.join(a, a) == a


def made(claim: ClaimId, number: int, name: str, base: ClaimId = NO_BASE, upto: int = 0) -> Step:
    return Step(step_key("t", claim, number), 1, claim[1], "t", claim[0], number, *base, upto, name, "", b"")


def names(*records: Step, mine: ClaimId = MINE) -> list[str]:
    found = {tuple(s.name for s in lineage(some, mine)) for some in permutations(records)}
    assert len(found) == 1, "the order of the records does not matter"
    return list(found.pop())


def test_nothing_is_remembered_of_nothing() -> None:
    assert lineage([], MINE) == []


def test_a_claim_goes_on_where_the_one_before_stood() -> None:
    one, two = made((1, "a"), 1, "one"), made((1, "a"), 2, "two")
    three = made((2, "b"), 1, "three", (1, "a"), 2)
    assert names(two, three, one) == ["one", "two", "three"]


def test_steps_after_the_base_belong_to_another_side() -> None:
    one, late = made((1, "a"), 1, "one"), made((1, "a"), 2, "late")
    two = made((2, "b"), 1, "two", (1, "a"), 1)
    assert names(one, late, two) == ["one", "two"]


def test_of_two_sides_the_higher_epoch_wins_with_all_that_it_continues() -> None:
    one = made((1, "a"), 1, "one")
    theirs = made((3, "b"), 1, "theirs"), made((3, "b"), 2, "theirs too")
    ours = made((4, "c"), 1, "ours", (1, "a"), 1)
    assert names(one, *theirs, ours) == ["one", "ours"]


def test_in_one_epoch_the_higher_rank_wins() -> None:
    winner = max("a", "b", key=lambda name: order("t", name))
    assert names(*(made((1, name), 1, name) for name in "ab")) == [winner]


def test_ones_own_steps_come_first() -> None:
    assert names(made((1, "a"), 1, "mine"), made((2, "b"), 1, "theirs"), mine=(1, "a")) == ["mine"]


def test_a_step_without_a_name_voids_all_before_it() -> None:
    one, void, again = made((1, "a"), 1, "one"), made((1, "a"), 2, ""), made((1, "a"), 3, "one again")
    assert names(one, void, again) == ["one again"]
    assert names(one, void) == []


def test_bases_in_a_circle_end() -> None:
    one, two = made((1, "a"), 1, "one", (2, "b"), 1), made((2, "b"), 1, "two", (1, "a"), 1)
    assert names(one, two) == ["one", "two"]


@given(st.lists(steps(), max_size=6))
def test_any_steps_have_a_lineage(records: list[Step]) -> None:
    assert {s.key for s in lineage(records, MINE)} <= {s.key for s in records}
