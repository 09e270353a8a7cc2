"""The roster as people change it, and what a replica says of votes; single rules of the voter."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actonce import election_report, reporting
from actonce.agent import Agent
from actonce.context import Context
from actonce.errors import ConfigError, RosterRefused
from actonce.replica import Replica
from actonce.settings import LAN

from .lab import Lab, run

LEASE_S = LAN.suspicion_s + LAN.grace_s


def payer() -> Agent:
    agent = Agent("kevin")

    @agent.task("pay", guard="majority")
    async def pay(ctx: Context, work_s: float) -> str:
        with anyio.move_on_after(work_s):
            await anyio.Event().wait()
        return "paid"

    return agent


def never() -> bool:
    """For waiting in virtual time."""
    return False


async def lab_of(names: str, voters: str) -> Lab:
    lab = Lab(payer(), names)
    lab.roster = tuple(voters)
    await lab.form()
    await lab.sure(lambda: all(lab.engine(name).electorate.votes for name in voters or names[0]))
    return lab


async def change(lab: Lab, how: str, name: str, at: str = "a") -> str | None:
    """None when it was done, or the reason why not."""
    replies: list[str | None] = []
    electorate = lab.engine(at).electorate
    (electorate.add if how == "add" else electorate.remove)(name, replies.append)
    await lab.sure(lambda: bool(replies))
    return replies[0]


def names(lab: Lab, at: str = "a") -> str:
    version = lab.engine(at).electorate.version
    return "".join(version.names) if version is not None else ""


def test_voters_are_added_and_removed_one_at_a_time() -> None:
    async def scenario() -> None:
        lab = await lab_of("abc", "")
        assert names(lab) == "a"
        assert any("actonce roster add b" in fact for fact in reporting.degraded(lab.engine("a")))
        assert await change(lab, "add", "b") is None
        await lab.sure(lambda: names(lab, "b") == "ab")
        assert await change(lab, "add", "c", at="b") is None
        await lab.sure(lambda: all(names(lab, name) == "abc" for name in "abc"))
        await lab.sure(lambda: all(engine.electorate.votes for engine in lab.live()))
        assert await lab.outcome("pay", 0.0) == (True, "paid")
        assert await change(lab, "remove", "a", at="a") is None
        assert names(lab) == "bc"
        assert await lab.outcome("pay", 0.0, key="second") == (True, "paid")

    run(scenario)


@pytest.mark.parametrize(
    ("how", "name", "says"),
    [
        ("add", "b", "votes already"),
        ("add", "x", "is not linked to a"),
        ("remove", "c", "does not vote; voters are: a, b"),
        ("remove", "a", "which is no majority"),
        ("add", "c", "is no majority: ask a replica on the side of the majority"),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_a_sentence(how: str, name: str, says: str) -> None:
    async def scenario() -> None:
        lab = await lab_of("abc", "ab")
        if "majority" in says:
            if how == "add":
                lab.kill("b")
            else:
                lab.engine("a").electorate.contact = lambda voter: 1e9 if voter[0] == "a" else -1e9  # type: ignore[method-assign]
                lab.engine("a").electorate._changeable = lambda: lab.engine("b").electorate.version  # type: ignore[method-assign, assignment, return-value]
            await lab.until(never, LEASE_S)
        with pytest.raises(RosterRefused, match=says):
            await change(lab, how, name)

    run(scenario)


def test_the_last_voter_stays() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab", "")
        with pytest.raises(RosterRefused, match="a is the last voter: add another one first"):
            await change(lab, "remove", "a")

    run(scenario)


def test_a_minority_says_so_and_waits() -> None:
    async def scenario() -> None:
        lab = await lab_of("abc", "abc")
        lab.network.cut({"c"}, {"a", "b"})
        await lab.until(never, LEASE_S + 0.5)
        lab.put("pay", 0.0, key="k", name="c")
        await lab.until(never, 1.0)
        c = lab.engine("c")
        assert any(
            fact.startswith("minority side (1 of 3 voters in reach): 1 task waits") for fact in reporting.degraded(c)
        )
        assert election_report.minority(c)
        [row] = reporting.tasks(c, None, 9)
        assert row["state"] == "open"
        assert row["waits"].startswith("minority side")
        assert not election_report.minority(lab.engine("a"))
        lab.network.heal()
        await lab.sure(lambda: not c.claims.open)

    run(scenario)


def test_a_declared_name_that_was_never_seen_is_named() -> None:
    """One that was there once is not, whether or not it is there now; and nobody who has not settled can tell."""

    async def scenario() -> None:
        lab = Lab(payer(), "abc")
        lab.roster = ("a", "b", "c", "typo")
        a = lab.start("a", new=True)
        lab.start("b")
        await lab.sure(lambda: names(lab, "b") == "ab")
        [said] = [fact for fact in reporting.degraded(a) if fact.startswith("never seen")]
        assert said.startswith("never seen: c, typo, named by --roster: start them, or, if that is a mistake, start a")
        assert reporting.status(a)["roster"]["never_seen"] == ["c", "typo"]
        lab.start("c")
        await lab.sure(lambda: names(lab) == names(lab, "b") == "abc")
        assert election_report.roster_facts(a)["never_seen"] == ["typo"]
        lab.kill("c")
        lab.kill("a")
        a = lab.start("a")
        assert not election_report.never_seen(a), "it has not read yet who was there"
        await lab.sure(lambda: a.membership.settled is not None)
        assert "c" not in a.membership.peers or not a.membership.peers["c"].linked
        assert election_report.never_seen(a) == ["typo"], "c is known by what it wrote"
        assert any("never seen: typo, named by --roster: start it, or" in fact for fact in reporting.degraded(a))
        await lab.sure(lambda: a.electorate.has_majority)
        with pytest.raises(RosterRefused, match=r"typo does not vote; .* without it in --roster"):
            await change(lab, "remove", "typo")

    run(scenario)


def test_explain_names_the_votes() -> None:
    async def scenario() -> None:
        lab = await lab_of("abc", "abc")
        lab.put("pay", 5.0)
        await lab.sure(lambda: any(engine.executor.running for engine in lab.live()))
        await lab.until(never, 0.1)
        story: Any = reporting.explain(lab.engine("a"), "pay/k")
        assert story["guard"][0] == "majority 2 of a, b, c (roster 3)"
        assert sum(" granted epoch " in line for line in story["guard"]) >= 2
        assert any("granted epoch" in line for line in story["story"])

    run(scenario)


def test_a_replica_that_lost_its_journal_does_not_vote() -> None:
    async def scenario() -> None:
        lab = await lab_of("abc", "abc")
        lab.roster = ()
        lab.kill("c")
        lab.wipe("c")
        await lab.until(never, 3 * LEASE_S)
        lab.start("c")
        c = lab.engine("c")
        await lab.sure(lambda: c.membership.settled is not None and names(lab, "c") == "abc")
        assert not c.electorate.votes
        assert any("c lost the journal that it voted with" in fact for fact in reporting.degraded(lab.engine("a")))
        with pytest.raises(RosterRefused, match="remove c first"):
            await change(lab, "add", "c")
        assert await change(lab, "remove", "c") is None
        await lab.sure(lambda: c.me in lab.engine("a").membership.view.members)
        assert await change(lab, "add", "c") is None
        await lab.sure(lambda: c.electorate.votes)

    run(scenario)


def test_a_task_is_taken_over_only_when_the_lease_is_over() -> None:
    async def scenario() -> None:
        lab = await lab_of("abc", "abc")
        lab.put("pay", 60.0)
        await lab.sure(lambda: any(engine.executor.running for engine in lab.live()))
        [holder] = [engine.me.name for engine in lab.live() if engine.executor.running]
        lab.network.cut({holder}, set("abc") - {holder})
        cut_at = lab.loop.time()
        others = [engine for engine in lab.live() if engine.me.name != holder]
        await lab.sure(lambda: any(engine.executor.running for engine in others))
        assert LEASE_S <= lab.loop.time() - cut_at + LAN.heartbeat_s < 2 * LEASE_S

    run(scenario)


def test_a_witness_votes_and_runs_nothing() -> None:
    with pytest.raises(ConfigError, match="'w' is a witness, and not in the roster a, b"):
        Replica(payer(), name="w", data="unused", roster=["a", "b"], witness=True)


def test_an_unknown_guard_is_refused() -> None:
    with pytest.raises(ConfigError, match="guard='quorum': use 'available' or 'majority'"):
        Agent("kevin").task("pay", guard="quorum")  # type: ignore[arg-type]
