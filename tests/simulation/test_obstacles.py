"""What `explain` says of a task that does not go on, and of the replicas that had it."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from tests.runtime.lab import Lab, run

from actonce.agent import Agent
from actonce.context import Context
from actonce.reporting import explain
from actonce.settings import LAN, Settings

BEFORE_GRACE_S = LAN.suspicion_s + LAN.grace_s / 2
AFTER_GRACE_S = LAN.grace_s


def made(settings: Settings = LAN) -> Lab:
    agent = Agent("kevin")

    async def work(ctx: Context, payload: Any) -> None:
        await anyio.sleep(20.0)

    agent.task("work")(work)
    agent.task("decide", guard="majority")(work)
    lab = Lab(agent, "abc", settings)
    lab.roster = ("a", "b", "c")
    return lab


def told(lab: Lab, task: str, name: str) -> dict[str, Any]:
    facts = explain(lab.engine(name), task)
    assert facts is not None
    return facts


async def running(lab: Lab, task: str) -> str:
    await lab.sure(lambda: any(task in engine.executor.running for engine in lab.live()))
    return next(engine.me.name for engine in lab.live() if task in engine.executor.running)


async def pass_s(lab: Lab, seconds: float) -> None:
    await lab.until(lambda: False, seconds)


def scenario(do: Callable[[Lab], Awaitable[None]], settings: Settings = LAN) -> None:
    async def whole() -> None:
        lab = made(settings)
        await lab.form()
        await lab.sure(lambda: all(len(engine.electorate.version.voters) == 3 for engine in lab.live()))  # type: ignore[union-attr]
        await do(lab)

    run(whole)


def test_a_silent_holder_and_the_takeover() -> None:
    async def do(lab: Lab) -> None:
        lab.put("work")
        holder = await running(lab, "work/k")
        other = "a" if holder != "a" else "b"
        lab.pause(holder)
        await pass_s(lab, BEFORE_GRACE_S)
        facts = told(lab, "work/k", other)
        assert facts["waits"] == f"{holder} has it and is silent; it is taken over when {holder} is given up"
        assert any(line.endswith("; silent, keeps its tasks for a grace") for line in facts["views"])
        await pass_s(lab, AFTER_GRACE_S)
        facts = told(lab, "work/k", other)
        assert facts["waits"] is None
        assert len([line for line in facts["story"] if " claimed it: " in line]) == 2
        assert any(f"{holder} is silent: " in line for line in facts["notes"])
        assert any(f"{holder} stayed silent " in line for line in facts["notes"])

    scenario(do)


def test_a_minority_waits_and_does_not_say_that_it_runs() -> None:
    async def do(lab: Lab) -> None:
        lab.network.cut({"c"}, {"a", "b"})
        lab.put("decide", name="c")
        await pass_s(lab, 0.1)
        assert told(lab, "decide/k", "c")["state"] in ("open", "waiting")
        await pass_s(lab, 5.0)
        facts = told(lab, "decide/k", "c")
        assert facts["state"] in ("open", "waiting")
        assert facts["waits"].startswith("minority side (1 of 3 voters in reach)")

    scenario(do)


def test_an_owner_out_of_contact_says_whose_promise_it_lacks() -> None:
    async def do(lab: Lab) -> None:
        lab.network.cut({"c"}, {"a", "b"})
        await pass_s(lab, LAN.contact_window_s + 0.01)
        for index in range(20):
            lab.put("work", key=f"k{index}", name="c")
        stories = [told(lab, f"work/k{index}", "c") for index in range(20)]
        owned = [facts["waits"] for facts in stories if facts["owner_now"] == "c"]
        assert owned
        assert all(why.startswith("we own it and may not act: a has not answered for 1.") for why in owned)
        others = {facts["waits"] for facts in stories if facts["owner_now"] == "a"}
        assert others == {"a owns it: its status says why it does not begin"}

    scenario(do)


def test_what_is_over_waits_for_nothing() -> None:
    async def do(lab: Lab) -> None:
        lab.put("work")
        await running(lab, "work/k")
        assert told(lab, "work/k", "a")["waits"] is None
        await lab.sure(lambda: all(lab.state("work/k", name).done is not None for name in "abc"))
        facts = told(lab, "work/k", "a")
        assert (facts["waits"], facts["views"]) == (None, [])

    scenario(do)
