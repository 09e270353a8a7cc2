"""What the memory network has beyond the contract: cuts, kills, a scheduler of one's own."""

import heapq
from collections.abc import Callable

import pytest

from actonce_transports import End, Identity, MemoryNetwork, MemoryTransport, Reach
from actonce_transports.contract_tools import Recorder


class Scheduler:
    """Virtual time: runs what is due, in order."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def call_soon(self, call: Callable[[], None]) -> None:
        self.call_later(0, call)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._count, call))

    def run(self, until_s: float) -> None:
        for _ in range(100_000):
            if not self._queue or self._queue[0][0] > until_s:
                self.now_s = until_s
                return
            self.now_s, _, call = heapq.heappop(self._queue)
            call()
        raise AssertionError("a busy loop")


class World:
    def __init__(self, names: str) -> None:
        self.time = Scheduler()
        self.network = MemoryNetwork(call_soon=self.time.call_soon, call_later=self.time.call_later)
        self.receivers: dict[str, Recorder] = {}
        self.transports: dict[str, MemoryTransport] = {}
        for name in names:
            self.start(name)

    def start(self, name: str, about: bytes = b"") -> None:
        self.receivers[name] = Recorder()
        self.transports[name] = MemoryTransport(self.network, name)
        with pytest.raises(StopIteration):  # it never waits, so that no event loop is needed
            self.transports[name].start(Identity(name, about), self.receivers[name]).send(None)

    def run(self, seconds: float = 0) -> None:
        self.time.run(self.time.now_s + seconds)


def linked(names: str) -> World:
    world = World(names)
    world.transports[names[0]].dial(names[1])
    world.run()
    assert world.receivers[names[1]].links
    return world


def test_a_cut_holds_frames_one_way_until_it_heals() -> None:
    world = linked("ab")
    world.network.cut("a", "b")
    for frame in (b"1", b"2"):
        assert world.receivers["a"].links[0].send(frame)
    assert world.receivers["b"].links[0].send(b"back")
    world.run(100)
    assert world.receivers["b"].frames == []
    assert world.receivers["a"].frames == [b"back"]
    assert world.receivers["a"].links[0].queued_bytes == 2
    world.network.heal("a", "b")
    world.run()
    assert world.receivers["b"].frames == [b"1", b"2"]


def test_a_death_behind_a_cut_is_not_heard() -> None:
    world = linked("ab")
    world.network.cut("a", "b")
    world.network.kill("a")
    world.run(100)
    assert world.receivers["b"].ends("a") == []
    world.network.heal("a", "b")
    world.run()
    assert world.receivers["b"].ends("a") == [End.EOF]
    assert world.receivers["a"].ends("b") == [], "the dead hear nothing"


def test_a_dial_across_a_cut_finds_silence() -> None:
    for one, other in (("a", "b"), ("b", "a")):
        world = World("ab")
        world.network.cut(one, other)
        world.transports["a"].dial("b")
        world.run()
        assert ("failed", "b", Reach.SILENT, "b did not answer") in world.receivers["a"].events
        world.network.heal(one, other)
        world.run(1)
        assert world.receivers["a"].links


def test_a_link_that_one_side_holds_for_dead_is_replaced() -> None:
    """`a` closes while what it says is cut off; `b` does not know, and must not keep `a` from coming back."""
    world = linked("ab")
    world.network.cut("a", "b")
    world.receivers["a"].links[0].close()
    world.run()
    assert world.receivers["b"].links
    world.network.heal("a", "b")
    world.run(5)
    assert [len(world.receivers[name].links) for name in "ab"] == [1, 1]
    assert len(world.receivers["b"].ends("a")) == 1


def test_the_killed_are_refused_and_come_back() -> None:
    world = linked("ab")
    world.network.kill("b")
    world.run()
    assert world.receivers["a"].ends("b") == [End.EOF]
    assert ("failed", "b", Reach.REFUSED, "nobody listens on b") in world.receivers["a"].events
    world.start("b", b"again")
    world.run(3)
    assert world.receivers["a"].links[0].peer == Identity("b", b"again")


def test_attempts_are_spaced_out() -> None:
    world = World("a")
    world.transports["a"].dial("b")
    world.run(60)
    assert 120 <= len(world.receivers["a"].events) <= 250


def test_links_that_die_at_once_make_no_busy_loop() -> None:
    world = World("ab")
    world.receivers["a"].on_link_up = lambda link: link.close()
    world.transports["a"].dial("b")
    world.run(60)
    assert 10 <= len(world.receivers["a"].ends("b")) <= 250


def test_a_receiver_that_raises_is_loud() -> None:
    world = linked("ab")

    def fail(link: object, data: bytes) -> None:
        raise ZeroDivisionError("planted")

    world.receivers["b"].on_frame = fail
    world.receivers["a"].links[0].send(b"x")
    with pytest.raises(ZeroDivisionError):
        world.run()
    assert world.receivers["b"].ends("a") == [End.LOST]


def test_the_same_script_gives_the_same_events() -> None:
    def script() -> list[tuple[object, ...]]:
        world = World("abc")
        for one in "abc":
            for other in sorted(set("abc") - {one}):
                world.transports[one].dial(other)
        world.run(1)
        world.network.drop_link("a", "b")
        world.network.kill("c")
        world.run(5)
        return [event for name in "abc" for event in world.receivers[name].events]

    assert script() == script()
