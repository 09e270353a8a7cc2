"""Quotas from the handler's side, in virtual time: turns, settling, cool-downs, budgets, changes of a limit."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from actonce import quota_report, reporting
from actonce.agent import Agent
from actonce.context import Context, SyncContext
from actonce.errors import QuotaTimeout
from actonce.limits import Resource
from actonce.settings import LAN

from .lab import Lab, run


class Work:
    """An agent whose one handler does what a test says."""

    def __init__(self, sync: bool = False, **quota: Any) -> None:
        self.agent = Agent("kevin")
        self.agent.quota("llm", flight=1.0, **quota)
        self.do: Callable[[Any, Any], Any] = lambda ctx, payload: None
        self.agent.task("do", retries=0)(self.plain if sync else self.handler)

    async def handler(self, ctx: Context, payload: Any) -> Any:
        return await self.do(ctx, payload)

    def plain(self, ctx: SyncContext, payload: Any) -> Any:
        return self.do(ctx, payload)


def basin(lab: Lab, index: int = 0, name: str = "a") -> Any:
    return lab.engine(name).quotas.pools["llm"].basins[index]


def quick(limit: int = 5, per: str | float = 2.0, **rest: Any) -> Work:
    return Work(limit=limit, per=per, **rest)


def test_a_turn_is_waited_for_and_explained() -> None:
    work = quick(1)

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm"):
            pass

    async def scenario() -> None:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        for number in range(3):
            lab.put("do", key=f"k{number}")
        await lab.sure(lambda: not lab.engine("a").claims.open)
        assert lab.loop.time() >= 4.0
        stories = [reporting.explain(lab.engine("a"), f"do/k{number}") for number in range(3)]
        waits = [note for story in stories if story for note in story["notes"] if "waited" in note]
        assert len(waits) == 2
        assert "s for quota llm: " in waits[0]

    run(scenario)


def test_what_was_not_used_comes_back_at_once_and_what_was_used_after_a_window() -> None:
    work = Work(limit=5, per=2.0, tokens=100)

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", tokens=80) as spend:
            spend.used(tokens=30)

    async def scenario() -> None:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        await lab.outcome("do")
        requests, tokens = basin(lab), basin(lab, 1)
        assert (requests.busy_total, tokens.busy_total, tokens.in_use) == (1, 30, 0)
        await anyio.sleep(2.5)
        lab.engine("a").quotas.pools["llm"].serve()
        assert (requests.busy_total, tokens.busy_total) == (0, 0)

    run(scenario)


def test_an_underestimate_is_reported_and_paid_back() -> None:
    work = Work(tokens=100, per=2.0)

    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", tokens=80) as spend:
            spend.used(tokens=120)

    async def scenario() -> None:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        await lab.outcome("do")
        assert (basin(lab).overshoot, basin(lab).free, basin(lab).busy_total) == (40, -20, 120)
        assert "llm/tokens: 40 more were used here than estimated" in reporting.degraded(lab.engine("a"))
        await lab.outcome("do", key="again")
        assert lab.loop.time() >= 2.0

    run(scenario)


@pytest.mark.parametrize(
    ("how", "busy_s"), [("unsent", 0.0), ("refused", 0.0), ("error", 3.0), ("done", 2.0), ("cancelled", 3.0)]
)
def test_failures(how: str, busy_s: float) -> None:
    """What surely was not sent is free at once; after an error what was sent may still arrive for `flight`."""
    work = quick()

    async def do(ctx: Context, payload: Any) -> None:
        with anyio.move_on_after(0.5):
            async with ctx.quota("llm", unsent=(ConnectionRefusedError,)) as spend:
                if how == "unsent":
                    spend.unsent()
                if how == "refused":
                    raise ConnectionRefusedError
                if how == "error":
                    raise ValueError
                if how == "cancelled":
                    await anyio.sleep(10)

    async def scenario() -> float:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        ended = lab.engine("a").world.now()
        await lab.outcome("do")
        ended = lab.engine("a").world.now() if how == "cancelled" else ended
        busy = basin(lab).busy
        return round(busy[0][0] - ended, 1) if busy else 0.0

    assert run(scenario) == pytest.approx(busy_s, abs=0.11)


def test_timeout_and_nowait() -> None:
    work = quick(1, 60.0)

    async def do(ctx: Context, payload: Any) -> Any:
        async with ctx.quota("llm", **payload):
            return "had it"

    async def scenario() -> None:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        assert await lab.outcome("do", {}, "one") == (True, "had it")
        ok, error = await lab.outcome("do", {"timeout": "3s"}, "two")
        assert not ok
        assert error.startswith("QuotaTimeout: waited 3.0 s for quota 'llm': 1 of the 1 requests")
        ok, error = await lab.outcome("do", {"nowait": True}, "three")
        assert not ok
        assert error.startswith("QuotaBusy: quota 'llm' has nothing free now: 1 of the 1 requests")
        assert basin(lab).queued == 0
        assert (await lab.outcome("do", {"words": 3}, "four"))[1].startswith("ConfigError: quota 'llm' has no unit")
        assert (await lab.outcome("do", {"priority": 99}, "five"))[1].startswith("ConfigError: priority=99")

    run(scenario)


def test_priorities_go_first_and_nobody_starves() -> None:
    work = quick(1, 1.0)
    order: list[str] = []

    async def do(ctx: Context, payload: Any) -> None:
        await anyio.sleep(payload["after"])
        async with ctx.quota("llm", priority=payload["priority"]):
            order.append(ctx.task.removeprefix("do/"))

    async def scenario() -> None:
        lab = Lab(work.agent, settings=replace(LAN, slots=100))
        await lab.form()
        work.do = do
        lab.put("do", {"after": 0.0, "priority": 0}, "first")
        for number in range(3):
            lab.put("do", {"after": 0.2, "priority": 0}, f"low{number}")
        for number in range(20):
            lab.put("do", {"after": 0.3 + 0.9 * number, "priority": 2}, f"high{number:02}")
        await lab.sure(lambda: not lab.engine("a").claims.open)
        assert order[:2] == ["first", "high00"]
        assert order.index("low2") <= 8  # two windows behind those who came before it, and its turn then

    run(scenario)


def test_all_or_nothing_without_holding_while_waiting() -> None:
    """A big call at the head is not starved by small ones, and holds nothing of the other unit meanwhile."""
    work = Work(limit=10, per=2.0, tokens=100)
    order: list[str] = []

    async def do(ctx: Context, payload: Any) -> None:
        await anyio.sleep(payload["after"])
        async with ctx.quota("llm", tokens=payload["tokens"]):
            order.append(ctx.task.removeprefix("do/"))

    async def scenario() -> None:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        lab.put("do", {"after": 0.0, "tokens": 60}, "half")
        lab.put("do", {"after": 0.1, "tokens": 100}, "all")
        for number in range(5):
            lab.put("do", {"after": 0.2, "tokens": 10}, f"small{number}")
        await anyio.sleep(1.0)
        assert order == ["half"]
        assert basin(lab).in_use == 0
        await lab.sure(lambda: not lab.engine("a").claims.open)
        assert order[:2] == ["half", "all"]

    run(scenario)


def test_a_plain_handler_uses_quotas_too() -> None:
    work = Work(sync=True, limit=1, per=2.0)

    def do(ctx: SyncContext, payload: Any) -> str:
        with ctx.quota("llm") as spend:
            spend.used(requests=1)
        try:
            with ctx.quota("llm", timeout=0.5):
                return "too early"
        except QuotaTimeout:
            return "waited"

    async def scenario() -> None:
        lab = Lab(work.agent)
        await lab.form()
        work.do = do
        assert await lab.outcome("do") == (True, "waited")

    run(scenario)


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
    monkeypatch.setattr(Resource, "period", lambda self, wall_s: int((wall_s - 1_700_000_000) // 1000))
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
        for name in "ab":
            lab.kill(name)
        for name in "ab":
            lab.start(name)
        await lab.sure(lambda: all(engine.membership.settled is not None for engine in lab.live()))
        ok, error = await lab.outcome("do", 60, "three")
        assert not ok, "160 of 200 were spent before the crash"
        assert "QuotaTimeout" in error
        spent = quota_report.quotas(lab.engine("a"))["limits"][0]["spent"]
        assert 160 <= spent <= 164  # a crash counts its open block as spent
        await anyio.sleep(1000.0 - lab.loop.time() + 150.0)
        assert (await lab.outcome("do", 180, "next day"))[0]

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
        assert warning == ["llm/requests: no rights exist yet; they are made by a"]

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
