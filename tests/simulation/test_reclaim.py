"""Rights of dead replicas, taken by a majority once their lease has ended; and the deliberate faults of that."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.runtime.lab import Lab, run

from actonce import quota_report, reporting
from actonce.agent import Agent
from actonce.errors import ConfigError
from actonce.sim.limit_checkers import Watch, over, rights_return
from actonce.sim.run import run_seed

from . import limited
from .limited import Patch, about_limits, scenario
from .planted_leases import given_unannounced, kept_by_who_returns, reclaimed_too_early, taken_for_fresh
from .test_demand import Callers, check, held, used

SEEDS = int(os.environ.get("LIMITS_SEEDS", 1))
FIRST = int(os.environ.get("LIMITS_FIRST", 3))
LIMIT, RECLAIM_S, FLIGHT_S, WINDOW_S = 30, 7.0, 0.5, 2.0
DAYS: dict[str, Any] = {"seconds": 30.0, "tasks": 150, "mix": limited.LONG_CUTS}


def leased_agent() -> Agent:
    agent = Agent("kevin")
    agent.quota("llm", LIMIT, WINDOW_S, flight=FLIGHT_S, reclaim=RECLAIM_S)
    return agent


async def lab_of(names: str = "abc") -> Lab:
    lab = Lab(leased_agent(), names, limited.SETTINGS)
    lab.roster = tuple(names)
    await lab.form()
    await lab.sure(lambda: all(engine.electorate.votes for engine in lab.live()))
    await lab.sure(lambda: all(held(lab, name) == LIMIT // len(names) for name in names))
    lab.loop.create_task(Watch(lab).run()).add_done_callback(lambda task: None)
    return lab


def test_the_rights_of_a_dead_replica_come_back_after_its_lease() -> None:
    async def scenario() -> None:
        lab = await lab_of()
        Callers(lab, "a").start(LIMIT)
        lab.kill("c")
        died = lab.loop.time()
        await anyio.sleep(RECLAIM_S / 2)
        slot = lab.engine("a").quotas.slots["llm/requests"]
        assert lab.engine("a").quotas.gone(slot) == {"c/journal-c": 10}
        warning = "10 of 30 rights of llm/requests are held by c, which is gone: a majority of the roster takes them"
        assert any(text.startswith(warning) for text in reporting.degraded(lab.engine("a")))
        await lab.sure(lambda: held(lab, "a") == LIMIT)
        assert RECLAIM_S <= lab.loop.time() - died <= 1.05 * RECLAIM_S + WINDOW_S + FLIGHT_S + 2.0
        story = reporting.explain(lab.engine("a"), "actonce.reclaim/llm/c/journal-c/1")
        assert story is not None
        assert story["state"] == "done"
        for engine in lab.live():
            assert engine.quotas.leases.session("llm", "c/journal-c") == 2
            assert not engine.quotas.leases._seen, "what was looked at to end the first session"
        await anyio.sleep(2 * (WINDOW_S + FLIGHT_S))
        assert used(lab, lab.loop.time() - 2 * WINDOW_S, lab.loop.time())["a"] >= 1.5 * LIMIT  # 1.24 without those of c
        lab.start("c")
        await lab.sure(lab.converged)
        await lab.sure(lambda: lab.engine("c").quotas.leases.session("llm", "c/journal-c") == 2)
        Callers(lab, "c").start(LIMIT)
        await lab.sure(lambda: held(lab, "c") >= LIMIT / 2 - 1)  # given, as to anybody else
        await anyio.sleep(3 * WINDOW_S)
        assert used(lab, lab.loop.time() - 2 * WINDOW_S, lab.loop.time())["c"] >= 0.7 * LIMIT
        check(lab, slot.account.resource)

    run(scenario)


def test_a_minority_uses_its_rights_for_the_lease_and_no_longer() -> None:
    async def scenario() -> None:
        lab = await lab_of()
        for name in "abc":
            Callers(lab, name).start(LIMIT)
        lab.network.cut({"c"}, {"a", "b"})
        cut = lab.loop.time()
        await anyio.sleep(RECLAIM_S - 0.1)
        assert used(lab, cut, lab.loop.time())["c"] >= 3 * LIMIT / 3
        await anyio.sleep(2 * (WINDOW_S + FLIGHT_S) + 2.0)
        since = lab.loop.time()
        await anyio.sleep(2 * WINDOW_S)
        counts = used(lab, since, lab.loop.time())
        assert counts["c"] == 0
        assert counts["a"] + counts["b"] >= 1.6 * LIMIT
        words = quota_report.quotas(lab.engine("c"))["warnings"]
        assert any(text.startswith("quota llm: not used here, out of touch with a majority") for text in words)
        lab.network.heal()
        await lab.sure(lambda: used(lab, since + 2 * WINDOW_S, lab.loop.time())["c"] > 0)
        check(lab, lab.engine("a").quotas.slots["llm/requests"].account.resource)

    run(scenario)


def test_a_short_absence_takes_nothing_and_a_replica_alone_takes_nothing() -> None:
    async def scenario() -> None:
        lab = await lab_of()
        lab.kill("c")
        await anyio.sleep(RECLAIM_S - 1.0)
        lab.start("c")
        await anyio.sleep(2 * RECLAIM_S)
        assert [held(lab, name) for name in "abc"] == [10, 10, 10]
        lab.kill("b")
        lab.kill("c")
        await anyio.sleep(3 * RECLAIM_S)
        assert held(lab, "a") == 10, "one of three voters takes nothing"

    run(scenario)


def test_who_leaves_gives_everything_back_under_a_lease_too() -> None:
    async def scenario() -> None:
        lab = await lab_of()
        await lab.leave("c")
        assert held(lab, "a") + held(lab, "b") == LIMIT

    run(scenario)


def test_who_runs_older_declarations_is_left_alone_and_a_lease_stays() -> None:
    bare = Agent("kevin")
    bare.quota("llm", LIMIT, WINDOW_S, flight=FLIGHT_S)
    agents = {"a": leased_agent(), "b": leased_agent(), "c": bare}

    async def scenario() -> None:
        lab = Lab(bare, "abc", limited.SETTINGS)
        lab.roster = ("a", "b", "c")
        lab._make_agent = lambda world, feed: agents[world.name]
        await lab.form()
        await lab.sure(lambda: all(held(lab, name) == LIMIT // 3 for name in "abc"))
        lab.network.cut({"c"}, {"a", "b"})
        Callers(lab, "c").start(LIMIT)
        await anyio.sleep(3 * RECLAIM_S)
        assert held(lab, "a") + held(lab, "b") == 20
        assert used(lab, lab.loop.time() - 2 * WINDOW_S, lab.loop.time())["c"] >= 10
        lab.network.heal()
        await lab.sure(lab.converged)
        agents["a"] = bare
        lab.kill("a")
        lab.start("a")
        await lab.sure(lambda: math.isfinite(lab.engine("a").quotas.pools["llm"].until))
        assert lab.engine("a").quotas.lease_s("llm") == RECLAIM_S
        assert lab.engine("c").quotas.lease_s("llm") is None

    run(scenario)


def test_a_lease_shorter_than_suspicion_is_refused() -> None:
    agent = Agent("kevin")
    agent.quota("llm", 5, "1m", reclaim="1s")

    async def scenario() -> None:
        with pytest.raises(ConfigError, match=r"reclaim=1 s is not longer than the 1.6 s after which"):
            Lab(agent).start("a", new=True)

    run(scenario)


def test_leases_hold_in_every_split() -> None:
    """Seed 3: a holder that was cut off announced, and gave, after the others had lapsed its session."""
    taken = 0
    for seed in range(FIRST, FIRST + SEEDS):
        outcome = run_seed(seed, scenario(**DAYS, replicas=(3, 5)), limited.LEASED)
        assert about_limits(outcome) == []
        taken += sum(" end " in event and "actonce.reclaim" in event for event in outcome.events)
    assert taken, "no rights were taken in any seed: this proves nothing"


FAULTS = (reclaimed_too_early, taken_for_fresh, kept_by_who_returns, given_unannounced)


def split_and_healed() -> list[str]:
    """What the checkers say of d and e, cut off until their rights have been taken, and back; everybody wants all."""

    async def scenario() -> list[str]:
        lab = await lab_of("abcde")
        lab.network.cut({"d", "e"}, {"a", "b", "c"})
        for name in "abce":  # d needs nothing: so it gives to e
            Callers(lab, name).start(LIMIT)
        await anyio.sleep(RECLAIM_S + 4.5)
        lab.network.heal()
        await anyio.sleep(4.0)
        resource = lab.engine("a").quotas.slots["llm/requests"].account.resource
        uses = [(call.at, 1) for call in sorted(lab.feed.provider.calls, key=lambda call: call.at)]
        assert lab.engine("a").quotas.leases.session("llm", "e/journal-e") == 2
        return [*over(resource, uses), *lab.failures, *rights_return(lab)]

    return run(scenario)


def test_a_split_and_its_end() -> None:
    assert split_and_healed() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    fault(monkeypatch)
    assert split_and_healed() != []
