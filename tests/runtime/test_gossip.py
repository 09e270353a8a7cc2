"""What flows over links: push, acknowledgement, anti-entropy, chunks, refusals."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.discovered import PEERS_MAX
from actonce.lines import CHUNK_BYTES
from actonce.messages import Ask, Chunk, Push, encode
from actonce.ownership import View
from actonce.settings import PAYLOAD_BYTES_MAX
from actonce_transports import FRAME_BYTES_MAX, End, Identity

from .lab import Lab, run, turns


def make_agent(name: str = "kevin") -> Agent:
    agent = Agent(name)

    @agent.task("echo")
    async def echo(ctx: Context, payload: Any) -> Any:
        return payload

    return agent


@dataclass
class Silent:
    """A link on which nobody answers."""

    peer: Identity
    address: str = ""
    dialed: bool = False
    queued_bytes: int = 0

    def send(self, frame: bytes) -> bool:
        return True

    def close(self, goodbye: bool = True) -> None:
        """It is not there anyway."""


async def lab_of(names: str) -> Lab:
    lab = Lab(make_agent(), names)
    await lab.form()
    return lab


def test_a_late_joiner_gets_everything_in_chunks_where_it_must() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        lab.start("a", new=True)
        for index in range(20):
            lab.put("echo", str(index) * (PAYLOAD_BYTES_MAX // 3), key=f"k{index}")
        await lab.sure(lambda: not lab.engine("a").claims.open)
        assert len(lab.engine("a").ledger.document.diff({})) > FRAME_BYTES_MAX
        lab.start("b")
        await lab.sure(lab.converged)
        assert lab.engine("b").gossip.counts["refused"] == 0

    run(scenario)


def test_what_a_lost_push_carried_is_asked_for() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        a, b = lab.engine("a"), lab.engine("b")
        line = a.gossip.lines.pop("b")  # one push finds no link
        lab.put("echo", 1)
        await lab.sure(lambda: a.ledger.durable_clock == a.ledger.next_clock > 0)
        a.gossip.lines["b"] = line
        lab.put("echo", 2, key="k2")
        await lab.sure(lab.converged)
        assert b.gossip.counts["gaps"] + b.gossip.counts["asks"] >= 2
        await lab.sure(lambda: not a.claims.open and not b.claims.open)

    run(scenario)


def test_two_replicas_that_never_meet_hear_through_a_third() -> None:
    async def scenario() -> None:
        lab = await lab_of("abc")
        lab.network.cut({"a"}, {"c"})
        lab.put("echo", 1)
        await lab.sure(lambda: "echo/k" in lab.engine("c").ledger.state.tasks)

    run(scenario)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        encode(Push(b"\x01\x01\x02\x00\x00\x00\x00")),
        encode(Ask(b"\xff\xff\xff\xff\xff")),
        encode(Chunk(0, 1, encode(Chunk(0, 1, b"x")))),
        encode(Chunk(0, 1, b"\xff")),
    ],
    ids=["empty", "no message", "hostile update", "hostile state vector", "chunk in a chunk", "no message in a chunk"],
)
def test_bytes_that_no_correct_replica_sends_cost_the_link_and_nothing_else(frame: bytes) -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        a, b = lab.engine("a"), lab.engine("b")
        b.gossip.lines["a"].link.send(frame)
        await lab.sure(lambda: a.gossip.counts["refused"] == 1)
        assert any("refused a message of b" in text for _, text in a.notes)
        await lab.sure(lambda: "b" in a.gossip.lines and "a" in b.gossip.lines)
        assert await lab.outcome("echo", 1) == (True, 1)
        await lab.sure(lab.converged)

    run(scenario)


def test_the_rest_of_a_message_whose_start_was_lost_is_dropped() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        b = lab.engine("b")
        whole = encode(Push(b"\x00\x00"))
        for index, count, part in [(1, 2, b"lost"), (0, 3, b"x"), (2, 3, b"y"), (0, 2, whole[:2]), (1, 2, whole[2:])]:
            b.gossip.lines["a"].link.send(encode(Chunk(index, count, part)))
        assert await lab.outcome("echo", 1) == (True, 1)
        assert lab.engine("a").gossip.counts["refused"] == 0

    run(scenario)


def test_one_frame_holds_one_chunk() -> None:
    assert len(encode(Chunk(2**16, 2**16 + 1, bytes(CHUNK_BYTES)))) <= FRAME_BYTES_MAX


def test_strangers_and_doubles_are_refused_with_a_reason() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        gossip, about = lab.engine("a").gossip, lab.engine("b").about
        other = Lab(make_agent("ada"), "b")
        stranger = other.start("b", new=True)

        def accept(name: str, data: bytes) -> str | None:
            return gossip.accept(Identity(name, data), False)

        assert accept("b", about.encode()) is None, "the same process may link again"
        assert accept("x", b"nonsense") == "the peer speaks another protocol, or another version of this one"
        assert accept("b", stranger.about.encode()) == "this is agent 'kevin', not 'ada'"
        assert accept("a", lab.engine("a").about.encode()) == "self: this is the replica itself"
        assert str(accept("a", about.encode())).startswith("name taken: another live replica is called 'a'")
        double = lab.engine("a").about
        assert str(accept("b", double.encode())).startswith("name taken: a replica called 'b' with")

    run(scenario)


def test_a_name_that_is_taken_stops_the_newcomer() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        lab.start("a")
        lab.engine("a").gossip.dial_failed("b", _denied(), "name taken: another live replica is called 'a'")
        assert lab.failures == [
            "a: b says: name taken: another live replica is called 'a'. "
            "Choose another --name, or stop the other replica."
        ]
        assert lab.engine("a").gate.shut

    run(scenario)


def test_a_name_that_is_taken_elsewhere_does_not_stop_who_is_at_work() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        lab.engine("a").gossip.dial_failed("x", _denied(), "name taken: another live replica is called 'a'")
        assert lab.failures == []
        assert not lab.engine("a").gate.shut

    run(scenario)


def _denied() -> Any:
    from actonce_transports import Reach

    return Reach.DENIED


def test_a_denial_is_noted_once() -> None:
    async def scenario() -> None:
        lab = await lab_of("a")
        engine = lab.engine("a")
        for _ in range(3):
            engine.gossip.dial_failed("x", _denied(), "wrong secret")
        assert [text for _, text in engine.notes if "secret" in text] == ["x refused us: wrong secret"]
        assert engine.views.denials == {"x": "wrong secret"}

    run(scenario)


def test_addresses_that_others_know_are_dialed_and_the_newest_ones_count() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        discovered, transport = lab.engine("a").gossip.discovered, lab.world().transport
        discovered.named(["b"])  # linked, so it keeps its place
        discovered.named(f"h{index}" for index in range(2 * PEERS_MAX))
        assert len(discovered.known) == PEERS_MAX
        assert "b" in discovered.known
        assert f"h{PEERS_MAX}" not in transport.dialing
        assert f"h{2 * PEERS_MAX - 1}" in transport.dialing
        discovered.named([f"h{PEERS_MAX + 1}", "new"])
        assert f"h{PEERS_MAX + 1}" in transport.dialing, "it was named just now"
        assert f"h{PEERS_MAX + 2}" not in transport.dialing

    run(scenario)


def test_a_replica_that_comes_back_elsewhere_is_not_looked_for_where_it_was() -> None:
    async def scenario() -> None:
        lab = await lab_of("ab")
        a = lab.engine("a")
        discovered, transport = a.gossip.discovered, lab.world().transport
        here, times = a.gossip.lines["b"].about, 3 * PEERS_MAX
        for number in range(1, times):
            address = f"10.0.{number // 256}.{number % 256}:1"
            there = replace(here, address=address, incarnation=here.incarnation + number)
            discovered.named([there.address])
            a.gossip.link_up(Silent(Identity("b", there.encode())))
        assert list(discovered.known) == [there.address]
        assert transport.dialing == {"b", there.address}, "the user gave the former"
        a.gossip.link_up(Silent(Identity("c", there.encode())))
        back = replace(there, address="b", incarnation=there.incarnation + 1)
        a.gossip.link_up(Silent(Identity("b", back.encode())))
        assert there.address in transport.dialing, "now c is there"

    run(scenario)


def test_an_idle_mesh_says_little() -> None:
    async def scenario() -> None:
        lab = await lab_of("abc")
        before = lab.network.frames
        await lab.until(lambda: False, 10.0)
        per_link_and_s = (lab.network.frames - before) / 10 / 6
        assert per_link_and_s <= 1.2 / lab.settings.heartbeat_s
        await turns()

    run(scenario)


def test_a_link_that_comes_up_while_we_notice_that_we_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulator, seeds 1684 and others: to settle anew is announced on all links, this one included."""

    async def scenario() -> None:
        lab = await lab_of("ab")
        a, b = lab.engine("a"), lab.engine("b")
        link = a.gossip.lines["b"].link
        a.gossip.link_down(link, End.LOST)
        del a.membership.peers["b"]
        a.membership.view = View(a.membership.view.number, frozenset({a.me}))
        monkeypatch.setattr(a.membership, "look", lambda now: a.gossip.announce())
        a.gossip.link_up(link)
        assert a.membership.peers["b"].member == b.me

    run(scenario)
