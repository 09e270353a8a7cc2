"""The contract, as tests that every transport must pass. Also for transports of third parties:

    class TestMine(TransportContract):
        @pytest.fixture
        def mesh(self) -> Mesh:
            return MyMesh()

A `Mesh` makes transports that can reach each other, and can do to them what a test needs. The tests are coroutines and
run with anyio's pytest plugin on asyncio; they wait for events with a timeout, and never sleep. pytest is imported by
this module and contract_tools.py, and nowhere else in the package.
"""

import functools

import pytest

from .contract import End, Identity, Link, Reach
from .contract_tools import Mesh, Recorder, Side, Stage
from .errors import AddressBusy, AddressInvalid, FrameTooLarge, NotRunning
from .limits import FRAME_BYTES_MAX, QUEUE_BYTES_MAX

__all__ = ["TransportContract"]


class TransportContract:
    """Subclass it as `Test...` and give it a fixture `mesh`."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def mesh(self) -> Mesh:
        raise NotImplementedError("a subclass says what it tests")

    @pytest.fixture
    def stage(self, mesh: Mesh) -> Stage:
        return Stage(mesh)

    # Links and frames.

    async def test_both_sides_know_each_other(self, stage: Stage) -> None:
        async with stage:
            _, b, at_a, at_b = await stage.pair()
            assert (at_a.peer, at_b.peer) == (Identity("b", b"about b"), Identity("a", b"about a"))
            assert (at_a.dialed, at_b.dialed) == (True, False)
            assert (at_a.address, at_b.address) == (b.transport.address, "")

    async def test_frames_arrive_whole_in_order_once(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, at_b = await stage.pair()
            sent = [bytes([i % 256]) * (i * i % 5000) for i in range(500)]
            assert all(at_a.send(frame) for frame in sent)
            assert all(at_b.send(frame) for frame in sent[::-1])
            await b.receiver.until(lambda: len(b.receiver.frames) >= len(sent))
            await a.receiver.until(lambda: len(a.receiver.frames) >= len(sent))
            assert b.receiver.frames == sent
            assert a.receiver.frames == sent[::-1]

    async def test_the_largest_frame_passes_and_a_larger_one_raises(self, stage: Stage) -> None:
        async with stage:
            _, b, at_a, _ = await stage.pair()
            with pytest.raises(FrameTooLarge):
                at_a.send(bytes(FRAME_BYTES_MAX + 1))
            assert at_a.send(b"x" * FRAME_BYTES_MAX)
            assert at_a.send(b"")
            await b.receiver.until(lambda: len(b.receiver.frames) == 2)
            assert [len(frame) for frame in b.receiver.frames] == [FRAME_BYTES_MAX, 0]

    async def test_a_full_queue_drops_frames_and_the_link_survives(self, stage: Stage) -> None:
        async with stage:
            _, b, at_a, _ = await stage.pair()
            sent = 0
            # No await: nothing can be read meanwhile. What the system buffers comes on top of our own queue.
            while at_a.send(sent.to_bytes(8, "big") + bytes(FRAME_BYTES_MAX - 8)):
                sent += 1
                assert sent < 1000, "the queue has no bound"
                assert at_a.queued_bytes <= QUEUE_BYTES_MAX
            await b.receiver.until(lambda: len(b.receiver.frames) == sent)
            assert [int.from_bytes(frame[:8], "big") for frame in b.receiver.frames] == list(range(sent))
            assert at_a.send(b"again")
            await b.receiver.until(lambda: b.receiver.frames[-1] == b"again")
            assert not b.receiver.ends("a")

    async def test_a_send_inside_a_callback_delivers_later(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()

            def answer(link: Link, data: bytes) -> None:
                if data:
                    link.send(data[:-1])

            a.receiver.on_frame = b.receiver.on_frame = answer
            at_a.send(bytes(100))
            await b.receiver.until(lambda: b"" in b.receiver.frames)
            assert not a.receiver.reentered
            assert not b.receiver.reentered

    async def test_a_callback_that_raises_ends_its_link_only(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()
            c = await stage.start("c")
            c.transport.dial(b.transport.address)
            await c.receiver.link("b")

            def fail(link: Link, data: bytes) -> None:
                raise ZeroDivisionError("planted")

            b.receiver.on_frame = fail
            with stage.mesh.faults() as faults:
                at_a.send(b"boom")
                assert await b.receiver.end("a") is End.LOST
                await a.receiver.end("b")
                await b.receiver.until(lambda: bool(faults))
            assert isinstance(faults[0], ZeroDivisionError)
            assert not b.receiver.ends("c")

    # Ends.

    async def test_a_goodbye_is_heard_after_all_frames(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()
            a.transport.undial(b.transport.address)
            for i in range(100):
                at_a.send(b"%d" % i)
            at_a.close()
            at_a.close()
            assert not at_a.send(b"late")
            assert not a.receiver.ends("b"), "close called back before it returned"
            assert await b.receiver.end("a") is End.CLOSED
            assert len(b.receiver.frames) == 100
            assert await a.receiver.end("b") is End.CLOSED

    async def test_a_close_without_goodbye_looks_like_death(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()
            a.transport.undial(b.transport.address)
            at_a.close(goodbye=False)
            assert await b.receiver.end("a") is End.EOF
            assert await a.receiver.end("b") is End.CLOSED

    async def test_a_kill_is_eof_after_all_frames(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, at_b = await stage.pair()
            for i in range(100):
                at_a.send(b"%d" % i)
            await stage.mesh.kill(a.transport)
            stage.sides.remove(a)
            at_b.send(b"into the void")
            assert await b.receiver.end("a") is End.EOF
            assert len(b.receiver.frames) == 100

    async def test_stop_says_goodbye(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()
            at_a.send(b"last words")
            await a.transport.stop()
            assert a.receiver.ends("b") == [End.CLOSED]
            assert await b.receiver.end("a") is End.CLOSED
            assert b.receiver.frames == [b"last words"]
            await a.transport.stop()
            with pytest.raises(NotRunning):
                a.transport.dial(b.transport.address)

    # Dialing.

    async def test_redial_after_a_drop(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()
            for count in (1, 2):
                await stage.mesh.drop(a.transport, at_a)
                assert await a.receiver.end("b", count) is End.EOF
                assert await b.receiver.end("a", count) is End.EOF
                at_a, _ = await a.receiver.link("b"), await b.receiver.link("a")
            at_a.send(b"here again")
            await b.receiver.until(lambda: b.receiver.frames == [b"here again"])

    async def test_a_dial_waits_for_a_late_listener(self, stage: Stage) -> None:
        async with stage:
            a, b = await stage.start("a"), await stage.start("b")
            address = b.transport.address
            await b.transport.stop()
            a.transport.dial(address)
            assert (await a.receiver.failure())[:2] == (address, Reach.REFUSED)
            await stage.start("b", b"second life", stage.mesh.twin(b.transport))
            assert (await a.receiver.link("b")).peer.about == b"second life"

    async def test_refused_is_told_from_silent(self, stage: Stage, mesh: Mesh) -> None:
        async with stage:
            a = await stage.start("a")
            expected = {mesh.unused_address(): Reach.REFUSED, mesh.silent_address(): Reach.SILENT}
            for address in filter(None, expected):
                a.transport.dial(address)
            await a.receiver.until(lambda: set(failures(a)) == set(filter(None, expected)))
            assert failures(a).items() <= expected.items()

    async def test_probe(self, stage: Stage, mesh: Mesh) -> None:
        async with stage:
            a, b = await stage.start("a"), await stage.start("b")
            found: list[tuple[str, Reach]] = []

            def done(address: str, reach: Reach) -> None:
                found.append((address, reach))
                a.receiver.changed()

            expected = [(b.transport.address, Reach.OPEN), (mesh.unused_address(), Reach.REFUSED)]
            silent = mesh.silent_address()
            expected += [(silent, Reach.SILENT)] if silent is not None else []
            for address, _ in expected:
                a.transport.probe(address, functools.partial(done, address))
            assert not found, "probe called back before it returned"
            await a.receiver.until(lambda: len(found) >= len(expected))
            assert sorted(found, key=str) == sorted(expected, key=str)
            assert not b.receiver.events

    async def test_a_refusal_reaches_the_dialer(self, stage: Stage) -> None:
        async with stage:
            a, b = await stage.start("a"), await stage.start("b")
            b.receiver.refuse = lambda peer: f"no room for {peer.name}"
            a.transport.dial(b.transport.address)
            assert await a.receiver.failure() == (b.transport.address, Reach.DENIED, "no room for a")
            assert ("accept", "a", False) in b.receiver.events
            b.receiver.refuse = lambda peer: None
            await a.receiver.link("b")

    async def test_the_dialer_may_refuse_too(self, stage: Stage) -> None:
        async with stage:
            a, b = await stage.start("a"), await stage.start("b")
            a.receiver.refuse = lambda peer: "not you"
            a.transport.dial(b.transport.address)
            assert await a.receiver.failure() == (b.transport.address, Reach.DENIED, "not you")
            assert ("up", "a") not in b.receiver.events

    async def test_two_of_one_name_are_refused(self, stage: Stage) -> None:
        async with stage:
            a, other = await stage.start("a", b"1"), await stage.start("a", b"2")
            a.transport.dial(other.transport.address)
            assert (await a.receiver.failure())[1] is Reach.DENIED

    async def test_undial_ends_the_attempts_and_not_the_link(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()
            a.transport.undial(b.transport.address)
            a.transport.undial(b.transport.address)
            at_a.send(b"still here")
            await b.receiver.until(lambda: b.receiver.frames == [b"still here"])
            await stage.mesh.drop(a.transport, at_a)
            await b.receiver.end("a")
            c = await stage.start("c")
            c.transport.dial(a.transport.address)
            await c.receiver.link("a")
            assert [link.peer.name for link in a.receiver.links] == ["c"]

    # Duplicates.

    @pytest.mark.parametrize("turn", range(4))
    async def test_simultaneous_dials_keep_what_the_smaller_name_dialed(self, stage: Stage, turn: int) -> None:
        async with stage:
            a, b = await stage.start("a"), await stage.start("b")
            for one, other in ((a, b), (b, a)) if turn % 2 else ((b, a), (a, b)):
                one.transport.dial(other.transport.address)
            # Each side is asked about both; then the one that `b` dialed goes, if it was up at all.
            await a.receiver.until(lambda: {("accept", "b", True), ("accept", "b", False)} <= set(a.receiver.events))
            await a.receiver.until(lambda: [link.dialed for link in a.receiver.links] == [True])
            await b.receiver.until(lambda: [link.dialed for link in b.receiver.links] == [False])
            a.receiver.links[0].send(b"over one")
            await b.receiver.until(lambda: b.receiver.frames == [b"over one"])
            assert set(a.receiver.ends("b") + b.receiver.ends("a")) <= {End.REPLACED}

    async def test_a_late_dial_by_the_larger_name_changes_nothing(self, stage: Stage) -> None:
        async with stage:
            a, b, at_a, _ = await stage.pair()
            a.receiver.events.clear()
            b.transport.dial(a.transport.address)
            await a.receiver.until(lambda: ("accept", "b", False) in a.receiver.events)
            at_a.send(b"x")
            await b.receiver.until(lambda: b.receiver.frames == [b"x"])
            assert a.receiver.links == [at_a]

    @pytest.mark.parametrize("name", ["Z", "z"])
    async def test_a_new_process_of_a_name_replaces_the_old_one(self, stage: Stage, name: str) -> None:
        async with stage:
            b = await stage.start("b")
            old = await stage.start(name, b"1")
            old.transport.dial(b.transport.address)
            await b.receiver.link(name)
            old.transport.undial(b.transport.address)
            new = await stage.start(name, b"2")
            new.transport.dial(b.transport.address)
            assert await b.receiver.end(name) is End.REPLACED
            assert (await b.receiver.link(name)).peer.about == b"2"
            assert await old.receiver.end("b") is End.REPLACED
            await new.receiver.link("b")

    async def test_three_in_a_full_mesh(self, stage: Stage) -> None:
        async with stage:
            sides = {name: await stage.start(name) for name in "abc"}
            for one in sides.values():
                one.receiver.on_link_up = greet
            for one in sides.values():
                for other in sides.values():
                    if one is not other:
                        one.transport.dial(other.transport.address)
            for name, one in sides.items():
                # What was sent over a link that was folded may be lost; the other one has brought it again.
                await one.receiver.until(functools.partial(greeted, one, sides.keys() - {name}))

    # Start.

    async def test_an_address_is_used_once(self, stage: Stage) -> None:
        async with stage:
            a = await stage.start("a")
            with pytest.raises(AddressBusy):
                await stage.mesh.twin(a.transport).start(Identity("b"), Recorder())

    async def test_a_transport_runs_once(self, stage: Stage) -> None:
        async with stage:
            a = await stage.start("a")
            with pytest.raises(NotRunning):
                await a.transport.start(Identity("a"), Recorder())
            with pytest.raises(AddressInvalid):
                a.transport.dial("")
            with pytest.raises(NotRunning):
                stage.mesh.transport().dial(a.transport.address)


def failures(side: Side) -> dict[str, Reach]:
    """What failed dials have found, by address."""
    found = {}
    for what, address, reach, *_ in (event for event in side.receiver.events if event[0] == "failed"):
        assert what == "failed"
        assert isinstance(reach, Reach)
        found[str(address)] = reach
    return found


def greet(link: Link) -> None:
    """Say to whom we believe to speak."""
    link.send(link.peer.name.encode())


def greeted(side: Side, names: set[str]) -> bool:
    """True once there is a link to each of these names, and somebody has greeted us."""
    return {link.peer.name for link in side.receiver.links} == names and len(side.receiver.frames) >= len(names)
