"""What a person has to look into is named, with what to do; and no longer once it is over."""

from dataclasses import replace

import pytest

from actonce.agent import Agent
from actonce.placement import Traits
from actonce.settings import LAN
from actonce.troubles import DENIAL_S, troubles
from actonce_crdt import Delta, Done, Task, pack_value

from .lab import Lab, run, turns

HOUR_S = 3600.0


def an_agent() -> Agent:
    agent = Agent("kevin")

    @agent.task("noop")
    async def noop(ctx: object, payload: object) -> None: ...

    return agent


async def formed(names: str) -> Lab:
    lab = Lab(an_agent(), names)
    await lab.form()
    return lab


def test_the_minority_says_so_until_it_is_over() -> None:
    async def scenario() -> None:
        lab = await formed("abc")
        assert [list(troubles(engine)) for engine in lab.live()] == [[]] * 3
        lab.network.cut({"a", "b"}, {"c"})
        assert await lab.until(lambda: bool(list(troubles(lab.engine("c")))), 3.0)
        await lab.until(lambda: False, LAN.suspicion_s + LAN.grace_s)
        [fact] = troubles(lab.engine("c"))
        assert fact.startswith("minority side (1 of 3 replicas): dead or cut off: a, b; ")
        assert [list(troubles(lab.engine(name))) for name in "ab"] == [[], []]
        lab.network.heal()
        assert await lab.until(lambda: not any(list(troubles(engine)) for engine in lab.live()), 10.0)

    run(scenario)


def test_who_left_on_purpose_is_not_missed_and_the_dead_are() -> None:
    async def scenario() -> None:
        lab = await formed("ab")
        await lab.leave("b")
        await lab.sure(lambda: len(lab.engine("a").membership.view.members) == 1)
        assert list(troubles(lab.engine("a"))) == []
        lab = await formed("ab")
        lab.kill("b")
        await lab.sure(lambda: len(lab.engine("a").membership.view.members) == 1)
        [fact] = troubles(lab.engine("a"))
        assert fact.startswith("half of the mesh (1 of 2 replicas): dead or cut off: b; ")

    run(scenario)


@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S])
def test_a_clock_an_hour_off_is_named_by_those_whose_clock_is_behind(offset_s: float) -> None:
    async def scenario() -> None:
        lab = await formed("abc")
        lab.skew("b", offset_s)
        for name in "abc":
            await lab.outcome("noop", key=name, name=name)
        await lab.sure(lab.converged)
        told = {name: [fact.partition(":")[0] for fact in troubles(lab.engine(name))] for name in "abc"}
        if offset_s > 0:
            fact = "stamps of b are 60 minutes ahead of our clock"
            assert told == {"a": [fact], "b": [], "c": [fact]}
            lab.skew("a", HOUR_S)
            assert list(troubles(lab.engine("a"))) == []
        else:
            assert set(told["b"]) <= {f"stamps of {name} are 60 minutes ahead of our clock" for name in "ac"}
            assert told["b"]
            assert not told["a"] + told["c"]

    run(scenario)


def test_a_clock_that_went_back_is_seen_at_the_start() -> None:
    async def scenario() -> None:
        lab = await formed("a")
        await lab.outcome("noop")
        lab.kill("a")
        lab.skew("a", -2 * HOUR_S)
        lab.start("a")
        [fact] = [fact for fact in troubles(lab.engine("a")) if "clock" in fact]
        assert fact.startswith("our clock is 2 hours behind the stamps in our own journal")

    run(scenario)


def test_two_live_replicas_with_one_name_are_named_while_it_lasts() -> None:
    async def scenario() -> None:
        lab = await formed("ab")
        engine = lab.engine("a")
        engine.views.denied("10.0.0.7:7420", "name taken: another live replica is called 'a'")
        [fact] = troubles(engine)
        assert fact.startswith("10.0.0.7:7420 refuses us: name taken: another live replica is called 'a'; stop one")
        engine.views.denied("10.0.0.8:7420", "wrong secret")
        assert len(list(troubles(engine))) == 1
        await lab.until(lambda: False, DENIAL_S + 1)
        assert list(troubles(engine)) == []

    run(scenario)


def test_a_region_that_nobody_is_in() -> None:
    def regional() -> Agent:
        agent = an_agent()

        @agent.task("report", placement="region=eu", stand_in_after="20s")
        async def report(ctx: object, payload: object) -> None: ...

        return agent

    async def scenario() -> None:
        lab = Lab(regional(), "ab")
        lab.nodes["b"].traits = Traits(region="eu")
        await lab.form()
        assert [list(troubles(engine)) for engine in lab.live()] == [[], []]
        await lab.leave("b")
        await lab.sure(lambda: len(lab.engine("a").membership.view.members) == 1)
        [fact] = troubles(lab.engine("a"))
        assert fact.startswith("no replica in region 'eu', home of 'report': others stand in after 20 s; start one")

    run(scenario)


def test_a_kind_that_replicas_place_differently() -> None:
    async def scenario() -> None:
        lab = await formed("ab")
        peer = lab.engine("a").membership.peers["b"]
        assert peer.about is not None
        peer.about = replace(peer.about, kinds={"noop": "primary"})
        [fact] = troubles(lab.engine("a"))
        assert fact.startswith("replicas place 'noop' as primary and spread: only tasks with one owner by both run")

    run(scenario)


def test_a_kind_that_nobody_has_a_handler_for_is_named_while_its_tasks_wait() -> None:
    async def scenario() -> None:
        lab = await formed("a")
        engine = lab.engine("a")
        engine.ledger.write(Task("new/k", engine.ledger.stamp(), "a", "new", pack_value(None)))
        await turns()
        [fact] = troubles(engine)
        assert fact.startswith("1 tasks of kind 'new' wait: no replica in play has a handler")
        engine.ledger.write(Done("new/k", engine.ledger.stamp(), "a", 1, True, pack_value(None), ""))
        await turns()
        assert not list(troubles(engine))

    run(scenario)


def test_a_document_that_is_nearly_too_large_to_be_handed_over() -> None:
    async def scenario() -> None:
        lab = await formed("a")
        ledger = lab.engine("a").ledger
        ledger.snapshot_bytes = (128 << 20) - 1
        assert not list(troubles(lab.engine("a")))
        ledger.snapshot_bytes += 1
        [fact] = troubles(lab.engine("a"))
        assert fact.startswith("the document has 128 MiB, and may have 256")

    run(scenario)


def test_a_document_that_has_nearly_used_up_its_ids() -> None:
    async def scenario() -> None:
        lab = await formed("a")
        document = lab.engine("a").ledger.document
        document.limits = replace(document.limits, known_clients_max=10)
        document._apply(tuple(Delta(client, "z", 0, 1, 0, 1, (), b"") for client in range(1, 8)))
        assert not list(troubles(lab.engine("a")))
        document._apply((Delta(8, "z", 0, 1, 0, 1, (), b""),))
        [fact] = troubles(lab.engine("a"))
        assert fact.startswith("the document holds the ids of 8 processes, and may hold 10; then a restarted replica")
        assert "import --renew`" in fact

    run(scenario)
