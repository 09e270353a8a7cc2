"""Declaring merges, and what a merge does with what it does not expect: see tests/simulation/test_merges.py, too."""

from typing import Any

import pytest

from actonce import Agent, Conflict, Context
from actonce.errors import ConfigError, MemoryInvalid
from actonce.memory import Put, pack_memory
from actonce.merges import Dispute, find_dispute, seen_by, still_there, unpack_dispute
from actonce.recall import Recall
from actonce_crdt import Cell, CellState, pack_value, place

from .lab import Lab, run


async def merge(ctx: Context, conflict: Conflict) -> Any:
    """Nothing."""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pattern": ""}, "a pattern of names"),
        ({"pattern": 7}, "a pattern of names"),
        ({"pattern": "x" * 201}, "a pattern of names"),
        ({"pattern": "x", "placement": "local"}, "nobody receives a conflict"),
        ({"pattern": "x", "name": "No"}, "a merge"),
        ({"pattern": "x", "name": "x", "guard": "none"}, "guard='none'"),
        ({"pattern": "mood", "name": "other"}, "a merge of 'mood' is declared twice"),
        ({"pattern": "other"}, "merge 'merge' is declared twice"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(options: Any, words: str) -> None:
    agent = Agent("kevin")
    agent.merge("mood")(merge)
    with pytest.raises(ConfigError, match=words):
        agent.merge(**options)(merge)
    assert list(agent.merges) == ["merge"]


def cell(author: str, stamp: int, value: object = 1, seen: Any = (), expires_ms: int = 0) -> Cell:
    return Cell(place("r", "mood"), stamp, author, pack_value(value) if value else b"", seen, expires_ms, "t/1")


def test_a_conflict_is_two_different_values_and_names_all_writes() -> None:
    key = place("r", "mood")
    assert find_dispute(key, CellState((), (cell("a", 2, "x"), cell("b", 1, "x"))), 0) is None
    assert find_dispute(key, CellState((), (cell("a", 2, "x"), cell("b", 1, None))), 0) is None
    assert find_dispute(key, CellState((), (cell("a", 2, "x"), cell("b", 1, "y", (), 5))), 6) is None
    found = find_dispute(key, CellState((), (cell("b", 3, "x"), cell("a", 2, "y"), cell("a", 1, None))), 0)
    assert found == Dispute(key, (("a", 1), ("a", 2), ("b", 3)))
    assert unpack_dispute(found.pack()) == found
    assert seen_by(found) == (("a", 2), ("b", 3))


def test_what_was_replaced_is_known_to_be_and_what_did_not_come_is_not() -> None:
    dispute = Dispute(place("r", "mood"), (("a", 2), ("b", 3)))
    a, b = cell("a", 2), cell("b", 3)
    assert still_there(dispute, CellState((), (b, a))) == ([b, a], True)
    assert still_there(dispute, CellState((("a", 2),), (b, cell("c", 9)))) == ([b], True)
    assert still_there(dispute, CellState((), (b,))) == ([b], False)


@pytest.mark.parametrize(
    "payload", [None, {"place": "x", "writes": [["a", 1]]}, {"place": place("r", "x"), "writes": []}, {"place": 7}]
)
def test_what_is_no_conflict_is_refused(payload: Any) -> None:
    with pytest.raises(MemoryInvalid, match="cannot be submitted"):
        unpack_dispute(pack_value(payload))


def test_a_task_that_somebody_submits_by_hand_fails_with_a_sentence() -> None:
    async def scenario() -> None:
        agent = Agent("kevin")
        agent.merge("mood", retries=0)(merge)
        lab = Lab(agent, "a")
        await lab.form()
        ok, error = await lab.outcome("merge:merge", {"place": "mood"})
        assert (ok, "cannot be submitted" in error) == (False, True)

    run(scenario)


def test_what_would_expire_expires_when_the_last_of_the_values_would_have() -> None:
    async def scenario() -> None:
        agent = Agent("kevin")

        @agent.merge("*")
        async def first(ctx: Context, conflict: Conflict) -> Any:
            ctx.memory.counter("merged").add()  # a merge may write elsewhere as well
            return conflict.values[0].value

        lab = Lab(agent, "ab")
        await lab.form()
        now_ms = int(lab.engine("a").world.wall() * 1000)
        for name, far in (("a", 60_000), ("b", 90_000)):
            for where, ends in (("soon", now_ms + far), ("never", now_ms + far if name == "a" else 0)):
                lab.engine(name).memory.write([Put("r", where, "", pack_memory(name), (), ends)], "")
        cells = lab.engine("a").memory.cells
        tallies = lab.engine("a").memory.tallies
        await lab.sure(lambda: place("c", "merged") in tallies and tallies[place("c", "merged")].value == 2)
        assert cells[place("r", "soon")].live[0].expires_ms == now_ms + 90_000
        assert cells[place("r", "never")].live[0].expires_ms == 0

    run(scenario)


def test_a_conflict_that_was_resolved_meanwhile_is_left_alone() -> None:
    async def scenario() -> None:
        agent = Agent("kevin")
        called: list[Conflict] = []

        @agent.merge("mood")
        async def first(ctx: Context, conflict: Conflict) -> Any:
            called.append(conflict)

        lab = Lab(agent, "a")
        engine = await lab.form()
        engine.memory.write([Put("r", "mood", "", pack_memory(1)), Put("r", "mood", "", pack_memory(2))], "")
        dispute = find_dispute(place("r", "mood"), engine.memory.cells[place("r", "mood")], 0)
        assert dispute is not None
        seen = engine.memory.cells[place("r", "mood")].context()
        engine.memory.write([Put("r", "mood", "", pack_memory(3), seen)], "")
        assert await lab.outcome("merge:first", {"place": dispute.place, "writes": list(dispute.writes)}) == (
            *(True,),
            "resolved meanwhile",
        )
        assert called == []

    run(scenario)


def test_a_handler_that_read_one_of_the_values_replaces_only_that_one() -> None:
    async def scenario() -> None:
        agent = Agent("kevin")
        agent.merge("mood")(merge)

        @agent.task("write")
        async def write(ctx: Context, how: Any) -> None:
            recall: Recall = ctx.memory
            if how == "all":
                recall.conflicts("mood")
            else:
                recall.get("mood")
            recall["mood"] = how

        lab = Lab(agent, "ab")
        await lab.form()
        state = lab.engine("a").ledger.state

        def texts() -> list[bytes]:
            return sorted(one.value for one in state.cells[place("r", "mood")].live)

        for name in "ab":
            lab.engine(name).memory.write([Put("r", "mood", "", pack_memory(name))], "")
        await lab.sure(lambda: len(texts()) == 2)
        assert await lab.outcome("write", "one") == (True, None)
        await lab.sure(lambda: len(texts()) == 2)
        assert pack_memory("one") in texts()
        assert await lab.outcome("write", "all", key="k2") == (True, None)
        assert texts() == [pack_memory("all")]

    run(scenario)
