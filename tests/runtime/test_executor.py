"""Slots, attempts, retries, outcomes; and which of the open tasks a replica claims."""

import asyncio
import dataclasses
from typing import Any

import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.ownership import owner
from actonce.settings import LAN, PAYLOAD_BYTES_MAX
from actonce_crdt import Claim, Task, pack_value

from .lab import Lab, run, turns

TWO_SLOTS = dataclasses.replace(LAN, slots=2)
FEW_SLOTS = 2


class Handlers:
    """One kind of task that fails as often as its payload says, another that waits to be told."""

    def __init__(self) -> None:
        self.agent = Agent("kevin")
        self.attempts: list[int] = []
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.go = asyncio.Event()
        self.agent.task("flaky", retries=2)(self.flaky)
        self.agent.task("waits")(self.waits)
        self.agent.task("endless", retries=1, timeout=5.0)(self.endless)
        self.agent.task("returns")(self.returns)

    async def flaky(self, ctx: Context, failures: int) -> str:
        self.attempts.append(ctx.attempt)
        if ctx.attempt <= failures:
            raise ValueError(f"failure {ctx.attempt}")
        return f"attempt {ctx.attempt} under {ctx.fence}"

    async def waits(self, ctx: Context, payload: Any) -> None:
        self.begun.append(ctx.task)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(ctx.task)
            raise

    async def endless(self, ctx: Context, payload: Any) -> None:
        self.attempts.append(ctx.attempt)
        await asyncio.Event().wait()

    async def returns(self, ctx: Context, what: str) -> Any:
        values = {"a set": {1}, "a float": 0.5, "too much": "x" * PAYLOAD_BYTES_MAX, "nan": float("nan")}
        self.attempts.append(ctx.attempt)
        return values[what]


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_failed_attempt_is_tried_again(failures: int) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        await lab.form()
        ok, result = await lab.outcome("flaky", failures)
        assert (ok, result) == (True, f"attempt {failures + 1} under 1")
        assert handlers.attempts == list(range(1, failures + 2))

    run(scenario)


def test_the_last_failure_is_the_outcome() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        await lab.form()
        assert await lab.outcome("flaky", 9) == (False, "ValueError: failure 3")
        assert handlers.attempts == [1, 2, 3]
        tries = lab.state("flaky/k").tries
        assert tries is not None
        assert tries.attempt == 2, "the last one is the outcome itself"

    run(scenario)


def test_attempts_are_counted_over_all_replicas() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent, "ab", dataclasses.replace(LAN, retry_wait_s=5.0))
        await lab.form()
        lab.put("flaky", 9)
        await lab.sure(lambda: bool(handlers.attempts))
        await lab.sure(lambda: all(e.ledger.state.tasks["flaky/k"].tries is not None for e in lab.live()))
        first = lab.state("flaky/k").claim
        assert first is not None
        lab.kill(first.author)
        other = "b" if first.author == "a" else "a"
        assert await lab.outcome("flaky", 9, name=other) == (False, "ValueError: failure 3")
        assert handlers.attempts == [1, 2, 3]

    run(scenario)


def test_an_attempt_has_a_time_limit() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        await lab.form()
        assert await lab.outcome("endless") == (False, "timed out after 5 s")
        assert handlers.attempts == [1, 2]
        assert lab.loop.time() >= 10.0

    run(scenario)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a set", "the result cannot be stored"),
        ("nan", "the result cannot be stored"),
        ("too much", f"the limit is {PAYLOAD_BYTES_MAX:,} bytes"),
    ],
)
def test_a_result_that_cannot_be_stored_fails_for_good(what: str, words: str) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        await lab.form()
        ok, error = await lab.outcome("returns", what)
        assert not ok
        assert words in error
        assert handlers.attempts == [1]

    run(scenario)


def test_no_more_handlers_than_slots_in_the_order_of_coming() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent, settings=TWO_SLOTS)
        engine = await lab.form()
        for index in range(5):
            lab.put("waits", key=f"k{index}")
        await lab.sure(lambda: len(handlers.begun) == FEW_SLOTS)
        await turns()
        assert handlers.begun == ["waits/k0", "waits/k1"]
        assert engine.executor.free == 0
        assert lab.state("waits/k2").claim is None, "what cannot run is not claimed"
        handlers.go.set()
        await lab.sure(lambda: not engine.claims.open)
        assert handlers.begun == [f"waits/k{index}" for index in range(5)]
        assert engine.executor.idle

    run(scenario)


def test_a_higher_claim_cancels_the_handler() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        engine = await lab.form()
        lab.put("waits")
        await lab.sure(lambda: bool(handlers.begun))
        run_ = engine.executor.running["waits/k"]
        engine.ledger.write(Claim("waits/k", engine.ledger.stamp(), "z", run_.epoch + 1, 1))
        assert run_.revoked
        await lab.sure(lambda: bool(handlers.cancelled))
        await turns()
        assert engine.executor.running.get("waits/k") is not run_
        assert lab.state("waits/k").done is None, "what a superseded run has to say is not written"

    run(scenario)


def test_a_lower_claim_does_not() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        engine = await lab.form()
        lab.put("waits")
        await lab.sure(lambda: bool(handlers.begun))
        engine.ledger.write(Claim("waits/k", engine.ledger.stamp(), "z", 0, 1))
        await turns()
        assert not engine.executor.running["waits/k"].revoked

    run(scenario)


def test_who_leaves_takes_nothing_new_and_finishes_what_it_has() -> None:
    async def scenario() -> None:
        handlers, idle = Handlers(), asyncio.Event()
        lab = Lab(handlers.agent, "ab")
        engine = await lab.form()
        keys = [f"k{index}" for index in range(20)]
        mine = next(key for key in keys if owner(f"waits/{key}", engine.membership.in_play(), bool) == engine.me)
        lab.put("waits", key=mine)
        await lab.sure(lambda: bool(handlers.begun))
        engine.drain(idle.set)
        assert not idle.is_set()
        for key in keys:
            lab.put("waits", key=key)
        await lab.sure(lambda: len(handlers.begun) == len(keys))
        assert list(engine.executor.running) == [f"waits/{mine}"]
        assert not idle.is_set()
        handlers.go.set()
        await lab.sure(idle.is_set)
        await lab.sure(lambda: not lab.engine("b").claims.open)

    run(scenario)


def test_a_task_of_a_kind_that_only_another_version_has_waits() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        engine = await lab.form()
        engine.ledger.write(Task("new/k", engine.ledger.stamp(), "a", "new", pack_value(None)))
        assert await lab.outcome("flaky", 0) == (True, "attempt 1 under 1")
        assert list(engine.claims.open) == ["new/k"]

    run(scenario)


def test_a_claim_takes_an_epoch_above_the_last() -> None:
    async def scenario() -> None:
        handlers = Handlers()
        lab = Lab(handlers.agent)
        engine = await lab.form()
        engine.ledger.write(Claim("flaky/k", engine.ledger.stamp(), "gone", 41, 1))
        assert await lab.outcome("flaky", 0) == (True, "attempt 1 under 42")
        assert any("takes flaky/k over from gone" in text for _, text in engine.notes)

    run(scenario)
