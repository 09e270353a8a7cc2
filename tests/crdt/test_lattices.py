"""The laws of the two lattices, and the meaning of each field."""

from functools import reduce
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import (
    Cancel,
    Claim,
    Done,
    Doubt,
    EffectRecord,
    EffectState,
    Grant,
    Intent,
    Passed,
    Receipt,
    Release,
    Reopen,
    Roster,
    RosterState,
    Task,
    TaskRecord,
    TaskState,
    Try,
    effect,
    order,
    pack_value,
    roster,
    task,
)

from .records import (
    cancels,
    claims,
    dones,
    doubts,
    grants,
    intents,
    passes,
    receipts,
    releases,
    reopens,
    rosters,
    tasks,
    tries,
)

ONE = st.just("key")
task_states = st.builds(
    TaskState,
    st.none() | tasks(ONE),
    st.none() | claims(ONE),
    st.none() | tries(ONE),
    st.none() | dones(ONE),
    st.none() | passes(ONE),
    st.none() | cancels(ONE),
    st.none() | reopens(ONE),
    st.lists(grants(ONE), max_size=3).map(lambda found: joined(*found).grants if found else ()),
    st.lists(releases(ONE), max_size=3).map(lambda found: joined(*found).releases if found else ()),
).map(lambda state: task.join(state, TaskState()))  # in the form that joins have
task_records_of_one = st.one_of(
    *(tasks(ONE), claims(ONE), tries(ONE), dones(ONE), passes(ONE)),
    *(cancels(ONE), reopens(ONE), grants(ONE), releases(ONE)),
)
roster_states = st.lists(rosters(ONE), max_size=4).map(lambda found: decided(*found))
effect_states = st.builds(EffectState, st.none() | intents(ONE), st.none() | receipts(ONE), st.none() | doubts(ONE))


@given(task_states, task_records_of_one)
def test_absorbing_an_entry_is_joining_it(state: TaskState, record: TaskRecord) -> None:
    absorbed = task.absorb(state, record)
    assert absorbed == task.join(state, task.lift(record))
    assert task.absorb(absorbed, record) == absorbed


@given(effect_states, st.one_of(intents(ONE), receipts(ONE), doubts(ONE)))
def test_absorbing_an_entry_of_an_effect_is_joining_it(state: EffectState, record: EffectRecord) -> None:
    absorbed = effect.absorb(state, record)
    assert absorbed == effect.join(state, effect.lift(record))
    assert effect.absorb(absorbed, record) is absorbed


@given(task_states, task_states, task_states)
def test_task_laws(a: TaskState, b: TaskState, c: TaskState) -> None:
    assert task.join(a, b) == task.join(b, a)
    assert task.join(task.join(a, b), c) == task.join(a, task.join(b, c))
    assert task.join(a, a) == a
    assert task.join(a, TaskState()) == a
    both = task.join(a, b)
    assert task.join(both, a) == both  # monotone: a join is above both of its parts
    assert task.join(both, b) == both
    assert task.join(task.join(a, c), both) == task.join(both, c)  # ... and keeps their order


@given(effect_states, effect_states, effect_states)
def test_effect_laws(a: EffectState, b: EffectState, c: EffectState) -> None:
    assert effect.join(a, b) == effect.join(b, a)
    assert effect.join(effect.join(a, b), c) == effect.join(a, effect.join(b, c))
    assert effect.join(a, a) == a
    assert effect.join(a, EffectState()) == a
    both = effect.join(a, b)
    assert effect.join(both, a) == both
    assert effect.join(both, b) == both
    assert effect.join(effect.join(a, c), both) == effect.join(both, c)


@given(roster_states, roster_states, roster_states)
def test_roster_laws(a: RosterState, b: RosterState, c: RosterState) -> None:
    assert roster.join(a, b) == roster.join(b, a)
    assert roster.join(roster.join(a, b), c) == roster.join(a, roster.join(b, c))
    assert roster.join(a, a) == a
    assert roster.join(a, RosterState()) == a
    both = roster.join(a, b)
    assert roster.join(both, a) == both
    assert roster.join(both, b) == both


@given(st.lists(task_states, min_size=1, max_size=4))
def test_any_order_of_joins_gives_the_same_state(states: list[TaskState]) -> None:
    assert len({reduce(task.join, some) for some in permutations(states)}) == 1


def decided(*records: Roster) -> RosterState:
    return reduce(roster.join, map(roster.lift, records), RosterState())


def joined(*records: TaskRecord) -> TaskState:
    return reduce(task.join, map(task.lift, records))


def raised(*records: Intent | Receipt | Doubt) -> EffectState:
    return reduce(effect.join, map(effect.lift, records))


def test_the_first_submission_counts() -> None:
    first, second = Task("t", 1, "b", "reply", b"1"), Task("t", 2, "a", "reply", b"2")
    assert joined(second, first).task == first
    same_stamp = Task("t", 1, "a", "reply", b"3")
    assert joined(first, same_stamp).task == same_stamp


def test_the_higher_epoch_wins_whatever_the_rank() -> None:
    for author, other in (("a", "b"), ("b", "a")):
        old, new = Claim("t", 9, author, 1, 9), Claim("t", 1, other, 2, 1)
        assert joined(old, new).claim == new


@given(st.text(min_size=1, max_size=20))
def test_in_one_epoch_the_higher_rank_wins_whatever_the_stamp(key: str) -> None:
    winner = max("a", "b", key=lambda name: order(key, name))
    states = joined(*(Claim(key, 1 if name == winner else 9, name, 1, 1) for name in ("a", "b")))
    assert states.claim is not None
    assert states.claim.author == winner


def test_a_new_incarnation_voids_the_claims_of_the_old() -> None:
    old, new = Claim("t", 9, "a", 1, 1), Claim("t", 1, "a", 1, 2)
    assert joined(new, old).claim == new


def test_the_latest_attempt_counts() -> None:
    first, second = Try("t", 9, "a", 9, 1, 0, "x"), Try("t", 1, "b", 1, 2, 0, "y")
    assert joined(second, first).tries == second


def test_a_success_outlives_a_failure() -> None:
    success = Done("t", 1, "a", 1, True, pack_value("sent"))
    failure = Done("t", 9, "b", 9, False, pack_value("gave up"))
    assert joined(success, failure).done == success
    later = Done("t", 1, "b", 2, True, pack_value("sent too"))
    assert joined(success, failure, later).done == later


def test_the_later_promise_of_a_voter_stands_for_its_earlier_ones() -> None:
    old, new = Grant("t", 9, "a", 1, "b", 1, "j1", 1, 0), Grant("t", 1, "a", 2, "c", 1, "j1", 1, 1)
    again = Grant("t", 0, "a", 2, "c", 1, "j1", 2, 1)
    assert joined(new, old).grants == (new,)
    assert joined(new, again).grants == (again,)


def test_a_voter_with_another_journal_is_another_voter() -> None:
    one, other = Grant("t", 1, "a", 1, "b", 1, "j1", 1, 0), Grant("t", 1, "a", 1, "c", 1, "j2", 1, 0)
    assert joined(other, one).grants == (one, other)


def test_what_is_given_up_stays_so() -> None:
    old, new = Release("t", 9, "a", 1, 1), Release("t", 1, "a", 2, 1)
    assert joined(new, old).releases == (new,)


def test_a_reopened_task_has_no_failure_that_the_reopening_knew_of() -> None:
    failure, cancel = Done("t", 1, "a", 3, False, pack_value("x"), "aside"), Cancel("t", 1, "a", 3)
    state = joined(failure, cancel, Claim("t", 1, "a", 3, 1), Reopen("t", 2, "b", 3, 4, 2))
    assert (state.done, state.cancel, state.standing, state.epoch) == (None, None, None, 3)
    assert joined(failure, cancel, Reopen("t", 2, "b", 2, 0, 0)).done == failure
    later = Done("t", 1, "a", 4, False, pack_value("y"))
    assert joined(failure, Reopen("t", 2, "b", 3, 0, 0), later).done == later
    success = Done("t", 1, "a", 1, True, pack_value("sent"))
    assert joined(success, Reopen("t", 2, "b", 3, 0, 0)).done == success


def test_attempts_and_deaths_count_from_the_reopening() -> None:
    state = joined(Try("t", 1, "a", 3, 4, 0, "x"), Passed("t", 1, "a", 3, 3), Reopen("t", 2, "b", 3, 4, 2))
    assert (state.attempts, state.deaths) == (0, 1)


def test_every_resend_uses_the_first_recorded_body() -> None:
    first = Intent("e", 9, "b", "t", 1, "room", b"first")
    second = Intent("e", 1, "a", "t", 2, "room", b"second")
    assert raised(second, first).intent == first


def test_every_replay_returns_the_first_receipt() -> None:
    first, second = Receipt("e", 1, "b", 2, b"1"), Receipt("e", 2, "a", 1, b"2")
    assert raised(second, first).receipt == first


def test_a_settled_doubt_outlives_an_open_one() -> None:
    settled, still_open = Doubt("e", 1, "a", 1, "found"), Doubt("e", 9, "b", 9, "open")
    assert raised(still_open, settled).doubt == settled
    later = Doubt("e", 2, "a", 1, "skipped")
    assert raised(settled, later, still_open).doubt == later


def test_of_two_words_about_a_doubt_the_one_that_sends_nothing_counts_until_it_is_sent_again() -> None:
    again, given_up = Doubt("e", 9, "b", 1, "resend"), Doubt("e", 1, "a", 1, "skipped")
    assert raised(again, given_up).doubt == given_up
    sent = Doubt("e", 0, "a", 1, "sending", 1)
    assert raised(sent, again, given_up).doubt == sent


def test_records_that_tie_are_told_apart_by_their_bytes() -> None:
    one, two = Done("t", 1, "a", 1, True, b"1"), Done("t", 1, "a", 1, True, b"2")
    assert joined(one, two) == joined(two, one)
    body, other = Intent("e", 1, "a", "t", 1, "room", b"1"), Intent("e", 1, "a", "t", 1, "room", b"2")
    assert raised(body, other) == raised(other, body)
