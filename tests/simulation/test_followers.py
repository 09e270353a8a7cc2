"""Replicas that only follow: the unchanged engine, in virtual time. Nobody waits for them; they miss nothing."""

import asyncio
import os
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import actonce.front
import actonce.upkeep
from actonce.errors import ConfigError, NotAMember
from actonce.inbox import pack_payload
from actonce.ledger import Ledger
from actonce.lines import Line
from actonce.messages import Ack, Ask, Heartbeat, Message, Push, encode
from actonce.overlay import ACTIVE_MAX
from actonce.overlay_messages import (
    HOPS_MAX,
    Contact,
    Elsewhere,
    Graft,
    Have,
    Hello,
    Prune,
    Pulse,
    Swap,
    Walk,
)
from actonce.settings import LAN
from actonce.sim.cluster import Node
from actonce.sim.disk import Disk
from actonce.standing import Target

from .flocks import MEMBERS, Flock, run

SEEDS = range(1, 1 + int(os.environ.get("FOLLOWER_SEEDS", "1")))


async def troubled(seed: int) -> None:
    """Followers crash and come back, a member does, links are cut and lossy, while work goes on."""
    flock = Flock(seed, 20)
    await flock.form()
    flock.network.loss = 0.05
    for round_ in range(6):
        flock.ask(3)
        for name in flock.dice.sample(flock.followers, 4):
            if flock.down(name):
                flock.start(name)
            else:
                flock.kill(name)
        lone = flock.dice.choice(flock.followers)
        for other in flock.nodes:
            if other != lone:
                flock.cut(lone, other)
                flock.cut(other, lone)
        if round_ == 2:
            flock.kill("c")
        await asyncio.sleep(flock.dice.uniform(0.5, 2.0))
        for other in flock.nodes:
            if other != lone:
                flock.uncut(lone, other)
                flock.uncut(other, lone)
        if round_ == 3:
            flock.start("c")
    flock.network.loss = 0.0
    for name in flock.followers:
        if flock.down(name):
            flock.start(name)
    flock.ask(3)
    assert await flock.until(flock.linked, 40.0)
    await flock.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_after_all_faults_followers_hold_what_members_hold(seed: int) -> None:
    run(troubled, seed)


def test_a_follower_that_is_taken_for_a_member_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that hands the link of a follower to the receiver for members."""
    monkeypatch.setattr(actonce.front, "_follows", lambda peer: False)

    async def scenario() -> None:
        flock = Flock(1, 2)
        for name in (*MEMBERS, "f000"):
            flock.start(name, new=name == "a")
        await asyncio.sleep(3.0)
        flock.check_apart()

    with pytest.raises(AssertionError):
        run(scenario)


def test_nobody_waits_for_followers() -> None:
    """All of them stand still, with links that stay up: work goes on as if they were not there."""

    async def scenario() -> None:
        flock = Flock(2, 6)
        await flock.form()
        for name in flock.followers:
            flock.pause(name)
        began = flock.loop.time()
        flock.ask(10)
        assert await flock.until(lambda: len(flock.feed.posts) == 10, 1.0)
        assert flock.loop.time() - began < 0.3
        for name in flock.followers:
            flock.resume(name)
        await flock.check()

    run(scenario)


def test_what_only_a_dead_member_had_comes_back_by_a_follower() -> None:
    async def scenario() -> None:
        flock = Flock(3, 4)
        await flock.form()
        for other in ("b", "c"):
            flock.cut("a", other)
            flock.cut(other, "a")
        for name in flock.followers:  # linked with a only
            for other in ("b", "c"):
                flock.cut(name, other)
                flock.cut(other, name)
        flock.submit("a", "reply", "last words", "last")
        follower = flock.engine("f000")
        assert await flock.until(lambda: "reply/last" in follower.ledger.state.tasks, 40.0)
        flock.kill("a")
        for other in ("b", "c"):
            flock.network.held.pop(("a", other), None)  # nothing of it arrives any more
        for source, target in sorted(flock.network.cuts):
            flock.uncut(source, target)
        assert await flock.until(lambda: "reply/last" in flock.engine("b").ledger.state.tasks, 60.0)

    run(scenario)


def test_a_follower_takes_nothing_in_and_says_who_does() -> None:
    async def scenario() -> None:
        flock = Flock(4, 1)
        await flock.form()
        engine = flock.engine("f000")
        replies: list[Any] = []
        for call in (
            lambda: engine.inbox.submit("reply", pack_payload("it", 1), "k", replies.append),
            lambda: engine.control.order(Target(None, None), "pause", "", replies.append),
        ):
            with pytest.raises(NotAMember, match=r"ask a member: .*(a at a|b at b|c at c)"):
                call()
        assert replies == []
        before = engine.ledger.next_clock
        await asyncio.sleep(5.0)
        assert engine.ledger.next_clock == before == 0

    run(scenario)


def test_what_followers_cost_a_member_does_not_depend_on_their_number() -> None:
    async def scenario(count: int) -> int:
        flock = Flock(5, count, members=("a",))
        await flock.form()
        await asyncio.sleep(5.0)
        flock.engine("a").spread.counts.clear()
        for _ in range(5):
            flock.ask()
            await asyncio.sleep(0.5)
        assert len(flock.engine("a").spread.views.active) <= ACTIVE_MAX
        return flock.engine("a").spread.counts["frames_sent"]

    few, many = run(scenario, 6), run(scenario, 16)
    assert many < 1.5 * few


def test_a_follower_restarts_from_its_journal_and_may_become_a_member() -> None:
    async def scenario() -> None:
        flock = Flock(6, 2)
        await flock.form()
        flock.ask(5)
        await flock.check()
        flock.kill("f000")
        flock.start("f000")
        assert flock.engine("f000").ledger.document.entry_count > 0
        flock.ask(2)
        await flock.check()
        flock.kill("f000")
        flock.nodes["f000"].follow = False
        engine = flock.start("f000")
        assert await flock.until(lambda: engine.membership.act_until() > engine.world.now(), 20.0)
        flock.kill("f000")
        flock.nodes["f000"].follow = True
        with pytest.raises(ConfigError, match="own"):
            flock.start("f000")

    run(scenario)


def test_a_member_comes_before_a_follower_that_has_its_name() -> None:
    async def scenario() -> None:
        flock = Flock(10, 1, members=("a", "b"))
        flock.start("a", new=True)
        flock.nodes["b"].follow = True
        flock.start("b")
        assert await flock.until(lambda: "b" in flock.engine("a").spread.lines, 5.0)
        imposter, flock.nodes["b"] = flock.nodes["b"], Node("b", Disk(random.Random(1)))
        flock.start("b")  # another process, on another journal
        both = lambda: len(flock.engine("a").membership.view.members) == 2  # noqa: E731
        assert await flock.until(both, 10.0)
        assert "b" not in flock.engine("a").spread.lines
        assert imposter.engine is not None
        assert await flock.until(lambda: bool(flock.failures), 10.0)
        assert "another live replica is called 'b'" in flock.failures[0]

    run(scenario)


def test_who_joins_at_a_follower_is_told_to_join_a_member() -> None:
    async def scenario() -> None:
        flock = Flock(11, 1, members=("a", "b"))
        flock.start("a", new=True)
        flock.start("f000")
        assert await flock.until(flock.linked, 10.0)
        flock.kill("a")
        engine = flock.start("b")
        engine.front.join(["f000"])
        assert await flock.until(lambda: "f000" in engine.views.denials, 5.0)
        assert engine.views.denials["f000"] == "a follower: join a member instead"

    run(scenario)


def test_texts_reach_followers_also_those_that_were_away() -> None:
    async def scenario() -> None:
        flock = Flock(14, 6)
        await flock.form()
        for index in range(4):
            flock.submit("a", "note", f"[{index}]", f"n{index}")
            await asyncio.sleep(0.3)

        def texts() -> list[str]:
            return [str(engine.memory.texts.read("notes").text) for engine in flock.live()]

        assert await flock.until(lambda: len(set(texts())) == 1 and len(texts()[0]) == 12, 20.0), texts()
        flock.kill("f002")
        flock.submit("b", "note", "[more]", "n9")
        await asyncio.sleep(3.0)
        flock.start("f002")
        assert await flock.until(lambda: len(set(texts())) == 1 and "[more]" in texts()[0], 20.0), texts()
        assert flock.failures == []
        flock.check_apart()

    run(scenario)


def test_what_members_forget_followers_forget_and_nobody_brings_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """One follower is away meanwhile with all of it on its disk, one with nothing; links are lossy."""
    monkeypatch.setattr(actonce.upkeep, "PASS_MIN", 20)

    async def scenario() -> None:
        flock = Flock(13, 8, settings=replace(LAN, retention_s=2.0, forget_after_s=4.0))
        await flock.form()
        flock.kill("f000")
        flock.ask(30)
        await flock.check()
        assert len(flock.engine("f001").ledger.state.tasks) >= 30
        flock.kill("f001")
        flock.network.loss = 0.05
        member = flock.engine("a").ledger
        assert await flock.until(lambda: "reply/k0" not in member.state.tasks, 60.0)
        flock.start("f000")
        flock.start("f001")
        flock.ask(5)
        flock.network.loss = 0.0
        await asyncio.sleep(30.0)
        assert await flock.until(flock.converged, 30.0), flock.states()
        for engine in flock.live():
            assert not [task for task in engine.ledger.state.tasks if task.startswith("reply/")]
        assert sorted(flock.feed.keys()) == sorted(f"reply/{key}/#1" for key in flock.keys)
        assert flock.failures == []
        flock.check_apart()

    run(scenario)


@pytest.mark.parametrize("frame", [b"\xff", b"", encode(Ack(1)), encode(Heartbeat(1.0, 1.0, 1, bytes(8), {}))])
def test_what_a_follower_must_not_say_ends_its_link_and_nothing_else(frame: bytes) -> None:
    async def scenario() -> None:
        flock = Flock(7, 1, members=("a",))
        await flock.form()
        flock.engine("f000").spread.lines["a"].link.send(frame)
        assert await flock.until(lambda: flock.engine("a").spread.counts["refused"] == 1, 1.0)
        assert await flock.until(flock.linked, 20.0)
        flock.ask()
        await flock.check()

    run(scenario)


contacts = st.lists(
    st.builds(
        Contact,
        st.sampled_from(["a", "f000", "x", ""]),
        st.sampled_from(["a", "f000", "f001", "nobody", "not:an:address", ""]) | st.text("xyz", max_size=9),
        st.booleans(),
    ),
    max_size=9,
).map(tuple)
counts = st.integers(0, 2**40)
said = st.one_of(
    st.builds(Hello, st.sampled_from(["join", "need", "may"])),
    st.builds(Elsewhere, contacts),
    st.builds(Walk, contacts.filter(bool).map(lambda some: some[0]), st.integers(0, HOPS_MAX)),
    st.builds(Swap, contacts, st.booleans()),
    st.builds(Pulse, st.binary(min_size=16, max_size=16), st.integers(0, 9), st.floats(0, 99), st.integers(0, 9)),
    st.builds(Have, st.dictionaries(counts, counts, max_size=5)),
    st.builds(Graft, st.binary(max_size=9)),
    st.builds(Ask, st.binary(max_size=9)),
    st.builds(Push, st.binary(max_size=30)),
    st.just(Prune()),
)


@settings(max_examples=8, deadline=None)
@given(st.lists(said, min_size=10, max_size=40), st.booleans())
def test_whatever_a_neighbour_says_work_goes_on(words: list[Message], to_member: bool) -> None:
    async def scenario() -> None:
        flock = Flock(12, 2, members=("a",))
        await flock.form()
        source, target = ("f000", "a") if to_member else ("a", "f000")
        for word in words:
            line = flock.engine(source).spread.lines.get(target)
            if line is not None:
                line.link.send(encode(word))
            await asyncio.sleep(0.01)
        flock.ask()
        await flock.check()
        assert await flock.until(flock.linked, 30.0)

    run(scenario)


def test_what_is_for_followers_is_refused_between_members() -> None:
    async def scenario() -> None:
        flock = Flock(8, 0)
        await flock.form()
        flock.engine("a").gossip.lines["b"].link.send(encode(Prune()))
        assert await flock.until(lambda: flock.engine("b").gossip.counts["refused"] == 1, 1.0)

    run(scenario)


def test_updates_that_a_full_queue_drops_come_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        flock = Flock(9, 8)
        await flock.form()
        send = Line.send_frames
        dropped = 0

        def lossy(line: Line, parts: list[bytes]) -> bool:
            nonlocal dropped
            if parts[0].startswith(encode(Push(b""))[:2]) and "f" in line.name and flock.dice.random() < 0.3:
                dropped += 1
                return False
            return send(line, parts)

        monkeypatch.setattr(Line, "send_frames", lossy)
        for _ in range(10):
            flock.ask()
            await asyncio.sleep(0.3)
        assert dropped > 3
        await flock.check()

    run(scenario)


def test_a_write_on_a_follower_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "check_writes", lambda self: None)
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        test_a_follower_takes_nothing_in_and_says_who_does()
