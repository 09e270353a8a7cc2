from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import Claim, Done, EffectState, Intent, Receipt, Record, State, Task, TaskState, Unknown
from actonce_crdt.packing import pack

from .records import by_bytes, records

entries = st.dictionaries(st.tuples(st.integers(1, 3), st.integers(0, 9)), records, max_size=20)


def views(state: State) -> tuple[object, ...]:
    tasks = sorted({*state.tasks, "t1", "shared"})
    return (
        state.canonical(),
        dict(state.tasks),
        dict(state.effects),
        dict(state.rosters),
        dict(state.quotas),
        dict(state.controls),
        state.disputes.unanswered,
        {key: list(state.effects_of(key)) for key in tasks},
        {key: state.history(key) for key in tasks},
        dict(state.steps),
        dict(state.marks),
        dict(state.cursors),
        {key: list(state.steps_of(key)) for key in tasks},
        len(state),
    )


@given(entries, st.randoms(use_true_random=False))
def test_incremental_equals_from_scratch(present: dict[tuple[int, int], Record], random: Any) -> None:
    state = State()
    kept: dict[tuple[int, int], Record] = {}
    for entry_id, record in present.items():
        state.add(entry_id, record)
        kept[entry_id] = record
        while kept and random.random() < 0.4:
            gone = random.choice(sorted(kept))
            state.remove(gone)
            del kept[gone]
        assert views(state) == views(State.fold(kept.items()))
    for gone in list(kept):
        state.remove(gone)
    assert views(state) == views(State())


@given(entries, st.randoms(use_true_random=False))
def test_the_view_is_a_function_of_the_set(present: dict[tuple[int, int], Record], random: Any) -> None:
    shuffled = list(present.items())
    random.shuffle(shuffled)
    again = [*shuffled, *shuffled[: len(shuffled) // 2]]
    assert views(State.fold(again)) == views(State.fold(present.items()))


@given(entries, st.integers(1, 3))
def test_the_same_entry_twice_under_two_ids_changes_no_view(
    present: dict[tuple[int, int], Record], client: int
) -> None:
    doubled = [*present.items(), *(((client + 10, clock), record) for clock, record in enumerate(present.values()))]
    assert State.fold(doubled).canonical() == State.fold(present.items()).canonical()


@given(entries)
def test_equal_canonical_bytes_mean_equal_views(present: dict[tuple[int, int], Record]) -> None:
    state = State.fold(present.items())
    winners: Sequence[Record] = [
        record
        for joined in state.tasks.values()
        for record in (
            *(joined.task, joined.claim, joined.tries, joined.done),
            *(joined.passed, joined.cancel, joined.reopen, *joined.grants, *joined.releases),
        )
        if record is not None
    ]
    winners = [
        *(one for one in winners if not (isinstance(one, Done) and one.key in state.late)),  # nobody wrote that one
        *state.floors,
        *(
            record
            for raised in state.effects.values()
            for record in (raised.intent, raised.receipt, raised.doubt)
            if record is not None
        ),
        *(step for version in state.rosters.values() for step in version.steps),
        *state.steps.values(),
        *state.marks.values(),
        *state.cursors.values(),
        *(record for quota in state.quotas.values() for record in quota.records()),
        *(cell for place in state.cells.values() for cell in place.records()),
        *(word for counter in state.tallies.values() for word in counter.records()),
        *(record for control in state.controls.values() for record in control.records()),
        *(record for record in present.values() if isinstance(record, Unknown)),
    ]
    rebuilt = State.fold(((9, clock), record) for clock, record in enumerate(winners))
    assert rebuilt.canonical() == state.canonical()
    assert dict(rebuilt.tasks) == dict(state.tasks)
    assert dict(rebuilt.effects) == dict(state.effects)
    assert dict(rebuilt.quotas) == dict(state.quotas)
    assert dict(rebuilt.controls) == dict(state.controls)


def test_a_task_and_its_effects() -> None:
    task = Task("t", 1, "a", "reply", b"")
    claim = Claim("t", 2, "a", 1, 1)
    intent = Intent("t/1", 3, "a", "t", 1, "room", b"hi")
    second = Intent("t/0", 5, "a", "t", 1, "room", b"ho")
    receipt = Receipt("t/1", 4, "a", 1, b"ok")
    done = Done("t", 6, "a", 1, True, b"\xc0")
    later = Unknown("t/1", 7, "a", "later", pack(("later", "t/1", 7, "a")))
    everything: list[Record] = [done, receipt, second, claim, intent, task, later]
    state = State.fold(((1, clock), record) for clock, record in enumerate(everything))
    assert state.effects_of("t") == ["t/0", "t/1"]
    assert state.history("t") == [task, claim, intent, receipt, second, done, later]
    assert state.tasks["t"].claim == claim
    assert state.effects["t/1"].receipt == receipt
    assert by_bytes(state.history("t")) == by_bytes(everything)
    assert len(state) == 7


def test_removing_an_entry_exposes_the_join_of_the_rest() -> None:
    task, claim, done = Task("t", 1, "a", "reply", b""), Claim("t", 2, "a", 1, 1), Done("t", 3, "a", 1, True, b"")
    state = State.fold((((1, 0), task), ((1, 1), claim), ((1, 2), done), ((1, 3), Claim("t", 4, "a", 2, 1))))
    state.remove((1, 3))
    assert state.tasks["t"] == TaskState(task=task, claim=claim, done=done)
    intent, receipt = Intent("e", 1, "a", "t", 1, "room", b""), Receipt("e", 2, "a", 1, b"ok")
    state = State.fold((((1, 0), intent), ((1, 1), receipt), ((1, 2), Receipt("e", 1, "a", 1, b"first"))))
    state.remove((1, 2))
    assert state.effects["e"] == EffectState(intent=intent, receipt=receipt)


def test_an_effect_follows_the_task_of_its_winning_intent() -> None:
    state = State()
    state.add((1, 0), Intent("e", 5, "a", "t2", 2, "room", b""))
    state.add((1, 1), Intent("e", 1, "a", "t1", 1, "room", b""))
    assert state.effects_of("t1") == ["e"]
    assert state.effects_of("t2") == []
    state.remove((1, 1))
    assert state.effects_of("t1") == []
    assert state.effects_of("t2") == ["e"]


def test_an_id_names_one_record_for_ever() -> None:
    state = State()
    state.add((1, 0), Claim("t", 1, "a", 1, 1))
    state.add((1, 0), Claim("t", 1, "a", 1, 1))
    assert len(state) == 1
    with pytest.raises(ValueError, match="already present with another record"):
        state.add((1, 0), Claim("t", 1, "a", 2, 1))
    assert state.tasks["t"].claim == Claim("t", 1, "a", 1, 1)


def test_removing_what_was_never_added_changes_nothing() -> None:
    state = State()
    state.remove((1, 0))
    assert len(state) == 0


def test_the_views_are_read_only() -> None:
    tasks: Any = State().tasks
    with pytest.raises(TypeError):
        tasks["t"] = None
