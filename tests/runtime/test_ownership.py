"""Who may do a task: the rules as laws over random views, and the cases that forced them."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from actonce.ownership import Member, View, in_play, next_epoch, owner, required
from actonce_crdt import order

A, B, C, D = (Member(name, 1) for name in "abcd")
NAMES = "abcde"
members = st.builds(Member, st.sampled_from(NAMES), st.integers(1, 3))
views = st.builds(
    lambda number, live, gone: View(number, live, gone - live),
    st.integers(0, 9),
    st.frozensets(members),
    st.frozensets(members),
)


def everyone(member: Member) -> bool:
    return True


def only(*names: str) -> Callable[[Member], bool]:
    return lambda member: member.name in names


def view(*live: Member, lingering: tuple[Member, ...] = ()) -> View:
    return View(1, frozenset(live), frozenset(lingering))


def test_alone_there_is_nobody_to_ask() -> None:
    assert required(A, view(A), {}) == frozenset()
    assert in_play(A, view(A), {}) == {A}


def test_the_closure_follows_what_members_announce() -> None:
    announced = {B: view(A, B, C), C: view(C, D), D: view(D)}
    assert required(A, view(A, B), announced) == {B, C, D}
    assert required(A, view(A), announced) == frozenset(), "the word of those outside my view does not count"


def test_a_member_that_announced_nothing_is_required_all_the_same() -> None:
    assert required(A, view(A, B), {}) == {B}


def test_lingering_members_need_not_answer_but_still_own() -> None:
    mine = view(A, B, lingering=(C,))
    assert required(A, mine, {B: view(A, B)}) == {B}
    assert in_play(A, mine, {B: view(A, B)}) == {A, B, C}


def test_who_lingers_for_me_need_not_answer_although_another_still_holds_it_live() -> None:
    mine = view(A, B, lingering=(C,))
    announced = {B: view(A, B, C), C: view(A, B, C, D)}
    assert required(A, mine, announced) == {B, D}
    assert in_play(A, mine, announced) == {A, B, C, D}


def test_who_lingers_for_another_is_in_play_for_me() -> None:
    assert in_play(A, view(A, B), {B: view(A, B, lingering=(C,))}) == {A, B, C}


@given(views, st.dictionaries(members, views))
def test_the_closure_is_closed_and_grows_with_the_views(mine: View, announced: dict[Member, View]) -> None:
    must, playing = required(A, mine, announced), in_play(A, mine, announced)
    assert must | {A} <= playing
    assert mine.members - {A} - mine.lingering <= must
    for member in must & announced.keys():
        assert announced[member].members <= playing | mine.lingering
    for member in announced:
        fewer = {other: said for other, said in announced.items() if other != member}
        assert required(A, mine, fewer) <= must
        assert in_play(A, mine, fewer) <= playing


@given(st.text(min_size=1), st.sets(members, min_size=1))
def test_the_owner_of_a_set_owns_in_every_subset_that_holds_it(task: str, everybody: set[Member]) -> None:
    first = owner(task, everybody, everyone)
    assert first in everybody
    for member in everybody - {first}:
        assert owner(task, everybody - {member}, everyone) == first
    assert max(everybody, key=lambda member: order(task, member.name)).name == first.name


@given(st.text(min_size=1), st.lists(members, min_size=1))
def test_the_order_of_asking_does_not_matter(task: str, everybody: list[Member]) -> None:
    assert owner(task, everybody, everyone) == owner(task, reversed(everybody), everyone)


def test_only_the_able_own() -> None:
    assert owner("t", [A, B, C], only("b")) == B
    assert owner("t", [A, B, C], only()) is None
    assert owner("t", [], everyone) is None


def test_a_later_incarnation_voids_its_predecessor() -> None:
    old, new = Member("a", 1), Member("a", 2)
    assert owner("t", [new, old], everyone) == owner("t", [old, new], everyone) == new


def test_tasks_spread_over_the_replicas() -> None:
    owners = [owner(f"t{index}", [A, B, C], everyone) for index in range(300)]
    assert all(70 < owners.count(member) < 130 for member in (A, B, C))


@given(views, st.integers(0, 100))
def test_an_epoch_beats_every_known_claim_and_every_older_view(mine: View, known: int) -> None:
    epoch = next_epoch(mine, known)
    assert epoch > known
    assert epoch >= mine.number
    assert epoch in (mine.number, known + 1)
