"""Tasks coming in: when they are safe, what makes two of them one, what is refused."""

import asyncio
from functools import partial
from typing import Any

import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.errors import KeyReused, PayloadInvalid, PayloadTooLarge, UnknownKind
from actonce.inbox import Submitted, pack_payload, task_id
from actonce.settings import KEY_BYTES_MAX, PAYLOAD_BYTES_MAX
from actonce_crdt import Done, unpack_value

from .lab import Lab, run, turns


def make_agent() -> Agent:
    agent = Agent("kevin")

    @agent.task("echo")
    async def echo(ctx: Context, payload: Any) -> Any:
        return payload

    return agent


def test_alone_the_disk_is_enough() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent())
        engine = await lab.form()
        answers = lab.put("echo")
        await turns()
        assert answers == [], "not on disk yet"
        await lab.sure(lambda: bool(answers))
        assert answers == [Submitted("echo/k", new=True)]
        assert engine.ledger.durable_clock >= 1

    run(scenario)


def test_with_a_live_peer_it_must_have_read_it() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        engine = await lab.form()
        lab.network.cuts.add(("a", "b"))
        answers = lab.put("echo")
        clock = engine.ledger.next_clock
        await lab.sure(lambda: engine.ledger.durable_clock >= clock)
        await turns()
        assert answers == [], "on our disk only"
        lab.network.heal()
        await lab.sure(lambda: bool(answers))
        assert "echo/k" in lab.engine("b").ledger.state.tasks

    run(scenario)


def test_a_peer_that_died_is_not_waited_for() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        lab.kill("b")
        answers = lab.put("echo")
        await lab.sure(lambda: bool(answers))

    run(scenario)


def test_before_it_is_settled_nothing_is_acknowledged() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        lab.start("a")
        answers = lab.put("echo")
        assert not await lab.until(lambda: bool(answers), 5)
        lab.start("b", new=True)
        await lab.sure(lambda: bool(answers))

    run(scenario)


def test_one_key_is_one_task_wherever_it_comes_in() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        first = lab.put("echo", {"a": 1, "b": 2})
        await lab.sure(lambda: bool(first))
        for name in "ab":
            again = lab.put("echo", {"b": 2, "a": 1}, name=name)
            await lab.sure(partial(bool, again))
            assert again == [Submitted("echo/k", new=False)]

    run(scenario)


def test_one_key_with_two_payloads_is_refused() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent())
        await lab.form()
        lab.put("echo", 1)
        with pytest.raises(KeyReused, match="'k' was used before"):
            lab.put("echo", 2)

    run(scenario)


def test_without_a_key_every_task_is_new() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent())
        engine = await lab.form()
        answers = lab.put("echo", 1, key=None) + lab.put("echo", 1, key=None)
        await lab.sure(lambda: not engine.claims.open)
        assert len(engine.ledger.state.tasks) == 2, answers

    run(scenario)


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent())
        await lab.form()
        with pytest.raises(UnknownKind, match=r"no handler for 'reply'; it has: echo"):
            lab.put("reply")

    run(scenario)


@pytest.mark.parametrize("key", ["", "\n", "a\x00b", "\ud800", 7, None, "x" * (KEY_BYTES_MAX + 1), "ä" * 101])
def test_what_cannot_be_a_key(key: object) -> None:
    with pytest.raises(PayloadInvalid):
        task_id("echo", key)


@pytest.mark.parametrize("key", ["x", "message 1/2", "ä" * 100, "x" * KEY_BYTES_MAX, "#1"])
def test_what_can(key: str) -> None:
    assert task_id("echo", key) == f"echo/{key}"


@pytest.mark.parametrize("value", [{"a": [1, {2}]}, {1: 2}, float("inf"), float("nan"), 1 << 64, "\ud800", object()])
def test_payloads_are_like_json(value: Any) -> None:
    with pytest.raises(PayloadInvalid, match="the payload cannot be stored"):
        pack_payload("the payload", value)


def test_what_is_wrong_with_a_payload_is_said_with_its_place() -> None:
    with pytest.raises(PayloadInvalid, match=r"a\[1\]"):
        pack_payload("the payload", {"a": [1, float("nan")]})


def test_the_limit_of_a_payload() -> None:
    overhead = 5
    assert len(pack_payload("it", "x" * (PAYLOAD_BYTES_MAX - overhead))) == PAYLOAD_BYTES_MAX
    with pytest.raises(PayloadTooLarge, match=r"it has 131,073 bytes; the limit is 131,072 bytes"):
        pack_payload("it", "x" * (PAYLOAD_BYTES_MAX - overhead + 1))


def test_the_largest_payload_travels() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        payload = "x" * (PAYLOAD_BYTES_MAX - 5)
        assert await lab.outcome("echo", payload) == (True, payload)
        await lab.sure(lab.converged)

    run(scenario)


def test_an_outcome_is_told_to_all_who_wait_and_only_to_them() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        told: list[Done] = []
        stopped: list[Done] = []
        for name in "ab":
            lab.engine(name).inbox.result("echo/k", told.append)
            stop = lab.engine(name).inbox.result("echo/k", stopped.append)
            stop()
            stop()
        lab.put("echo", 7)
        await lab.sure(lambda: len(told) == 2)
        lab.engine("a").inbox.result("echo/k", told.append)
        assert [unpack_value(done.result) for done in told] == [7, 7, 7]
        assert stopped == []

    run(scenario)


def test_an_outcome_of_our_own_is_told_from_disk() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent())
        engine = await lab.form()
        durable: list[bool] = []
        told = asyncio.Event()

        def reply(done: Done) -> None:
            durable.append(engine.ledger.durable_clock == engine.ledger.next_clock)
            told.set()

        engine.inbox.result("echo/k", reply)
        lab.put("echo", 7)
        await lab.sure(told.is_set)
        assert durable == [True]

    run(scenario)
