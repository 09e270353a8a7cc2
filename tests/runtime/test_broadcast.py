"""Laws of the broadcast tree: neighbours only are spoken to, and what one has is asked for until it comes."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actonce.broadcast import GRAFTS_MAX, Act, Broadcast

NAMES = ["a", "b", "c"]
clocks = st.dictionaries(st.integers(1, 4), st.integers(0, 9), max_size=4)
events = st.lists(
    st.one_of(
        st.tuples(st.just("up"), st.sampled_from(NAMES)),
        st.tuples(st.just("down"), st.sampled_from(NAMES)),
        st.tuples(st.just("grew"), clocks, st.sampled_from([*NAMES, None])),
        st.tuples(st.just("pushed"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("gap"), st.sampled_from(NAMES)),
        st.tuples(st.just("have"), st.sampled_from(NAMES), clocks),
        st.tuples(st.just("graft"), st.sampled_from(NAMES)),
        st.tuples(st.just("prune"), st.sampled_from(NAMES)),
        st.tuples(st.just("pulse"), st.sampled_from(NAMES), st.sampled_from([b"x", b"y"])),
        st.tuples(st.just("tick"), st.floats(0.0, 2.0)),
    ),
    max_size=50,
)


class Driver:
    """A replica whose document is a state vector."""

    def __init__(self) -> None:
        self.tree, self.mine, self.now = Broadcast(), dict[int, int](), 0.0

    def happen(self, event: tuple[Any, ...]) -> list[tuple[str, Act]]:
        tree = self.tree
        match event:
            case ("up", name):
                tree.up(name)
            case ("down", name):
                tree.down(name)
            case ("grew", clocks, source):
                for client, clock in clocks.items():
                    self.mine[client] = max(clock, self.mine.get(client, 0))
                to = tree.grew(clocks, self.mine, source)
                assert set(to) == {name for name in tree.eager if name != source}
            case ("pushed", name, fresh):
                return tree.pushed(name, fresh=fresh, now=self.now, mine=self.mine)
            case ("gap", name):
                return tree.gap(name, self.now)
            case ("have", name, clocks):
                tree.have(name, clocks, self.now, self.mine)
            case ("graft", name):
                tree.graft(name)
            case ("prune", name):
                return tree.prune(name, self.now, self.mine)
            case ("pulse", name, digest):
                return tree.pulse(name, digest, b"x", self.now)
            case ("tick", seconds):
                self.now += seconds
                acts, said = tree.tick(self.now, self.mine)
                for name, told in said.items():
                    assert not tree.sides[name].eager or (name, Act.GRAFT) in acts
                    assert all(clock == self.mine[client] for client, clock in told.items())
                return acts
        return []


@settings(max_examples=80, deadline=None)
@given(events)
def test_whatever_comes_only_neighbours_are_spoken_to(happened: list[tuple[Any, ...]]) -> None:
    driver = Driver()
    for event in happened:
        acts = driver.happen(event)
        assert all(name in driver.tree.sides for name, _ in acts)
        assert len(acts) <= 1


@settings(max_examples=50, deadline=None)
@given(events, st.dictionaries(st.integers(1, 4), st.integers(10, 19), min_size=1))
def test_what_a_neighbour_has_is_asked_for_in_bounded_time(
    happened: list[tuple[Any, ...]], clocks: dict[int, int]
) -> None:
    driver = Driver()
    for event in happened:
        driver.happen(event)
    for name in NAMES:
        driver.happen(("down", name))
    driver.happen(("tick", 1.5))
    driver.happen(("up", "a"))
    driver.happen(("have", "a", clocks))
    acts = [act for _ in range(4) for act in driver.happen(("tick", 0.5))]
    assert ("a", Act.GRAFT) in acts or ("a", Act.ASK) in acts
    assert driver.tree.sides["a"].eager


def test_a_claim_that_never_comes_true_is_given_up() -> None:
    driver = Driver()
    driver.happen(("up", "a"))
    driver.happen(("have", "a", {7: 2**53}))
    asked = sum(bool(driver.happen(("tick", 0.6))) for _ in range(50))
    assert asked == GRAFTS_MAX
    assert not driver.tree.missing


def test_who_sends_what_we_had_is_pruned_once_and_told_from_then_on() -> None:
    driver = Driver()
    driver.happen(("up", "a"))
    driver.happen(("up", "b"))
    driver.happen(("grew", {1: 1}, "a"))
    assert driver.happen(("pushed", "b", False)) == [("b", Act.PRUNE)]
    assert driver.happen(("pushed", "b", False)) == []
    driver.now += 1.0
    assert driver.tree.grew([1], {1: 2}, None) == ["a"]
    driver.mine[1] = 2
    _, said = driver.tree.tick(driver.now, driver.mine)
    assert said == {"b": {1: 2}}


def test_the_last_one_that_feeds_us_is_not_pruned_and_is_replaced_when_it_prunes_us() -> None:
    driver = Driver()
    for name in NAMES:
        driver.happen(("up", name))
    driver.happen(("pushed", "c", True))
    assert driver.happen(("pushed", "a", False)) == [("a", Act.PRUNE)]
    assert driver.happen(("pushed", "b", False)) == [("b", Act.PRUNE)]
    assert driver.happen(("pushed", "c", False)) == []
    driver.now += 1.0
    driver.happen(("pushed", "b", True))  # under way when it was pruned
    assert not driver.tree.sides["b"].eager
    assert driver.happen(("prune", "c")) == [("b", Act.GRAFT)]
    assert driver.tree.sides["b"].eager


def test_an_answer_that_came_too_late_to_bring_anything_prunes_nobody() -> None:
    driver = Driver()
    driver.happen(("up", "a"))
    assert driver.happen(("pulse", "a", b"y")) == [("a", Act.ASK)]
    assert driver.happen(("pushed", "a", False)) == []


def test_one_question_at_a_time() -> None:
    driver = Driver()
    for name in NAMES:
        driver.happen(("up", name))
    asked = [act for name in NAMES for act in driver.happen(("pulse", name, b"y"))]
    assert asked == [("a", Act.ASK)]
