"""Quotas from the handler's side, in virtual time: turns, settling, time limits, priorities."""

from dataclasses import replace
from typing import Any

import anyio
import pytest
from tests.runtime.lab import Lab, run

from actonce import reporting
from actonce.agent import Agent
from actonce.context import Context, SyncContext
from actonce.errors import QuotaTimeout
from actonce.settings import LAN
from actonce.sim.adopt import Adopted, work_of
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, run_seed

from .quota_work import Work, basin, quick


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
        await anyio.sleep(1.0)
        now = [reporting.explain(lab.engine("a"), f"do/k{number}") for number in range(3)]
        waiting = [note for story in now if story for note in story["notes"] if "has waited" in note]
        assert len(waiting) == 2
        assert "for quota llm: 1 of the 1 requests that this replica has reserved were in use" in waiting[0]
        await lab.sure(lambda: not lab.engine("a").claims.open)
        assert lab.loop.time() >= 4.0
        assert not lab.engine("a").quotas.waiting
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
        used = basin(lab)
        return round(used.next_at - ended, 1) if used.busy_total else 0.0

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


def test_a_users_agent_is_simulated_with_its_quotas() -> None:
    agent = Agent("kevin")
    agent.quota("llm", 5, 1.0)

    @agent.task("do", example={"n": 1})
    async def do(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm"):
            await anyio.sleep(0.1)

    work = work_of(agent, {})
    made = Scenario(seconds=10.0, tasks=40, work=work, mix=Mix(weights=(("Crash", 1), ("Leave", 1))))
    outcomes = [run_seed(seed, made, Adopted(agent)) for seed in (1, 1, 2)]
    assert [outcome.violations for outcome in outcomes] == [[], [], []]
    assert outcomes[0].trace == outcomes[1].trace
