"""The laws of the control lattice, and what a switch undoes: that which its author knew, and nothing else."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import ControlRecord, ControlState, EntryInvalid, Shut, Switch, control, encode

from .records import shuts, switches

ONE = st.just("agent")
states = st.lists(switches(ONE) | shuts(ONE), max_size=6).map(lambda found: joined(*found))


def joined(*records: ControlRecord) -> ControlState:
    return reduce(control.join, map(control.lift, records), ControlState())


def order(state: ControlState, author: str, mode: str, stamp: int = 0) -> Switch:
    """What a replica that knows this state writes."""
    return Switch("agent", stamp, author, state.next_number, mode, state.known, "")


def modes(state: ControlState) -> list[str]:
    return [switch.mode for switch in state.in_force]


@given(states, states, states)
def test_laws(a: ControlState, b: ControlState, c: ControlState) -> None:
    assert control.join(a, b) == control.join(b, a)
    assert control.join(control.join(a, b), c) == control.join(a, control.join(b, c))
    assert control.join(a, a) == a
    assert control.join(a, ControlState()) == a
    both = control.join(a, b)
    assert control.join(both, a) == both
    assert control.join(control.join(a, c), both) == control.join(both, c)


@given(states)
def test_a_joined_state_can_be_written_down_again(state: ControlState) -> None:
    """Compaction leaves what was ordered as it is."""
    again = joined(*state.records())
    assert again == state
    assert again.in_force == state.in_force


def test_the_latest_order_replaces_what_it_knew_whatever_the_clocks() -> None:
    state = joined()
    for stamp, author, mode in ((90, "a", "pause"), (10, "b", "stop"), (50, "a", "drain")):
        state = control.join(state, control.lift(order(state, author, mode, stamp)))
        assert modes(state) == [mode]
    assert modes(control.join(state, control.lift(order(state, "c", "run", 1)))) == []


def test_of_two_orders_that_knew_nothing_of_each_other_both_are_in_force() -> None:
    one, other = order(joined(), "a", "pause"), order(joined(), "b", "halt")
    assert modes(joined(one, other)) == ["pause", "halt"]
    assert modes(control.join(joined(one, other), control.lift(order(joined(one, other), "a", "run")))) == []


def test_a_resume_that_did_not_know_an_emergency_stop_does_not_undo_it() -> None:
    """However often the other side was switched meanwhile, and whatever its clock."""
    halt, there = order(joined(), "a", "halt", 1), joined()
    for stamp, mode in ((10, "pause"), (20, "run"), (30, "pause"), (40, "run")):
        there = control.join(there, control.lift(order(there, "b", mode, stamp)))
    healed = control.join(there, control.lift(halt))
    assert modes(healed) == ["halt"]
    assert healed.next_number == 5


def test_a_confirmation_is_of_the_switches_that_it_names() -> None:
    halt = order(joined(), "a", "halt")
    state = joined(halt, Shut("agent", 1, "b", (("a", 1),)))
    assert state.is_shut("b", halt)
    assert not state.is_shut("c", halt)
    again = order(state, "a", "halt")
    assert not control.join(state, control.lift(again)).is_shut("b", again), "it was resumed in between"
    later = joined(*state.records(), again, Shut("agent", 0, "b", (("a", 2),)))
    assert later.is_shut("b", again)


acts = st.tuples(st.sampled_from("abc"), st.sampled_from(["run", "pause", "halt"]), st.booleans())


@given(st.lists(acts, max_size=9))
def test_something_is_in_force_unless_the_last_to_know_all_said_run(steps: list[tuple[str, str, bool]]) -> None:
    """Replicas that order, and sometimes sync: after all have synced, one resume ends it all, and no halt is lost."""
    known = {name: joined() for name in "abc"}
    whole = joined()
    for author, mode, syncs in steps:
        if syncs:
            known[author] = whole
        switch = order(known[author], author, mode)
        known[author] = control.join(known[author], control.lift(switch))
        whole = control.join(whole, control.lift(switch))
        assert switch in known[author].in_force or mode == "run"
    halts = [one for one in whole.switches if one.mode == "halt"]
    for halt in halts:
        undone = any(dict(one.over).get(halt.author, 0) >= halt.number for one in whole.switches)
        assert undone or halt in whole.in_force
    assert control.join(whole, control.lift(order(whole, "a", "run"))).in_force == ()


@pytest.mark.parametrize(
    "switch",
    [
        Switch("agent", 1, "a", 0, "pause", (), ""),
        Switch("agent", 1, "a", 1, "sleep", (), ""),
        Switch("agent", 1, "a", 1, "pause", (("b", 0),), ""),
        Switch("agent", 1, "a", 1, "pause", (("b", 1), ("a", 1)), ""),
        Switch("agent", 1, "a", 1, "pause", (("B!", 1),), ""),
        Switch("agent", 1, "a", 1, "pause", (), "x" * 501),
        Shut("agent", 1, "a", (("a", 1), ("a", 2))),
    ],
)
def test_what_makes_no_sense_is_no_entry(switch: ControlRecord) -> None:
    with pytest.raises(EntryInvalid):
        encode(switch)
