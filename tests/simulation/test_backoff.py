"""The time of the next attempt, which a dead replica wrote down, holds for its survivors too."""

from __future__ import annotations

import dataclasses

import anyio
import pytest
from tests.runtime.lab import Lab, run

from actonce.agent import Agent
from actonce.context import Context
from actonce.settings import LAN
from actonce_crdt import Json

SLOW = dataclasses.replace(LAN, retry_wait_s=20.0, retry_wait_max_s=20.0)


async def killed_with_a_retry_ahead(seed: int, began: list[float]) -> tuple[Lab, str, float]:
    """The mesh, who was killed, and when its task was to be tried again."""
    agent = Agent("kevin")

    @agent.task("fails", retries=1)
    async def fails(ctx: Context, payload: Json) -> None:
        began.append(lab.loop.time())
        raise ValueError("not yet")

    lab = Lab(agent, "abcd", SLOW, seed)
    engine = await lab.form()
    lab.put("fails")
    await lab.sure(lambda: "fails/k" in engine.ledger.state.tasks and lab.state("fails/k").tries is not None)
    await lab.sure(lab.converged)
    state = lab.state("fails/k")
    assert state.tries is not None
    assert state.claim is not None
    wait_s = state.tries.retry_at_ms / 1000 - lab.world(state.claim.author).wall()
    due = lab.loop.time() + wait_s
    lab.kill(state.claim.author)
    await anyio.sleep(min(2.0, wait_s / 2))
    return lab, state.claim.author, due


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_survivor_waits_for_the_time_of_the_next_attempt(seed: int) -> None:
    async def scenario() -> None:
        began = list[float]()
        lab, dead, due = await killed_with_a_retry_ahead(seed, began)
        lab.start(dead)  # it says something: the others look at all open tasks again
        await lab.sure(lambda: len(began) == 2)
        assert -0.2 < began[1] - max(due, began[0]) < 3.0

    run(scenario)


def test_what_was_called_off_meanwhile_does_not_wait() -> None:
    async def scenario() -> None:
        lab, _, due = await killed_with_a_retry_ahead(1, list[float]())
        survivor = lab.live()[0]
        said = list[str]()
        survivor.orders.cancel("fails/k", said.append)
        await lab.sure(lambda: survivor.ledger.state.tasks["fails/k"].done is not None)
        assert lab.loop.time() < due - 0.5

    run(scenario)
