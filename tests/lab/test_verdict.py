"""The judge of the lab sees what is wrong."""

from typing import Any

from tests.lab.verdict import GUARDS, Cut, Guard, judge

CUT = Cut(("ab", "c"), 100.0, 110.0)
AVAILABLE = GUARDS[0]
MAJORITY = Guard("majority", "decide", 0)


def post(message: str, by: str, at: float) -> dict[str, Any]:
    return {"body": {"to": message, "by": by}, "at": at}


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
    assert found([post("m", "a", 105.0), post("m", "c", 106.0)], MAJORITY) == ["majority: m was answered on two sides"]
