"""The order of what may begin."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actonce.readiness import LOOK_S_MAX, STALE_MAX, Readiness, Wait

from .lab import Lab, run
from .test_orders import Flaky


async def made(looked: list[list[str]]) -> tuple[Lab, Readiness]:
    lab = Lab(Flaky().agent)
    await lab.form()
    return lab, Readiness(lab.world(), looked.append)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(-2, 2), st.booleans()), max_size=30))
def test_by_priority_then_age_whatever_comes_and_goes(steps: list[tuple[str, int, bool]]) -> None:
    async def scenario() -> None:
        _, ready = await made([])
        model: dict[str, int] = {}
        for task, priority, comes in steps:
            if comes:
                ready.put(task, priority)
                model.setdefault(task, priority)
            else:
                ready.discard(task)
                model.pop(task, None)
        assert len(ready) == len(model)
        popped = [ready.pop() for _ in range(len(ready))]
        assert popped == sorted(model, key=lambda task: -model[task])

    run(scenario)


def test_what_comes_and_goes_leaves_no_trace() -> None:
    async def scenario() -> None:
        _, ready = await made([])
        ready.put("stays", 0)
        for _ in range(5 * STALE_MAX):
            ready.put("goes", 0)
            ready.discard("goes")
        assert len(ready._heap) <= 2 * STALE_MAX
        assert ready.pop() == "stays"

    run(scenario)


def test_what_waits_is_looked_at_when_it_need_not_wait() -> None:
    async def scenario() -> None:
        looked: list[list[str]] = []
        lab, ready = await made(looked)
        ready.hold("t", Wait(on="x"))
        ready.hold("u", Wait(on="x"))
        ready.hold("v", Wait(until_ms=int((lab.world().wall() + 5.0) * 1000)))
        ready.ended("y")
        assert looked == []
        ready.ended("x")
        assert looked == [["t", "u"]]
        began = lab.loop.time()
        await lab.sure(lambda: len(looked) == 2)
        assert looked[1] == ["v"]
        assert 4.9 <= lab.loop.time() - began <= 5.1

    run(scenario)


def test_what_is_far_from_due_shares_a_timer_and_is_looked_at_in_time() -> None:
    async def scenario() -> None:
        looked: list[list[str]] = []
        lab, ready = await made(looked)
        began, at = lab.loop.time(), {"a": 61.0, "b": 119.0, "c": 121.0, "d": 1e6}
        waits = {task: Wait(until_ms=int((lab.world().wall() + wait_s) * 1000)) for task, wait_s in at.items()}
        for task, wait in waits.items():
            ready.hold(task, wait)
        assert not ready._timers
        assert await lab.until(lambda: len(looked) == 1, LOOK_S_MAX + 1.0)
        assert looked == [["a", "b"]], "near by now: from here on each has its own"
        for task in looked.pop():
            ready.hold(task, waits[task])
        for task in ("a", "b"):
            assert await lab.until(lambda: len(looked) == 1, LOOK_S_MAX)
            assert looked.pop() == [task]
            assert at[task] - 0.1 <= lab.loop.time() - began <= at[task] + 0.1
        assert await lab.until(lambda: len(looked) == 1, LOOK_S_MAX)
        assert looked.pop() == ["c"]
        assert list(ready._far) == ["d"]
        ready.over("d")
        assert not ready._far

    run(scenario)


def test_a_wall_clock_that_is_set_is_noticed() -> None:
    async def scenario() -> None:
        looked: list[list[str]] = []
        lab, ready = await made(looked)
        ready.hold("t", Wait(until_ms=int((lab.world().wall() + 86_400.0) * 1000)))
        lab.world().wall_offset_s += 86_400.0
        assert await lab.until(lambda: looked == [["t"]], LOOK_S_MAX + 1.0)

    run(scenario)
