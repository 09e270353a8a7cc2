"""What the heal report makes of entries, one case at a time."""

from itertools import permutations
from typing import Any

import pytest

from actonce import heal
from actonce_crdt import (
    Cell,
    Claim,
    Done,
    Doubt,
    Intent,
    Receipt,
    Record,
    State,
    Step,
    Task,
    order,
    pack_value,
    place,
)

TASK, EFFECT, NOTHING = "reply/k", "reply/k/#1", pack_value(None)
LOW, HIGH = sorted("ab", key=lambda name: order(TASK, name))
"""In one epoch the claim of `HIGH` wins."""


def claim(author: str, epoch: int, stamp: int, holder: str = "") -> Claim:
    return Claim(TASK, stamp, author, epoch, 1, holder, 1 if holder else 0)


def done(author: str, epoch: int, stamp: int, how: str = "") -> Done:
    return Done(TASK, stamp, author, epoch, not how, pack_value(author), how)


def intent(author: str, epoch: int, stamp: int) -> Intent:
    return Intent(EFFECT, stamp, author, TASK, epoch, "room", NOTHING)


def receipt(author: str, epoch: int, stamp: int) -> Receipt:
    return Receipt(EFFECT, stamp, author, epoch, pack_value(f"of {author}"))


def doubt(author: str, epoch: int, stamp: int, settled: str) -> Doubt:
    return Doubt(EFFECT, stamp, author, epoch, settled)


def state_of(*records: Record) -> State:
    return State.fold(((1, clock), record) for clock, record in enumerate([*records, TASK_ENTRY]))


TASK_ENTRY = Task(TASK, 1, "a", "reply", NOTHING)

ONCE = (claim("a", 3, 10), intent("a", 3, 11), receipt("a", 3, 12), done("a", 3, 13))
TAKEN_OVER = (claim("a", 3, 10), intent("a", 3, 11), claim("b", 4, 20))
FOUND = (*TAKEN_OVER, intent("b", 4, 21), doubt("b", 4, 22, "found"), receipt("b", 4, 22), done("b", 4, 23))
RESENT = (*TAKEN_OVER, intent("b", 4, 21), doubt("b", 4, 22, "resent"), receipt("b", 4, 22), done("b", 4, 23))
SKIPPED = (*TAKEN_OVER, intent("b", 4, 21), doubt("b", 4, 22, "skipped"), done("b", 4, 23))
BOTH = (*ONCE, claim("b", 3, 10), intent("b", 3, 11), receipt("b", 3, 12), done("b", 3, 13))
CUT_SHORT = (*ONCE, claim("b", 2, 10), intent("b", 2, 11))


@pytest.mark.parametrize(
    ("records", "twice", "sends", "doubts", "unknown"),
    [
        (ONCE, False, [], [], []),
        (TAKEN_OVER, False, [], [], ["a"]),
        (FOUND, False, [], ["found"], []),
        ((*FOUND, receipt("a", 3, 12)), False, [], ["found"], []),
        (RESENT, False, [], ["resent"], []),
        ((*RESENT, receipt("a", 3, 12)), True, ["a", "b"], ["resent"], []),
        (SKIPPED, False, [], ["skipped"], []),
        (BOTH, True, ["a", "b"], [], []),
        (CUT_SHORT, True, [], [], ["b"]),
        ((claim("a", 3, 10), done("a", 3, 11), done("b", 0, 12, "skipped")), False, [], [], []),
        ((claim("a", 3, 10, "b"), intent("b", 3, 11), receipt("b", 3, 12), done("b", 3, 13)), False, [], [], []),
    ],
)
def test_cases(
    records: tuple[Record, ...], twice: bool, sends: list[str], doubts: list[str], unknown: list[str]
) -> None:
    found = heal.report(state_of(*records))
    assert [row["task"] for row in found["ran_twice"]] == [TASK] * twice
    assert [one["by"] for row in found["doubled"] for one in row["sends"]] == sends
    assert [one["settled"] for row in found["doubts"] for one in row["doubts"]] == doubts
    assert [one["by"] for row in found["doubts"] for one in row["unknown"]] == unknown


def test_a_look_that_counts_as_a_send_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    effect = heal._effect
    monkeypatch.setattr(heal, "_effect", lambda state, key: looks_sent(effect(state, key)))
    assert heal.report(state_of(*FOUND, receipt("a", 3, 12)))["doubled"] != []


def looks_sent(row: heal.Row) -> heal.Row:
    return {**row, "sends": [*row["sends"], *row["looked_up"]]}


def test_the_evidence() -> None:
    found = heal.report(state_of(*BOTH))
    (row,) = found["doubled"]
    assert [(one["by"], one["epoch"], one["stamp"], one["receipt"]) for one in row["sends"]] == [
        ("a", 3, 12, "of a"),
        ("b", 3, 12, "of b"),
    ]
    (row,) = found["ran_twice"]
    assert row["evidence"][:2] == [
        "outcomes of a (epoch 3) and b (epoch 3)",
        f"effect {EFFECT} sent by a (epoch 3) and b (epoch 3)",
    ]
    assert [(one["for"], one["epoch"]) for one in row["claims"]] == [("a", 3), ("b", 3)]
    assert row["outcome_that_counts"]["by"] == HIGH
    assert heal.summary(found) == "1 tasks ran on two sides, 1 effects were sent twice: see `actonce report`"
    assert heal.summary(heal.report(state_of(*ONCE))) is None


def test_work_after_a_higher_claim_is_evidence_and_before_it_is_a_takeover() -> None:
    step = Step("s", 30, "a", TASK, 3, 1, 0, "", 0, "draft", "f", NOTHING)
    early = Step("s", 15, "a", TASK, 3, 1, 0, "", 0, "draft", "f", NOTHING)
    claims = (claim("a", 3, 10), claim("b", 4, 20), done("b", 4, 40))
    assert heal.report(state_of(*claims, early))["ran_twice"] == []
    (row,) = heal.report(state_of(*claims, step))["ran_twice"]
    assert row["evidence"] == ["a worked on in epoch 3 after b had claimed epoch 4"]


@pytest.mark.parametrize("records", [BOTH, RESENT, CUT_SHORT])
def test_the_order_of_arrival_does_not_matter(records: tuple[Record, ...]) -> None:
    wanted = heal.canonical(heal.report(state_of(*records)))
    for some in list(permutations(records))[:: max(1, len(records) ** 2)]:
        assert heal.canonical(heal.report(state_of(*some))) == wanted


def test_concurrent_values_in_memory_are_listed_and_those_that_were_replaced_are_not() -> None:
    key = place("r", "mood")
    one, other = Cell(key, 5, "a", pack_value("good"), (), 0, ""), Cell(key, 6, "b", pack_value("bad"), (), 0, "")
    later = Cell(key, 7, "a", pack_value("fair"), (("a", 5), ("b", 6)), 0, "")
    (row,) = heal.report(state_of(one, other))["memory"]
    assert (row["shape"], row["name"]) == ("register", "mood")
    assert sorted((value["by"], value["value"]) for value in row["values"]) == [("a", "good"), ("b", "bad")]
    assert heal.report(state_of(one, other, later))["memory"] == []


def test_what_is_removed_is_not_reported() -> None:
    state = state_of(*BOTH)
    for clock in range(len(BOTH) + 1):
        state.remove((1, clock))
    assert heal.counts(heal.report(state)) == {"ran_twice": 0, "doubled": 0, "doubts": 0, "memory": 0}


def test_so_many_disputes_that_not_all_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "LOOK_MAX", 1)
    found: dict[str, Any] = heal.report(state_of(*BOTH))
    assert found["not_looked_at"] == 1
