"""What a replica tells of itself."""

import asyncio
import json
from typing import Any

from actonce import reporting
from actonce.agent import Agent
from actonce.context import Context
from actonce.settings import LAN
from actonce.sinks import CallableSink

from .lab import Lab, run


async def posted(body: Any, key: str) -> Any:
    return {"posted": key}


class Work:
    """Tasks that post, wait, or fail."""

    def __init__(self) -> None:
        self.agent, self.go = Agent("kevin"), asyncio.Event()
        self.agent.sink("room", CallableSink(posted))
        self.agent.task("post")(self.post)
        self.agent.task("waits")(self.waits)
        self.agent.task("fails", retries=0)(self.fails)

    async def post(self, ctx: Context, payload: Any) -> Any:
        await ctx.post("room", {"text": payload})
        return payload

    async def waits(self, ctx: Context, payload: Any) -> None:
        await self.go.wait()

    async def fails(self, ctx: Context, payload: Any) -> None:
        raise ValueError("no")


async def lab_of(names: str = "ab") -> tuple[Lab, Work]:
    work = Work()
    lab = Lab(work.agent, names)
    await lab.form()
    return lab, work


def test_the_status_of_a_working_mesh() -> None:
    async def scenario() -> None:
        lab, work = await lab_of()
        await lab.outcome("post", "hello")
        await lab.outcome("fails")
        lab.put("waits")
        await lab.sure(lambda: any(engine.executor.running for engine in lab.live()))
        await lab.sure(lab.converged)
        for name in "ab":
            facts = reporting.status(lab.engine(name))
            json.dumps(facts)
            assert facts["degraded"] == []
            assert facts["acting"]
            found = {name: count for name, count in facts["tasks"].items() if count}
            assert found == {"running": 1, "done": 1, "failed": 1}
            assert facts["effects"] == {"posted": 1, "under way": 0, "skipped": 0, "in doubt": 0, "refused": 0}
            assert facts["doubts"] == 0
            assert facts["view"]["members"] == ["a", "b"]
            assert {fact["name"]: fact["state"] for fact in facts["replicas"]} == {
                name: "self",
                "b" if name == "a" else "a": "member",
            }
        work.go.set()
        await lab.sure(lambda: not lab.engine("a").claims.open)
        assert reporting.status(lab.engine("a"))["tasks"]["done"] == 2

    run(scenario)


def test_an_unsettled_replica_says_what_it_waits_for() -> None:
    async def scenario() -> None:
        lab, _ = await lab_of()
        lab.kill("a")
        lab.kill("b")
        engine = lab.start("b")
        facts = reporting.status(engine)
        assert facts["settled"] is None
        assert not facts["acting"]
        assert facts["degraded"][0].startswith("not settled: does not act until it has synced with its last view: a")
        newcomer = Lab(Work().agent, "n").start("n")
        assert reporting.degraded(newcomer)[0].endswith("any settled replica; the first of a mesh needs --new")

    run(scenario)


def test_what_is_said_after_all_were_down() -> None:
    """Two of three come back, on hosts of their own: nothing proves that their earlier processes ended."""

    async def scenario() -> None:
        lab, _ = await lab_of("abc")
        lab.one_host = False
        for name in "abc":
            lab.kill(name)
        a, b = lab.start("a"), lab.start("b")
        said: dict[str, float] = {}

        def acts() -> bool:
            said.update(dict.fromkeys(reporting.degraded(a), lab.loop.time()))
            return all(one.membership.act_until() > one.world.now() for one in (a, b))

        await lab.sure(acts)
        settled_s, began_s = LAN.start_alone_after_s, lab.loop.time()
        assert "no link to a" not in said
        own = "its own earlier process (incarnation 1)"
        assert f"waits until {own} is given up as dead: it is in a view of before" in said
        assert settled_s < began_s < settled_s + 2 * (LAN.suspicion_s + LAN.grace_s)
        await lab.until(lambda: False, 5.0)
        for one in (a, b):
            assert not [fact for fact in reporting.degraded(one) if "alone" in fact]
        lab.kill("b")
        await lab.sure(lambda: len(a.membership.view.members) == 1)
        assert not [fact for fact in reporting.degraded(a) if "alone" in fact], "b was there since its start"

    run(scenario)


def test_who_acts_alone_says_so() -> None:
    async def scenario() -> None:
        lab, _ = await lab_of("ab")
        lab.kill("a")
        lab.kill("b")
        a = lab.start("a")
        alone = "acts alone since its start: the replicas of its last view did not come"
        await lab.sure(lambda: alone in reporting.degraded(a))
        lab.start("b")
        await lab.sure(lambda: len(a.membership.view.members) == 2)
        await lab.sure(lambda: alone not in reporting.degraded(a))

    run(scenario)


def test_a_cut_is_seen_step_by_step() -> None:
    async def scenario() -> None:
        lab, _ = await lab_of()
        engine = lab.engine("a")

        def acts() -> bool:
            return engine.membership.act_until() > engine.world.now()

        lab.network.cut({"a"}, {"b"})
        await lab.sure(lambda: bool(engine.membership.announced.lingering) and acts())
        assert reporting.degraded(engine) == ["b is silent and may be dead"]
        assert reporting.status(engine)["replicas"][1]["state"] == "silent"
        await lab.sure(lambda: not engine.membership.view.lingering and acts())
        [fact] = reporting.degraded(engine)
        assert fact.startswith("half of the mesh (1 of 2 replicas): dead or cut off: b; ")
        assert reporting.status(engine)["replicas"][1]["state"] == "silent"
        assert lab.loop.time() < 10 * LAN.grace_s

    run(scenario)


def test_leaving_and_silence_are_reasons() -> None:
    async def scenario() -> None:
        lab, _ = await lab_of()
        engine = lab.engine("a")
        engine.drain(lambda: None)
        assert "leaving: takes no new work" in reporting.degraded(engine)
        lab.world("b").pause()
        await lab.until(lambda: False, LAN.contact_window_s - LAN.tick_s)
        engine.membership.peers["b"].contact -= LAN.contact_window_s
        assert "does not act now: contact with the others is not fresh" in reporting.degraded(engine)

    run(scenario)


def test_tasks_newest_first_by_state_and_limit() -> None:
    async def scenario() -> None:
        lab, _ = await lab_of("a")
        engine = lab.engine("a")
        for index in range(5):
            await lab.outcome("post", index, key=f"k{index}")
        await lab.outcome("fails")
        lab.put("waits")
        await lab.sure(lambda: bool(engine.executor.running))
        rows = reporting.tasks(engine, None, 100)
        assert [row["task"] for row in rows][:3] == ["waits/k", "fails/k", "post/k4"]
        assert [row["task"] for row in reporting.tasks(engine, "done", 2)] == ["post/k4", "post/k3"]
        [failed] = reporting.tasks(engine, "failed", 100)
        assert (failed["claimed_by"], failed["result"]) == ("a", "ValueError: no")
        assert reporting.tasks(engine, "no such state", 100) == []
        json.dumps(rows)

    run(scenario)


def test_posts_with_bodies_and_receipts() -> None:
    async def scenario() -> None:
        lab, _ = await lab_of("a")
        await lab.outcome("post", "hello")
        [row] = reporting.posts(lab.engine("a"), 100)
        assert row == {
            "effect": "post/k/#1",
            "state": "posted",
            "doubt": None,
            "sink": "room",
            "body": {"text": "hello"},
            "by": "a",
            "receipt": {"posted": "post/k/#1"},
        }

    run(scenario)


def test_the_story_of_a_task() -> None:
    async def scenario() -> None:
        lab, _ = await lab_of()
        await lab.outcome("post", "hello")
        await lab.sure(lab.converged)
        story = reporting.explain(lab.engine("b"), "post/k")
        assert story is not None
        assert story["rank"][0] == story["owner_now"]
        assert sorted(story["rank"]) == ["a", "b"]
        verbs = [" ".join(line.split()[3:5]) for line in story["story"]]
        assert verbs == ["took it", "claimed it:", "was about", "has the", "finished it"]
        assert reporting.explain(lab.engine("b"), "post/unknown") is None
        json.dumps(story)

    run(scenario)


def test_moments_are_utc_with_milliseconds() -> None:
    assert reporting.moment(1_700_000_000.1239) == "2023-11-14 22:13:20.123Z"
