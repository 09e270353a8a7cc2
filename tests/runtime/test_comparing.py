"""Links that begin by digest: what a lost, late, false or hostile word of it costs, and what it saves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import actonce.comparing
from actonce.compare_messages import Rows, Sums
from actonce.comparing import NEWS_MAX
from actonce.engine import Engine
from actonce.lines import CHUNK_BYTES, Line
from actonce.messages import Ask, Heartbeat, Message, decode, encode
from actonce.settings import LAN
from actonce.sim.process import Process
from actonce_crdt import Delta
from actonce_crdt.buckets import encode_rows

from .lab import Lab, run
from .test_gossip import make_agent


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every document has many chains."""
    monkeypatch.setattr(actonce.comparing, "CLIENTS_FEW", -1)


async def lab_of(names: str) -> Lab:
    lab = Lab(make_agent(), names)
    await lab.form()
    return lab


def knows(engine: Engine, name: str) -> bool:
    """Whether it knows all that the peer has read, and counts on it."""
    peer = engine.membership.peers[name]
    return not peer.unsaid and not peer.behind and engine.membership.act_until() > engine.world.now()


@pytest.mark.parametrize(
    "make",
    [
        lambda sent: Sums(1, b"short", True),
        lambda sent: Sums(1, bytes(8 * 9), True),
        lambda sent: Rows(sent.moment, 99, b"", False),
        lambda sent: Rows(sent.moment, 99, encode_rows(sent.width, [0], {1: (1, 0)}), True),
        lambda sent: Rows(sent.moment, 99, encode_rows(sent.width, [0], {}) + b"\x00", True),
        lambda sent: Rows(sent.moment, 99, b"\x01" + b"\xff" * 40, True),
    ],
    ids=["no width", "no power of two", "no rows", "row of another bucket", "bytes too many", "no number"],
)
def test_what_no_correct_replica_says_costs_the_link_and_nothing_else(
    few: None, make: Callable[[Any], Message]
) -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        a, b = lab.engine("a"), lab.engine("b")
        line = a.gossip.lines["b"]
        line.asked_at = 0.0
        a.gossip.ask("b")
        sent = a.gossip.comparing._side(line).sent
        b.gossip.lines["a"].link.send(encode(make(sent)))
        await lab.sure(lambda: a.gossip.counts["refused"] == 1)
        assert any("refused a message of b" in text for _, text in a.notes)
        await lab.sure(lambda: "b" in a.gossip.lines and "a" in b.gossip.lines)
        assert await lab.outcome("echo", 1) == (True, 1)
        await lab.sure(lambda: lab.converged() and knows(a, "b") and knows(b, "a"))

    run(scenario)


def test_an_answer_to_no_question_is_nothing(few: None) -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        a, b = lab.engine("a"), lab.engine("b")
        await lab.outcome("echo", 1)
        b.gossip.lines["a"].link.send(encode(Rows(77, 5, encode_rows(8, range(8), {9: (5, 0)}), True)))
        await lab.until(lambda: False, 0.5)
        assert 9 not in a.membership.peers["b"].read
        assert a.gossip.counts["refused"] == 0
        assert knows(a, "b")

    run(scenario)


def losing(patch: pytest.MonkeyPatch, kind: type[Message], times: int) -> list[Message]:
    """The first so many messages of this kind are lost, and nobody is told."""
    send, lost = Line.send, list[Message]()

    def forgetful(self: Line, message: Message) -> bool:
        if isinstance(message, kind) and len(lost) < times:
            lost.append(message)
            return True
        return send(self, message)

    patch.setattr(Line, "send", forgetful)
    return lost


@pytest.mark.parametrize("kind", [Sums, Rows])
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_word_that_is_lost_in_silence_is_missed(
    few: None, kind: type[Message], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        lost = losing(monkeypatch, kind, times)
        lab = await lab_of("ab")
        assert await lab.outcome("echo", 1) == (True, 1)
        await lab.sure(lambda: lab.converged() and knows(lab.engine("a"), "b") and knows(lab.engine("b"), "a"))
        assert len(lost) == times

    run(scenario)


def test_nobody_counts_on_a_heartbeat_that_adds_to_what_is_unsaid(few: None) -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        a, b = lab.engine("a"), lab.engine("b")
        side = b.gossip.comparing._side(b.gossip.lines["a"])
        side.basis = side.said + 1
        b.gossip.beat()
        await lab.sure(lambda: a.membership.peers["b"].unsaid)
        contact = a.membership.peers["b"].contact
        await lab.until(lambda: False, 0.15)
        assert a.membership.peers["b"].contact == contact
        await lab.sure(lambda: knows(a, "b"))  # it asked
        assert side.said >= side.basis

    run(scenario)


def test_nobody_counts_on_a_heartbeat_from_before_this_link_was_used_again() -> None:
    """As when a relayed link ends, and the direct one is used again while old frames are still on it: they add to what
    was said before, and what we knew to lack is forgotten. (Seen in a simulation, with a fault planted elsewhere.)"""

    async def scenario() -> None:
        lab = await lab_of("ab")
        a, b = lab.engine("a"), lab.engine("b")
        await lab.outcome("echo", 1)
        link = a.gossip.lines["b"].link
        a.gossip.lines["b"].asked_at = math.inf  # it does not get what it lacks
        b.ledger.document._apply((Delta(9, "z", 0, 3, 0, 3, ()),))
        await lab.sure(lambda: a.membership.peers["b"].behind == {9})
        a.membership.lost("b", ended=False)
        a.gossip.link_up(link)
        asked: list[bool] = []

        def inspect(process: Process, frame: bytes) -> None:
            if process.name == "a" and isinstance(decode(frame), Sums):
                asked.append(a.membership.peers["b"].unsaid)

        lab.network.inspect = inspect
        b.gossip.beat()
        assert await lab.until(lambda: knows(a, "b") and a.ledger.document.clock_of(9) == 3, LAN.ask_again_s / 2)
        assert asked[:1] == [True], "it did not count on b, and asked at once"

    run(scenario)


def fill(engine: Engine, clients: int, first: int) -> None:
    """Chains of processes that ended long ago."""
    deltas = (Delta(client, "z", 0, 3, 0, 3, ()) for client in range(first, first + clients))
    engine.ledger.document._apply(tuple(deltas))


def test_who_learns_of_much_at_once_states_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer in an old mesh: its heartbeats stay short, and so does what it says of what it got."""

    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        fill(lab.start("a", new=True), 1_500, 1 << 40)
        longest = 0

        def inspect(process: object, frame: bytes) -> None:
            nonlocal longest
            message = decode(frame)
            longest = max(longest, len(message.read) if isinstance(message, Heartbeat) else 0)

        lab.network.inspect = inspect
        lab.start("b")
        await lab.sure(lambda: lab.converged() and lab.engine("b").ledger.document.client_count >= 1_500)
        await lab.sure(lambda: knows(lab.engine("a"), "b") and knows(lab.engine("b"), "a"))
        assert longest <= NEWS_MAX
        before = lab.engine("a").gossip.counts["bytes_sent"] + lab.engine("b").gossip.counts["bytes_sent"]
        lab.network.drop("a", "b")
        await lab.sure(lambda: "b" not in lab.engine("a").gossip.lines)
        await lab.sure(lambda: "b" in lab.engine("a").gossip.lines and knows(lab.engine("a"), "b"))
        after = lab.engine("a").gossip.counts["bytes_sent"] + lab.engine("b").gossip.counts["bytes_sent"]
        assert after - before < 8_000, "a state vector alone would be 10,000 bytes"

    run(scenario)


def test_followers_compare_as_well(few: None) -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        lab.nodes["b"].follow = True
        fill(lab.start("a", new=True), 600, 1 << 40)
        for number in range(20):
            lab.put("echo", number, key=f"k{number}")
        lab.start("b")
        await lab.sure(lab.converged)
        b = lab.engine("b")
        assert b.spread.counts["sent Sums"] > 0
        assert b.spread.counts["sent Ask"] == 0
        assert b.spread.counts["refused"] == lab.engine("a").spread.counts["refused"] == 0

    run(scenario)


def test_few_clients_are_named_one_by_one_as_ever() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        words: set[type[Message]] = set()
        lab.network.inspect = lambda process, frame: words.add(type(decode(frame)))
        await lab.form()
        assert await lab.outcome("echo", 1) == (True, 1)
        assert Ask in words
        assert not words & {Sums, Rows}

    run(scenario)


def test_rows_of_very_many_chains_come_in_chunks() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        a, line = lab.engine("a"), lab.engine("b").gossip.lines["a"]
        taken: list[Message] = []
        a.gossip.comparing.take = lambda line, message: taken.append(message)  # type: ignore[method-assign]
        said = Rows(1, 1, bytes(CHUNK_BYTES * 2), False)
        line.send(said)
        await lab.sure(lambda: taken == [said])
        assert a.gossip.counts["refused"] == 0

    run(scenario)
