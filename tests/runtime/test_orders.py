"""Orders for one task, and the terms under which tasks begin, as a program and as HTTP give them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce.agent import Agent
from actonce.children import child_key
from actonce.context import Context, SyncContext
from actonce.errors import ActonceError, NoSuchTask, PayloadInvalid, WrongState
from actonce.inbox import task_id
from actonce.poison import APART_S, DEATHS_MAX, must_be_apart
from actonce.readiness import Terms, Wait, make_terms, waits
from actonce.settings import KEY_BYTES_MAX
from actonce_crdt import Cancel, Done, Json, Task, TaskState, unpack_value

from .lab import Lab, run

NOW_S = 1_000.0


@pytest.mark.parametrize(
    ("asked", "terms"),
    [
        ({}, Terms()),
        ({"priority": -1000}, Terms(priority=-1000)),
        ({"delay": "2s"}, Terms(not_before_ms=1_002_000)),
        ({"delay": 0}, Terms(not_before_ms=1_000_000)),
        ({"not_before": 5.5}, Terms(not_before_ms=5_500)),
        ({"not_before": datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)}, Terms(not_before_ms=7_000)),
        ({"after": ["a/1", "b/2"]}, Terms(after=("a/1", "b/2"))),
    ],
)
def test_terms(asked: dict[str, Any], terms: Terms) -> None:
    assert make_terms(NOW_S, **asked) == terms


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"priority": 1001}, "use an integer from -1000 to 1000"),
        ({"priority": True}, "use an integer"),
        ({"priority": 1.0}, "use an integer"),
        ({"delay": "soon"}, "write 250ms, 30s"),
        ({"delay": -1}, "write 250ms, 30s"),
        ({"delay": []}, "write 250ms, 30s"),
        ({"delay": 1, "not_before": 1}, "not both"),
        ({"not_before": datetime(2026, 1, 1)}, "needs a time zone"),
        ({"not_before": -1}, "use unix seconds"),
        ({"not_before": math.nan}, "use unix seconds"),
        ({"not_before": math.inf}, "use unix seconds"),
        ({"after": "a/1"}, "a list of at most 64 task ids"),
        ({"after": ["a/1"] * 65}, "a list of at most 64 task ids"),
        ({"after": [""]}, "is no task id"),
        ({"after": [1]}, "is no task id"),
    ],
)
def test_terms_that_make_no_sense(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(PayloadInvalid, match=says):
        make_terms(NOW_S, **asked)


def over(ok: bool) -> TaskState:
    return TaskState(done=Done("x", 1, "a", 1, ok, b"\xc0"))


@pytest.mark.parametrize(
    ("task", "others", "wait"),
    [
        (Task("t", 1, "a", "k", b""), {}, None),
        (Task("t", 1, "a", "k", b"", 0, 1_000), {}, None),
        (Task("t", 1, "a", "k", b"", 0, 1_001), {}, Wait(until_ms=1_001)),
        (Task("t", 1, "a", "k", b"", 0, 0, ("x",)), {}, Wait(on="x")),
        (Task("t", 1, "a", "k", b"", 0, 0, ("x",)), {"x": TaskState()}, Wait(on="x")),
        (Task("t", 1, "a", "k", b"", 0, 0, ("x",)), {"x": over(True)}, None),
        (Task("t", 1, "a", "k", b"", 0, 0, ("x", "y")), {"x": over(True)}, Wait(on="y")),
        (Task("t", 1, "a", "k", b"", 0, 9_999, ("y", "x")), {"x": over(False)}, None),
        (Task("t", 1, "a", "k", b"", 0, 0, ("x", "y"), False), {"x": over(False)}, Wait(on="y")),
    ],
)
def test_what_a_task_waits_for(task: Task, others: dict[str, TaskState], wait: Wait | None) -> None:
    assert waits(TaskState(task=task), others, 1_000.0) == wait
    assert waits(TaskState(task=task, cancel=Cancel("t", 1, "a", 1)), others, 1_000.0) is None


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=200))
def test_the_key_of_a_child_is_short_enough(parent: str, name: str) -> None:
    parent, name = parent.encode(errors="replace").decode(), name.encode(errors="replace").decode()
    assert len(child_key(parent, name).encode()) <= KEY_BYTES_MAX


def test_the_keys_of_children_differ() -> None:
    long = "x" * KEY_BYTES_MAX
    keys = {child_key(parent, name) for parent in ("a/1", f"a/{long}", f"b/{long}") for name in ("#1", "#2", long)}
    assert len(keys) == 9
    assert task_id("k", child_key("a/1", "#1")) == "k/a/1>#1"


def test_who_is_kept_apart() -> None:
    assert not must_be_apart(0, 2, 0.0)
    assert not must_be_apart(2, 0, 0.0)
    assert must_be_apart(1, 1, 0.0)
    assert not must_be_apart(1, 1, APART_S)
    assert must_be_apart(1, 2, APART_S)
    assert must_be_apart(2, 1, APART_S)
    assert not must_be_apart(DEATHS_MAX, 2, 0.0), "it is about to be set aside"


class Flaky:
    """Fails until it is told not to."""

    def __init__(self) -> None:
        self.agent, self.fails, self.attempts = Agent("kevin"), True, list[int]()
        self.agent.task("flaky", retries=1)(self.flaky)
        self.agent.task("parent", timeout=5.0, retries=0)(self.parent)
        self.agent.task("plain", retries=0)(self.plain)
        self.agent.task("slow")(self.slow)

    async def flaky(self, ctx: Context, payload: Json) -> str:
        self.attempts.append(ctx.attempt)
        if self.fails:
            raise ValueError("not yet")
        return "now"

    async def slow(self, ctx: Context, payload: Json) -> str:
        return "slow"

    async def parent(self, ctx: Context, what: str) -> Json:
        match what:
            case "fails":
                return await ctx.gather(await ctx.spawn("flaky", None))
            case "kept":
                found = await ctx.gather(
                    await ctx.spawn("slow", None), await ctx.spawn("flaky", None), return_exceptions=True
                )
                return [str(value) for value in found]
            case "late":
                return await ctx.gather(await ctx.spawn("slow", None, key="mine", delay="20s"))
            case _:
                raised = "nothing"
                try:
                    await ctx.spawn("nobody", None)
                except ActonceError as error:
                    raised = f"{type(error).__name__}: {error}"
                return raised

    def plain(self, ctx: SyncContext, payload: Json) -> Json:
        return ctx.gather(*(ctx.spawn("slow", number) for number in range(3)))


def test_a_failed_task_is_tried_again_with_all_its_attempts() -> None:
    async def scenario() -> None:
        flaky, answers = Flaky(), list[str]()
        lab = Lab(flaky.agent, "ab")
        engine = await lab.form()
        assert await lab.outcome("flaky") == (False, "ValueError: not yet")
        engine.orders.retry("flaky/k", answers.append)
        await lab.sure(lambda: len(flaky.attempts) == 4 and not engine.claims.open)
        assert flaky.attempts == [1, 2, 3, 4]
        flaky.fails = False
        engine.orders.retry("flaky/k", answers.append)
        await lab.sure(lambda: len(flaky.attempts) == 5 and not engine.claims.open)
        done = lab.state("flaky/k").done
        assert done is not None
        assert (done.ok, unpack_value(done.result)) == (True, "now")
        assert answers == ["retried", "retried"]
        with pytest.raises(WrongState, match="is done: this is for what failed"):
            engine.orders.retry("flaky/k", answers.append)
        with pytest.raises(WrongState):
            engine.orders.drop("flaky/k", answers.append)
        engine.orders.cancel("flaky/k", answers.append)
        assert answers[2:] == ["done"]

    run(scenario)


def test_orders_for_what_is_not_known() -> None:
    async def scenario() -> None:
        lab = Lab(Flaky().agent)
        orders = (await lab.form()).orders
        for order in (orders.cancel, orders.retry, orders.drop):
            with pytest.raises(NoSuchTask, match="no task 'flaky/none' is known here"):
                order("flaky/none", print)

    run(scenario)


def test_a_cancelled_task_that_waits_for_a_time_ends_at_once() -> None:
    async def scenario() -> None:
        lab, answers = Lab(Flaky().agent), list[str]()
        engine = await lab.form()
        engine.inbox.submit("slow", b"\xc0", "k", lambda submitted: None, Terms(not_before_ms=2**50))
        engine.orders.cancel("slow/k", answers.append)
        await lab.sure(lambda: not engine.claims.open)
        assert lab.loop.time() < 1.0
        engine.orders.retry("slow/k", answers.append)
        await lab.sure(lambda: "slow/k" in engine.claims.open)

    run(scenario)


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("fails", (False, "TaskFailed: task 'flaky/parent/k>#1' failed: ValueError: not yet")),
        ("kept", (True, ["slow", "task 'flaky/parent/k>#2' failed: ValueError: not yet"])),
        ("late", (True, ["slow"])),
        ("none", (True, "UnknownKind: agent 'kevin' has no handler for 'nobody'; it has: flaky, parent, plain, slow")),
    ],
)
def test_children(what: str, outcome: tuple[bool, Any]) -> None:
    async def scenario() -> None:
        lab = Lab(Flaky().agent)
        await lab.form()
        assert await lab.outcome("parent", what) == outcome

    run(scenario)


def test_a_plain_function_has_children_too() -> None:
    async def scenario() -> None:
        lab = Lab(Flaky().agent)
        await lab.form()
        assert await lab.outcome("plain") == (True, ["slow", "slow", "slow"])

    run(scenario)
