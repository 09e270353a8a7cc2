"""Agents of users in the simulator: what `actonce simulate` tells them."""

from typing import Any

import pytest

from actonce import Agent, Context
from actonce.cli.simulate import _print
from actonce.sim.adopt import Adopted, work_of
from actonce.sim.batch import Summary
from actonce.sim.plan import Mix
from actonce.sim.run import Scenario, run_seed


def test_tasks_that_fail_are_counted_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    agent = Agent("kevin")

    @agent.task("works", example={})
    async def works(ctx: Context, payload: Any) -> str:
        return "done"

    @agent.task("fails", retries=0, example={})
    async def fails(ctx: Context, payload: Any) -> None:
        raise ValueError("planted")

    made = Scenario(seconds=2.0, tasks=10, work=work_of(agent, {}), mix=Mix(weights=(("Crash", 1),)))
    outcome = run_seed(1, made, Adopted(agent))
    assert outcome.violations == []
    assert outcome.sometimes["failed fails"] > 0
    assert outcome.sometimes["failed works"] == 0
    summary = Summary(seeds=1, sometimes=outcome.sometimes, took_s=1.0)
    _print(summary, "actonce simulate")
    printed = capsys.readouterr().out
    assert f"failed tasks       fails {outcome.sometimes['failed fails']}: " in printed
    assert "failed fails" not in printed
