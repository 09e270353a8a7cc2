"""Quotas beyond one call, in virtual time: cool-downs, adaptive limits, budgets, changes of a limit."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.runtime.lab import Lab, run

from actonce import quota_report, reporting
from actonce.agent import Agent
from actonce.context import Context
from actonce.limits import Resource

from .quota_work import Work, quick


def long_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calendar days of 1,000 seconds."""
    began = 1_700_000_000
    monkeypatch.setattr(Resource, "period", lambda self, wall_s: int((wall_s - began) // 1000))
    monkeypatch.setattr(Resource, "period_ends", lambda self, wall_s: ((wall_s - began) // 1000 + 1) * 1000 + began)


def test_one_learns_of_a_cool_down_and_all_obey_it() -> None:
    work = quick(30, 2.0)
    times: dict[str, float] = {}

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", scope=payload.get("scope", "")) as spend:
            times[ctx.task] = lab_time()
            if "status" in payload:
                spend.answered(payload["status"], {"Retry-After": "5"}, everything=payload.get("everything", False))

    lab_time: Callable[[], float] = lambda: 0.0  # noqa: E731

    async def scenario() -> None:
        nonlocal lab_time
        lab = Lab(work.agent, "abc")
        lab_time = lab.loop.time
        await lab.form()
        work.do = do
        began = lab.loop.time()
        await lab.outcome("do", {"scope": "gpt", "status": 429}, "first")
        await anyio.sleep(0.1)
        facts = [quota_report.quotas(lab.engine(name))["quotas"]["llm"]["cooling_s"] for name in "abc"]
        assert all(4.5 < fact["gpt"] <= 5.0 for fact in facts)
        entries = lab.engine("a").ledger.document.entry_count
        await lab.outcome("do", {"scope": "other"}, "free")
        assert lab.loop.time() - began < 1.0
        for number in range(6):
            lab.put("do", {"scope": "gpt"}, f"k{number}")
        await lab.sure(lambda: all(not engine.claims.open for engine in lab.live()))
        assert all(times[f"do/k{number}"] - began >= 5.0 for number in range(6))
        cools = [e for e in lab.engine("a").ledger.document.entries() if b"\xa4cool" in e.data]
        assert len(cools) == 1
        assert lab.engine("a").ledger.document.entry_count > entries

    run(scenario)


def test_a_cool_down_outlives_a_restart_and_a_clock_that_is_ahead_cannot_stop_all_for_long() -> None:
    work = quick(30, 2.0)

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm") as spend:
            spend.cool(payload)

    async def scenario() -> None:
        lab = Lab(work.agent, "ab")
        await lab.form()
        lab.skew("a", 3600.0)
        work.do = do
        await lab.outcome("do", 10.0)
        await lab.sure(lambda: all("" in engine.quotas.pools["llm"].cool for engine in lab.live()))
        for engine in lab.live():
            assert engine.quotas.pools["llm"].cool[""] - engine.world.now() <= 10.0
        lab.kill("b")
        lab.start("b")
        await anyio.sleep(0.5)
        engine = lab.engine("b")
        assert 5.0 < engine.quotas.pools["llm"].cool[""] - engine.world.now() <= 10.0

    run(scenario)


def test_adaptive_halves_once_for_many_complaints_and_comes_back() -> None:
    work = quick(40, 2.0, adaptive=True)

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm") as spend:
            spend.answered(429, {})

    async def scenario() -> None:
        lab = Lab(work.agent, "ab")
        await lab.form()
        work.do = do
        for number in range(8):
            lab.put("do", key=f"k{number}")
        await anyio.sleep(0.5)
        now = [engine.quotas.pools["llm"].factor(engine.world.now()) for engine in lab.live()]
        assert all(0.5 <= factor < 0.56 for factor in now), now
        await anyio.sleep(11.0)
        assert all(engine.quotas.pools["llm"].factor(engine.world.now()) == 1.0 for engine in lab.live())

    run(scenario)


def test_a_budget_survives_restarts_and_raises_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    long_days(monkeypatch)
    work = Work(cents=(200, "day"))

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", cents=payload, timeout=1.0):
            pass

    async def scenario() -> None:
        lab = Lab(work.agent, "ab")
        await lab.form()
        work.do = do
        await anyio.sleep(300.0)  # rights of a budget do not move just after its renewal
        assert (await lab.outcome("do", 80, "one"))[0]
        notes = [text for engine in lab.live() for _, text in engine.notes if "budget" in text]
        assert notes == []
        assert (await lab.outcome("do", 80, "two"))[0]
        await lab.sure(lab.converged)
        await anyio.sleep(0.2)
        for engine in lab.live():
            assert "llm/cents: 80 % of the budget of this day is used" in [text for _, text in engine.notes]
            assert "llm/cents: 80 % of the budget of this day is used" in reporting.degraded(engine)
        for name in "ab":
            lab.kill(name)
        for name in "ab":
            lab.start(name)
        await lab.sure(lambda: all(engine.membership.settled is not None for engine in lab.live()))
        ok, error = await lab.outcome("do", 60, "three")
        assert not ok, "160 of 200 were spent before the crash"
        assert "QuotaTimeout" in error
        await anyio.sleep(10.0)  # what was opened for that call is sealed again
        spent = quota_report.quotas(lab.engine("a"))["limits"][0]["spent"]
        assert 160 <= spent <= 168  # a crash counts what was open as spent: here blocks of two
        await anyio.sleep(1000.0 - lab.loop.time() + 150.0)
        assert (await lab.outcome("do", 180, "next day"))[0]

    run(scenario)


def test_what_a_replica_spent_before_it_left_stays_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    long_days(monkeypatch)
    work = Work(cents=(200, "day"))

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", cents=payload, timeout=5.0):
            pass

    async def scenario() -> None:
        lab = Lab(work.agent, "ab")
        await lab.form()
        work.do = do
        await anyio.sleep(300.0)
        numbers = iter(range(100))
        while not lab.engine("b").quotas.pools["llm"].basins[0].busy_total:
            assert (await lab.outcome("do", 10, f"k{next(numbers)}", "b"))[0]
        spent = 10 * next(numbers)
        await lab.leave("b")
        await anyio.sleep(1.0)
        facts = quota_report.quotas(lab.engine("a"))["limits"][0]
        assert spent <= facts["spent"] <= spent + 20, facts
        assert facts["held"] == 200
        ok, error = await lab.outcome("do", 195, "too much")
        assert not ok
        assert error.startswith("QuotaTimeout")

    run(scenario)


def test_a_budget_that_is_used_up_says_until_when_calls_wait() -> None:
    work = Work(cents=(10, "day"))

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", cents=10):
            pass

    async def scenario() -> None:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        assert (await lab.outcome("do"))[0]
        word = (
            "llm/cents: 100 % of the budget of this day is used; calls that need more wait until 2023-11-15 00:00 UTC"
        )
        await lab.sure(lambda: word in reporting.degraded(lab.engine("a")))

    run(scenario)


def test_a_limit_that_is_raised_or_lowered_follows_the_founder() -> None:
    agents = {name: Work(limit=30, per=2.0).agent for name in "ab"}

    async def scenario() -> None:
        lab = Lab(agents["a"], "ab")
        lab._make_agent = lambda world, feed: agents[world.name]
        await lab.form()
        await anyio.sleep(2.0)
        for limit in (50, 20):
            for name in "ba":
                work = Work(limit=limit, per=2.0)
                agents[name] = work.agent
                await lab.leave(name)
                lab.start(name)
                await lab.sure(lambda: all(len(e.membership.view.members) == 2 for e in lab.live()))
            await anyio.sleep(8.0)
            state = lab.engine("b").quotas.slots["llm/requests"].account.state()
            assert state.founded - state.destroyed == limit
            assert sum(engine.quotas.slots["llm/requests"].account.held for engine in lab.live()) == limit
            assert quota_report.quotas(lab.engine("b"))["warnings"] == []

    run(scenario)


def test_rights_of_an_agent_that_nobody_founded_are_named() -> None:
    bare = Agent("kevin")
    bare.task("do")(Work(limit=1).handler)
    agents = {"a": bare, "b": Work(limit=30, per=2.0).agent}

    async def scenario() -> None:
        lab = Lab(bare, "ab")
        lab._make_agent = lambda world, feed: agents[world.name]
        await lab.form()
        warning = quota_report.quotas(lab.engine("b"))["warnings"]
        how = "make them once, on one replica, with `actonce quota --found`"
        assert warning == [f"llm/requests: no rights exist yet; {how}"]
        assert lab.engine("a").quotas.found_late() == "the agent of this replica declares no quota"
        assert lab.engine("b").quotas.found_late() is None
        assert lab.engine("b").quotas.found_late() == "rights were founded by b already"
        assert lab.engine("b").quotas.slots["llm/requests"].account.held == 30

    run(scenario)


def test_facts_are_json() -> None:
    work = Work(limit=5, per=2.0, tokens=100, cents=(10, "month"), adaptive=True, burst=2)

    async def scenario() -> None:
        lab = Lab(work.agent, "ab")
        await lab.form()
        json.dumps(quota_report.quotas(lab.engine("a")))
        status = reporting.status(lab.engine("b"))
        json.dumps(status)
        assert sorted(status["quotas"]) == ["llm/cents", "llm/requests", "llm/requests.burst", "llm/tokens"]
        assert status["degraded"] == []

    run(scenario)


def test_who_does_not_know_a_quota_is_given_no_rights() -> None:
    bare = Agent("kevin")
    bare.task("do")(Work(limit=1).handler)
    agents = {"a": Work(limit=30, per=2.0).agent, "b": bare, "c": Work(limit=30, per=2.0).agent}

    async def scenario() -> None:
        lab = Lab(bare, "abc")
        lab._make_agent = lambda world, feed: agents[world.name]
        await lab.form()
        await anyio.sleep(5.0)
        held = [lab.engine(name).quotas.slots["llm/requests"].account.held for name in "ac"]
        assert held == [15, 15]

    run(scenario)
