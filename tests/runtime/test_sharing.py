"""Who should hold what, and who gives to whom."""

from hypothesis import given
from hypothesis import strategies as st

from actonce.sharing import gifts, targets

demands = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 200), min_size=1)


def test_examples() -> None:
    assert targets(30, {"a": 0, "b": 0, "c": 0}) == {"a": 10, "b": 10, "c": 10}
    assert targets(31, {"a": 0, "b": 0, "c": 0}) == {"a": 11, "b": 10, "c": 10}
    assert targets(30, {"a": 100, "b": 0, "c": 0}) == {"a": 30, "b": 0, "c": 0}
    assert targets(30, {"a": 100, "b": 5, "c": 100}) == {"a": 12, "b": 5, "c": 13}
    assert targets(2, {"a": 0, "b": 9, "c": 9}) == {"a": 0, "b": 1, "c": 1}


@given(st.integers(0, 300), demands)
def test_shares_are_max_min_fair(capacity: int, needs: dict[str, int]) -> None:
    shares = targets(capacity, needs)
    assert sum(shares.values()) == capacity
    if sum(needs.values()) <= capacity:
        assert all(shares[name] >= needs[name] for name in needs)
    else:
        assert all(shares[name] <= needs[name] for name in needs)
        least = min((shares[name] for name in needs if shares[name] < needs[name]), default=capacity)
        assert all(share <= least + 1 for share in shares.values())  # nobody has more at a needier one's expense


@given(demands, st.data())
def test_everybody_giving_reaches_the_targets(needs: dict[str, int], data: st.DataObject) -> None:
    """And nobody ever gives more than it has beyond its target."""
    held = {name: data.draw(st.integers(0, 100)) for name in needs}
    wanted = targets(sum(held.values()), needs)
    for _ in range(40):
        plans = {name: gifts(name, held, wanted, needs, idle_step=1) for name in held}
        before = dict(held)
        for name, plan in plans.items():
            assert sum(plan.values()) <= max(0, before[name] - wanted[name])
            for to, count in plan.items():
                held[name] -= count
                held[to] += count
    assert held == wanted


def test_who_waits_is_helped_first() -> None:
    held, wanted = {"a": 20, "b": 0, "c": 0}, {"a": 10, "b": 5, "c": 5}
    assert gifts("a", held, wanted, {"b": 1}, idle_step=1) == {"b": 5}
    assert gifts("a", held, wanted, {}, idle_step=5) == {"b": 5, "c": 5}
    assert gifts("a", held, wanted, {}, idle_step=6) == {}
