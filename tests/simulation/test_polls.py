"""Polled sources: one poller, the others stand by; no item lost, none handled twice, and the cursor never goes back.

POLLS_SEEDS=50 runs that many seeds of each scenario.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actonce import Item, Polled, SourceContext
from actonce.reporting import status
from actonce.settings import LAN
from actonce.standing import Target
from actonce_crdt import Cursor

from . import planted_polls as planted
from .mesh import run
from .polling import PERIOD_S, Polling, away, killed

SEEDS = int(os.environ.get("POLLS_SEEDS", "1"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_killed_poller_loses_no_item_and_doubles_none(seed: int) -> None:
    cluster = run(killed, seed, 6)
    assert cluster.wrong == []
    assert cluster.items > 40
    assert len({call.replica for call in cluster.calls}) > 1, "nobody ever took over"
    assert all(not engine.ledger.state.tasks["poll:feed_of"].deaths for engine in cluster.live())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_poller_that_slept_changes_nothing(seed: int) -> None:
    cluster = run(away, seed, "pause")
    assert cluster.wrong == []
    assert len({call.replica for call in cluster.calls}) > 1


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_a_partition_one_cursor_counts_and_no_item_is_lost(seed: int) -> None:
    """Each side polls, and handles what it reads: an item is handled once a side, and never lost."""
    cluster = run(away, seed, "cut")
    wrong = [text for text in cluster.wrong if "handled" not in text and "polled from" not in text]
    assert wrong == []
    assert cluster.is_quiet
    assert all(count <= 2 for count in cluster.handled().values())


@pytest.mark.parametrize(("remembered_s", "times"), [(60.0, 1), (0.5, 2)])
def test_what_the_other_side_read_is_known_while_it_is_remembered(remembered_s: float, times: int) -> None:
    """The cursor of the side that saw less of the outside counts after the cut. The limit that `polls` states."""

    async def cut_off() -> tuple[int, list[int]]:
        settings = replace(LAN, retention_s=remembered_s, forget_after_s=2 * remembered_s)
        cluster = Polling(1, "abc", settings=settings)
        seen = {"a": 0, "b": 0, "c": 0}

        def answer(ctx: SourceContext, cursor: Any) -> Polled:
            here, since = seen[ctx._desk.polls.me], cursor or 0
            found = range(since, max(since, here))
            return Polled([Item(f"item-{number}", number) for number in found], max(since, here))

        cluster.answer = answer
        await cluster.form()
        poller = cluster.poller()
        others = seen.keys() - {poller}
        cluster.network.cut({poller}, others)
        seen |= {poller: 9} | dict.fromkeys(others, 1)
        await asyncio.sleep(15.0)
        cluster.network.heal()
        seen |= dict.fromkeys(seen, 9)
        await asyncio.sleep(5.0)
        return cluster.handled()[0], [cluster.handled()[number] for number in range(1, 9)]

    twice, others = run(cut_off)
    assert twice == 2, "by each side"
    assert others == [times] * 8


def test_with_a_majority_only_one_side_polls() -> None:
    cluster = run(away, 2, "cut", "majority")
    assert [text for text in cluster.wrong if "handled" not in text] == []
    assert cluster.is_quiet
    assert len({call.replica for call in cluster.calls}) > 1


async def leaving() -> Polling:
    cluster = Polling(5, "abc", forgets=False)
    await cluster.form()
    feeding = asyncio.ensure_future(cluster.feed_items(12.0))
    for _ in range(3):
        await asyncio.sleep(3.0)
        name = cluster.poller()
        before = len(cluster.calls)
        await cluster.leave(name)
        assert await cluster.until(lambda before=before: len(cluster.calls) > before, 1.5)  # type: ignore[misc]
        assert cluster.calls[-1].replica != name
        cluster.start(name)
        assert await cluster.whole()
    await feeding
    await cluster.rest()
    return cluster


def test_a_poller_that_leaves_hands_over_at_once() -> None:
    cluster = run(leaving)
    assert cluster.wrong == []
    assert cluster.most_busy == 1


async def quiet() -> tuple[int, int, list[int]]:
    cluster = Polling(6, "ab")
    await cluster.form()
    cluster.items = 3
    await cluster.rest()
    engine = cluster.live()[0]
    entries, calls = engine.ledger.document.entry_count, len(cluster.calls)
    await asyncio.sleep(100 * PERIOD_S)
    free = [engine.executor.free for engine in cluster.live()]
    return engine.ledger.document.entry_count - entries, len(cluster.calls) - calls, free


def test_a_source_without_news_writes_nothing_and_holds_no_slot() -> None:
    written, calls, free = run(quiet)
    assert written == 0
    assert 90 <= calls <= 101
    assert free == [LAN.slots, LAN.slots]


async def ordered() -> list[tuple[str, set[str]]]:
    """Who polls under which order: (order, replicas that called in the two seconds after it)."""
    cluster = Polling(8, "ab")
    await cluster.form()
    await asyncio.sleep(3.0)
    name, found = cluster.poller(), list[tuple[str, set[str]]]()
    replica, kind, agent = Target(replica=name), Target(kind="poll:feed_of"), Target()
    orders = ((replica, "pause"), (replica, "run"), (kind, "pause"), (kind, "run"))
    for target, mode in (*orders, (agent, "drain"), (agent, "run"), (agent, "halt"), (agent, "run")):
        cluster.engine("a").control.order(target, mode, "", lambda ordered: None)
        await asyncio.sleep(1.0)
        before = len(cluster.calls)
        cluster.items += 1
        await asyncio.sleep(2.0)
        called = {call.replica for call in cluster.calls[before:]}
        found.append((f"{mode} {target.key.partition(':')[0]}", {"it" if one == name else "another" for one in called}))
    await cluster.rest()
    assert cluster.wrong == []
    return found


def test_orders_are_obeyed_by_polls() -> None:
    assert run(ordered) == [
        ("pause replica", {"another"}),
        ("run replica", {"another"}),
        ("pause kind", set()),
        ("run kind", {"another"}),
        ("drain agent", set()),
        ("run agent", {"another"}),
        ("halt agent", set()),
        ("run agent", {"another"}),
    ]


BAD_ANSWERS: tuple[tuple[Any, str], ...] = (
    ([("k", 1)], "a poll returns (items, cursor), not a list"),
    (("abc", 1), "a poll returns (items, cursor) with a list of items, not text"),
    (([1], 1), "an item is (key, payload) or (key, payload, kind), not a number"),
    (([(7, 1)], 1), "key 7: a key is printable text"),
    (([("k", object())], 1), "the payload of item 'k' cannot be stored"),
    (([("k", 1, "unheard")], 1), "item 'k' is of kind 'unheard', for which the agent has no handler"),
    (([("k", 1, "poll:feed_of")], 1), "item 'k' is of kind 'poll:feed_of', for which the agent has no handler"),
    (([], "1"), "the cursor is text, and was a number: return the same type as before, or give the source another"),
    (([], None), "the cursor is nothing, and was a number"),
    (([], {1, 2}), "the cursor is of type set, and was a number"),
    (([("k", 1)] * 1001, 1), "1,001 items at once; the limit is 1,000"),
)


async def refused(bad: Any) -> tuple[list[str], list[str], list[Cursor], int]:
    cluster = Polling(7, "ab")
    await cluster.form()
    cluster.items = 3
    await cluster.rest()
    before = cluster.live()[0].ledger.state.cursors["feed_of"]

    def answer(ctx: SourceContext, cursor: Any) -> Any:
        if isinstance(bad, Exception):
            raise bad
        return bad

    cluster.answer = answer
    await asyncio.sleep(3.0)
    named = [text for engine in cluster.live() for text in status(engine)["degraded"]]
    after = cluster.live()[0].ledger.state.cursors["feed_of"]
    cluster.answer = None
    cluster.items += 1
    await cluster.rest()
    left = [text for engine in cluster.live() for text in status(engine)["degraded"]]
    assert not cluster.failures
    return named, left, [before, after], cluster.handled().total()


@pytest.mark.parametrize(("bad", "sentence"), BAD_ANSWERS, ids=lambda value: str(value)[:30])
def test_a_bad_answer_changes_nothing_and_is_named(bad: Any, sentence: str) -> None:
    named, left, (before, after), handled = run(refused, bad)
    assert len(named) == 1
    assert sentence in named[0]
    assert "\n" not in named[0]
    assert left == []
    assert before == after
    assert handled == 4


def test_a_poll_that_raises_is_named_and_called_again() -> None:
    named, left, (before, after), handled = run(refused, ConnectionError("no route to the feed"))
    assert "calls in a row failed, the last with ConnectionError: no route to the feed" in named[0]
    assert left == []
    assert before == after
    assert handled == 4


FAULTS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], Callable[..., Any], Any, int, str], ...] = (
    (planted.cursor_before_tasks, killed, 6, 2, "was lost"),
    (planted.cursor_by_arrival, away, "cut", 0, ": cursor ("),
    (planted.cursor_by_number_only, away, "pause", 5, "polled from"),
    (planted.key_by_poller, killed, 6, 1, "was handled 2 times"),
)


@pytest.mark.parametrize(
    ("fault", "scenario", "how", "seed", "sentence"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_planted_fault_is_found(
    fault: Callable[[pytest.MonkeyPatch], None],
    scenario: Callable[..., Any],
    how: Any,
    seed: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the seed that found it when this was written."""
    fault(monkeypatch)
    for later in range(20):
        found = run(scenario, seed + later, how).wrong
        if any(sentence in text for text in found):
            return
    pytest.fail("not found in 20 seeds")
