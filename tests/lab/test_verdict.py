"""The judge of the lab sees what is wrong."""

from typing import Any

from tests.lab.verdict import GUARDS, Cut, Guard, judge

CUT = Cut(("ab", "c"), 100.0, 110.0)
AVAILABLE, MAJORITY = GUARDS


def post(message: str, by: str, at: float, guard: Guard = AVAILABLE) -> dict[str, Any]:
    return {"key": f"{guard.kind}/{message}/#1", "body": {"to": message, "by": by}, "at": at}


def found(posts: list[dict[str, Any]], guard: Guard = AVAILABLE, cuts: tuple[Cut, ...] = (CUT,)) -> list[str]:
    return list(judge(guard, ["m"], posts, cuts, ["doubted"]))


def test_once_is_right() -> None:
    assert found([post("m", "a", 50.0)]) == []
    assert found([post("m", "a", 50.0)], cuts=()) == []
    assert list(judge(AVAILABLE, ["m", "doubted"], [post("m", "a", 1.0)], (), ["doubted"])) == []


def test_what_was_never_answered_is_lost() -> None:
    assert found([]) == ["available: m was never answered, and is no reported doubt"]


def test_once_on_each_side_of_a_long_partition_is_within_the_bound() -> None:
    assert found([post("m", "a", 105.0), post("m", "c", 106.0)]) == []
    assert found([post("m", "a", 105.0), post("m", "c", 112.9)]) == []


def test_twice_is_wrong_at_any_other_time() -> None:
    for at in (50.0, 100.5, 120.0):
        assert found([post("m", "a", 40.0), post("m", "c", at)]) == [
            "available: m was answered twice while no long partition was"
        ]
    assert len(found([post("m", "a", 40.0), post("m", "c", 105.0)], cuts=())) == 1


def test_twice_on_one_side_is_wrong() -> None:
    assert found([post("m", "a", 105.0), post("m", "b", 106.0)]) == ["available: m was answered 2 times by side ab"]


def test_a_majority_answers_once_even_then() -> None:
    once = [post("m", "a", 105.0, MAJORITY)]
    assert found(once, MAJORITY) == []
    assert found([*once, post("m", "c", 111.0, MAJORITY)], MAJORITY) == ["majority: m was answered on two sides"]


def test_a_minority_answers_nothing_and_the_majority_goes_on() -> None:
    assert found([post("m", "c", 105.0, MAJORITY)], MAJORITY) == [
        "majority: in the partition ['c'] answered, and not ab alone"
    ]
    assert found([post("m", "a", 50.0, MAJORITY)], MAJORITY) == [
        "majority: in the partition [] answered, and not ab alone"
    ]


def test_each_kind_is_judged_by_its_own_posts() -> None:
    both = [post("m", "a", 105.0), post("m", "c", 106.0), post("m", "b", 107.0, MAJORITY)]
    assert found(both) == found(both, MAJORITY) == []
