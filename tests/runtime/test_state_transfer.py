"""Large answers: from one peer, resumed where they broke off, never trusted unseen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

import actonce.state_transfer
from actonce.lines import Line
from actonce.messages import Bye, Message, Push, decode, encode
from actonce.settings import PAYLOAD_BYTES_MAX
from actonce.sim.process import Process
from actonce.state_transfer import KEEP_S, _checksum
from actonce.transfer_messages import DIGEST_BYTES, Offer, Part, Take
from actonce_crdt import EMPTY_UPDATE

from .lab import Lab, run
from .test_gossip import make_agent
from .test_replica import WAIT_S, Work, replica
from .test_texts import edit

TASKS = 24
RATE = 2e6
"""Bytes a second of a link: all of it takes some seconds."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Wire:
    """What goes over the links: bytes in parts, by who sends them; who offered."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.parts, self.offers = lab, Counter[str](), Counter[str]()
        self._inspect, lab.network.inspect = lab.network.inspect, self.look

    def look(self, process: Process, frame: bytes) -> None:
        self._inspect(process, frame)
        message = decode(frame)
        if isinstance(message, Part):
            self.parts[process.name] += len(message.data)
        self.offers[process.name] += isinstance(message, Offer)

    def size(self) -> int:
        """Of the document."""
        return len(self.lab.engine("a").ledger.document.diff({}))

    @property
    def giver(self) -> str:
        """Who sent most."""
        return self.parts.most_common(1)[0][0]


async def full_lab(names: str) -> tuple[Lab, Wire]:
    """These replicas hold a few megabytes; links are slow from now on."""
    lab = Lab(make_agent(), "abcd")
    for name in names:
        lab.start(name, new=name == "a")
    await lab.sure(lambda: all(len(one.membership.view.members) == len(names) for one in lab.live()))
    for index in range(TASKS):
        lab.put("echo", str(index % 10) * (PAYLOAD_BYTES_MAX // 2), key=f"k{index}")
    await lab.sure(lambda: not lab.engine("a").claims.open and lab.converged())
    lab.network.bytes_per_s = RATE
    return lab, Wire(lab)


async def half_way(lab: Lab, wire: Wire, share: float = 0.3) -> None:
    """`d` was started, and somebody has begun to send to it."""
    if lab.nodes["d"].engine is None:
        lab.start("d")
    await lab.sure(lambda: any(len(one.data) > share * one.size for one in coming(lab)))


def coming(lab: Lab) -> list[Any]:
    return list(lab.engine("d").gossip.transfer._coming.values())


def test_one_peer_gives_it_all() -> None:
    async def scenario() -> None:
        lab, wire = await full_lab("abc")
        lab.start("d")
        await lab.sure(lab.converged)
        await lab.sure(lambda: len(lab.engine("d").membership.view.members) == 4)
        assert len(+wire.parts) == 1
        assert wire.parts[wire.giver] < 1.2 * wire.size()
        assert lab.engine("d").gossip.counts["state_transfers"] == 1
        assert any("fetching" in text for _, text in lab.engine("d").notes)
        assert not lab.engine(wire.giver).gossip.transfer._kept

    run(scenario)


def test_a_link_that_breaks_is_taken_up_where_it_broke() -> None:
    async def scenario() -> None:
        lab, wire = await full_lab("ab")
        for share in (0.2, 0.5, 0.8):
            await half_way(lab, wire, share)
            lab.network.drop("d", wire.giver)
        await lab.sure(lab.converged)
        counts = lab.engine("d").gossip.counts
        assert counts["state_transfers"] == 1
        assert counts["state_transfers_resumed"] == 3
        assert any("resuming at" in text for _, text in lab.engine("d").notes)
        assert sum(wire.parts.values()) < 1.4 * wire.size()
        assert counts["refused"] == 0

    run(scenario)


def test_another_peer_gives_it_when_the_first_dies() -> None:
    async def scenario() -> None:
        lab, wire = await full_lab("abc")
        await half_way(lab, wire)
        lab.kill(wire.giver)
        await lab.sure(lab.converged)
        assert len(+wire.parts) == 2
        assert sum(wire.parts.values()) < 1.2 * wire.size()  # the other one went on where the first had stopped

    run(scenario)


def test_another_peer_is_asked_when_no_part_comes_any_more() -> None:
    async def scenario() -> None:
        lab, wire = await full_lab("abc")
        await half_way(lab, wire)
        first = wire.giver
        lab.network.cuts.add((first, "d"))
        await lab.sure(lambda: len(+wire.parts) == 2)
        await lab.sure(lambda: lab.engine("d").ledger.document.digest == lab.engine("a").ledger.document.digest)
        lab.network.uncut(first, "d")
        await lab.sure(lab.converged)

    run(scenario)


def test_a_slow_peer_does_not_keep_a_fast_one_waiting() -> None:
    async def scenario() -> None:
        lab, wire = await full_lab("ab")
        lab.network.slow_s[frozenset("bd")] = 0.4
        lab.network.cut({"a"}, {"d"})
        lab.start("d")
        await lab.sure(lambda: wire.parts["b"] > 0)
        lab.network.heal()
        began = lab.loop.time()
        await lab.sure(lambda: lab.engine("d").ledger.document.digest == lab.engine("a").ledger.document.digest)
        assert lab.loop.time() - began < 5.0
        assert wire.parts["b"] < 0.2 * wire.size()

    run(scenario)


def test_links_slower_than_patience_bring_it_all_the_same() -> None:
    async def scenario() -> None:
        lab, wire = await full_lab("ab")
        lab.network.bytes_per_s = 40_000.0  # a part takes longer than we wait before we ask the next one
        lab.start("d")
        await lab.until(lambda: lab.converged() and len(lab.live()) == 3, 600.0)
        assert lab.converged()
        assert lab.engine("d").gossip.counts["state_transfers"] <= 3
        assert sum(wire.parts.values()) < 3 * wire.size()

    run(scenario)


def test_what_nobody_takes_any_more_is_let_go() -> None:
    async def scenario() -> None:
        lab, wire = await full_lab("ab")
        await half_way(lab, wire)
        lab.kill("d")
        kept = lab.engine(wire.giver).gossip.transfer._kept
        assert kept
        await lab.until(lambda: False, KEEP_S / 2)
        assert kept
        await lab.sure(lambda: not kept)

    run(scenario)


def test_what_does_not_come_any_more_is_let_go() -> None:
    """Nobody is left who would send the rest: what came of it is not kept for ever."""

    async def scenario() -> None:
        lab, wire = await full_lab("ab")
        await half_way(lab, wire)
        lab.network.inspect = wire._inspect
        lab.kill("a")
        lab.kill("b")
        await lab.until(lambda: False, KEEP_S / 2)
        (one,) = coming(lab)
        assert len(one.data) > 0.3 * one.size
        await lab.until(lambda: False, KEEP_S / 2 + 1.0)
        assert not coming(lab)
        lab.start("a")
        await lab.sure(lab.converged)

    run(scenario)


def test_what_another_peer_had_given_is_not_fetched_again() -> None:
    """b offered what we lacked, and its link broke; we have it from c, and b, which did not hear so, offers it anew."""

    async def scenario() -> None:
        lab = Lab(make_agent(), "abc")
        await lab.form()
        a, said = lab.engine("a"), list[tuple[str, Message]]()
        transfer, (b, c) = a.gossip.transfer, (a.gossip.lines[name] for name in "bc")
        transfer.send = lambda line, message: not said.append((line.name, message))  # type: ignore[func-returns-value]
        old, data = bytes(DIGEST_BYTES), encode(Push(EMPTY_UPDATE))
        transfer.take(b, Offer(old, 2**28))
        await lab.until(lambda: False, transfer._stall_s + 0.1)
        transfer.take(c, Offer(_checksum(data), len(data)))
        transfer.take(c, Part(_checksum(data), 0, data))
        assert not transfer._coming
        for line, digest in ((b, old), (c, _checksum(data))):
            said.clear()
            transfer.take(line, Offer(digest, 2**28))
            assert said == [(line.name, Take(digest, 0, 0))]
            assert not transfer._coming
        transfer.take(b, Offer(old, 2**28))
        assert transfer._coming, "it was told; so this is what we lack now"

    run(scenario)


def test_texts_come_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actonce.state_transfer, "OFFER_BYTES_MIN", 64)

    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        lab.start("a", new=True)
        await lab.sure(lambda: lab.engine("a").membership.settled is not None)
        await edit(lab, "a", lambda text: text.insert(0, "x" * 1000))
        texts = lab.engine("a").gossip.texting.texts
        lab.start("b")
        await lab.sure(lab.converged)
        theirs = lab.engine("b").gossip.texting.texts.document
        await lab.sure(lambda: theirs.digest == texts.document.digest)
        assert lab.engine("b").gossip.counts["state_transfers"] >= 2

    run(scenario)


def spoiled() -> Iterator[tuple[str, list[Message]]]:
    """What no correct replica sends, and what is said about it."""
    data, other = encode(Push(b"\0\0")), encode(Bye())
    good, not_large = _checksum(data), _checksum(other)
    yield "that it offered", [Offer(bytes(DIGEST_BYTES), len(data)), Part(bytes(DIGEST_BYTES), 0, data)]
    yield "that it offered", [Offer(good, len(data)), Part(good, 0, data + b"more")]
    yield "larger than a frame", [Offer(not_large, len(other)), Part(not_large, 0, other)]
    yield "larger than a frame", [Offer(_checksum(b"\xc1"), 1), Part(_checksum(b"\xc1"), 0, b"\xc1")]
    yield "larger than a frame", [Offer(_checksum(data[:2]), 2), Part(_checksum(data[:2]), 0, data[:2])]


@pytest.mark.parametrize(("says", "messages"), list(spoiled()))
def test_bytes_that_are_not_what_was_offered_cost_the_link_and_nothing_else(says: str, messages: list[Message]) -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        for message in messages:
            lab.engine("b").gossip.lines["a"].link.send(encode(message))
        await lab.sure(lambda: lab.engine("a").gossip.counts["refused"] == 1)
        assert any(says in text for _, text in lab.engine("a").notes)
        assert await lab.outcome("echo", 1) == (True, 1)
        await lab.sure(lab.converged)

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        [72, b"short", 5],
        [72, bytes(16), 0],
        [72, bytes(16), 2**40],
        [73, bytes(16), -1, 1],
        [73, bytes(16), 0, 2**40],
        [74, bytes(16), 0, b""],
    ],
)
def test_offers_beyond_every_bound_are_no_messages(body: list[Any]) -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        lab.engine("b").gossip.lines["a"].link.send(msgpack.packb(body))
        await lab.sure(lambda: lab.engine("a").gossip.counts["refused"] == 1)
        assert lab.engine("a").gossip.transfer._coming == {}

    run(scenario)


@pytest.mark.parametrize("message", [Take(bytes(DIGEST_BYTES), 0, 9), Part(bytes(DIGEST_BYTES), 0, b"x")])
def test_words_about_what_nobody_offered_mean_nothing(message: Message) -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        lab.engine("b").gossip.lines["a"].link.send(encode(message))
        assert await lab.outcome("echo", 1) == (True, 1)
        assert lab.engine("a").gossip.counts["refused"] == 0
        assert lab.engine("a").gossip.transfer._coming == {}

    run(scenario)


def test_an_offer_does_not_make_room_ahead() -> None:
    """A peer that offers much and sends nothing costs nothing, and keeps us from asking others for a moment only."""

    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        a = lab.engine("a")
        line: Line = a.gossip.lines["b"]
        a.gossip.transfer.take(line, Offer(bytes(DIGEST_BYTES), 2**28))
        (one,) = a.gossip.transfer._coming.values()
        assert len(one.data) == 0
        assert a.gossip.transfer.busy
        await lab.until(lambda: False, a.gossip.transfer._stall_s + 0.1)
        assert not a.gossip.transfer.busy
        assert math.isfinite(line.asked_at)

    run(scenario)


@pytest.mark.parametrize("drips", [True, False])
def test_a_peer_that_offers_and_hardly_sends_keeps_nobody_from_asking_others(drips: bool) -> None:
    """It sends a byte now and then, or makes another offer as soon as the last one is left."""

    async def scenario() -> None:
        lab = Lab(make_agent(), "abc")
        await lab.form()
        a, b = lab.engine("a"), lab.engine("b").gossip.lines["a"].link
        b.send(encode(Offer(bytes(DIGEST_BYTES), 2**28)))
        busy = Counter[bool]()
        for number in range(200):
            digest = number.to_bytes(DIGEST_BYTES, "big")
            b.send(encode(Part(bytes(DIGEST_BYTES), number, b"x") if drips else Offer(digest, 2**28)))
            await lab.until(lambda: False, 0.05)
            busy[a.gossip.transfer.busy] += 1
        assert busy[False] > 150
        assert not a.gossip.counts["refused"]

    run(scenario)


@pytest.mark.anyio
async def test_over_real_sockets(tmp_path: Path) -> None:
    """A third replica joins two that remember some megabytes: one of them sends it all, and its journal keeps it."""
    work = Work()
    async with replica(work, tmp_path) as first, replica(work, tmp_path, "b", join=[first.address]) as second:
        for index in range(TASKS):
            handle = await first.submit("reply", str(index % 10) * (PAYLOAD_BYTES_MAX // 2), key=f"m{index}")
            await handle.result(WAIT_S)
        join = [first.address, second.address]
        async with replica(work, tmp_path, "c", join=join) as third:
            await third.settled()
            size = await third.inspect(lambda engine: len(engine.ledger.document.diff({})))
            counts = await third.inspect(lambda engine: engine.gossip.counts)
        sent = [await each.inspect(lambda engine: engine.gossip.counts["bytes_sent"]) for each in (first, second)]
    assert counts["state_transfers"] == 1
    assert size > TASKS * PAYLOAD_BYTES_MAX
    assert sum(sent) < 1.5 * 2 * size, "all that was written went to the other of the two, and once to the third"
    async with replica(work, tmp_path, "c") as again:
        assert await again.inspect(lambda engine: len(engine.ledger.document.diff({}))) >= size
