"""Tasks that saw a process die begin one after the other, and are looked at again only when there is a reason to."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.runtime.lab import Lab, run

from actonce import executor, poison
from actonce.agent import Agent
from actonce.context import Context
from actonce.executor import Executor
from actonce_crdt import Intent, TaskState, pack_value

TASKS = 16
APART_S = 5.0
LOOKS_MAX = 3
"""At each task, while nothing happens. One for each change of views after a death."""


def endless() -> Agent:
    agent = Agent("kevin")

    @agent.task("work")
    async def work(ctx: Context, payload: Any) -> None:
        await anyio.Event().wait()

    return agent


@pytest.fixture(autouse=True)
def long_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """So long that much can happen meanwhile."""
    monkeypatch.setattr(poison, "APART_S", APART_S)
    monkeypatch.setattr(executor, "APART_S", APART_S)


async def taken_over() -> tuple[Lab, list[str]]:
    """b dies with some tasks at work; a has begun one of them. The others, all of which have to wait for it."""
    lab = Lab(endless(), "ab")
    await lab.form()
    for number in range(TASKS):
        lab.put("work", key=str(number))
    await lab.sure(lambda: sum(len(engine.executor.running) for engine in lab.live()) == TASKS)
    taken = list(lab.engine("b").executor.running)
    lab.kill("b")
    a = lab.engine("a").executor
    await lab.sure(lambda: any(task in a.running for task in taken))
    waiting = [task for task in taken if task not in a.running]
    assert len(waiting) == len(taken) - 1 > 2
    return lab, waiting


def test_who_waits_costs_nothing_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    must_wait = Executor.must_wait

    def counted(self: Executor, state: TaskState) -> bool:
        assert state.task is not None
        looks.append(state.task.key)
        return must_wait(self, state)

    async def scenario() -> None:
        lab, waiting = await taken_over()
        await anyio.sleep(0.2)
        monkeypatch.setattr(Executor, "must_wait", counted)
        await anyio.sleep(APART_S / 2)
        assert len(looks) <= LOOKS_MAX * len(waiting), "it is looked at them in every turn"
        assert not any(task in lab.engine("a").executor.running for task in waiting)

    run(scenario)


def test_one_begins_whenever_the_last_has_proved_harmless() -> None:
    async def scenario() -> None:
        lab, waiting = await taken_over()
        a, began = lab.engine("a").executor, lab.loop.time()
        for nth in range(1, len(waiting) + 1):
            await lab.sure(lambda nth=nth: sum(task in a.running for task in waiting) == nth)  # type: ignore[misc]
            assert 0 <= lab.loop.time() - began - nth * APART_S < 0.5

    run(scenario)


def test_one_begins_when_the_one_that_it_waits_for_has_ended() -> None:
    async def scenario() -> None:
        lab, waiting = await taken_over()
        a = lab.engine("a")
        [first] = [task for task in a.executor.running if lab.state(task).deaths]
        a.orders.cancel(first, lambda how: None)
        began = lab.loop.time()
        await lab.sure(lambda: any(task in a.executor.running for task in waiting))
        assert lab.loop.time() - began < 0.5

    run(scenario)


def test_one_begins_when_it_turns_out_to_have_got_on() -> None:
    """What b had posted is read late: then its death was no fault of that task."""

    async def scenario() -> None:
        lab, waiting = await taken_over()
        a, task = lab.engine("a"), waiting[-1]
        claim = lab.state(task).standing
        assert claim is not None
        assert claim.author == "b"
        await anyio.sleep(0.2)
        intent = Intent(f"{task}/#1", a.ledger.stamp(), "b", task, claim.epoch, "room", pack_value(None))
        a.ledger.write(intent)
        began = lab.loop.time()
        await lab.sure(lambda: task in a.executor.running)
        assert lab.loop.time() - began < 0.5
        assert not any(other in a.executor.running for other in waiting if other != task)

    run(scenario)
