"""Breakers, endpoints, failover: what is left alone and for how long, and where an effect may go next. Virtual time."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest

from actonce.breaker import FAILURES_MAX, REST_S, REST_S_MAX, Breaker
from actonce.endpoints import Failover, Line, Lines, line_to
from actonce.errors import ConfigError, GateClosed, SinkError, SinkRefused, SinkUnknown
from actonce.sim.cluster import simulate
from actonce_crdt import Json

from .lab import run
from .test_performing import EFFECT, Room, make_lab

BUSY = SinkRefused("busy")
LOST = SinkUnknown("lost")
NEVER = SinkRefused("never", permanent=True)


def opened() -> None:
    """A gate that lets everything pass."""


async def send(line: Line, key: str = "k") -> str:
    """What came of it: the receipt, or the name of the error."""
    try:
        return str(await line.publish("x", key, 1, opened))
    except (SinkError, GateClosed) as error:
        return type(error).__name__


def test_a_breaker_opens_after_failures_in_a_row_and_rests_longer_each_time() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_MAX - 1):
        breaker.failed(0.0, "busy")
    assert breaker.wait_s(0.0) == 0.0
    breaker.succeeded()
    for _ in range(FAILURES_MAX):
        breaker.failed(10.0, "busy")
    now, rests = 10.0, []
    for _ in range(8):
        rests.append(breaker.wait_s(now))
        now += rests[-1]
        assert breaker.wait_s(now) == 0.0
        breaker.enter()
        assert breaker.wait_s(now) == math.inf, "one probe at a time"
        breaker.failed(now, "busy")
    assert rests == [REST_S * 2.0**n for n in range(5)] + [REST_S_MAX] * 3
    breaker.succeeded()
    assert breaker.wait_s(now) == 0.0


def test_a_breaker_rests_as_long_as_it_was_asked_to_and_a_probe_without_an_end_counts_as_none() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        breaker.failed(0.0, "busy", 100.0)
    assert breaker.wait_s(0.0) == 100.0
    breaker.enter()
    breaker.left()
    assert breaker.wait_s(100.0) == 0.0


def test_what_waits_at_an_open_breaker_goes_on_one_by_one_until_a_probe_succeeds() -> None:
    async def scenario() -> tuple[list[str], float, int]:
        room = Room(*[BUSY] * (FAILURES_MAX + 2))
        line = line_to(room)
        for _ in range(FAILURES_MAX):
            await send(line)
        begun = anyio.current_time()
        ends = await asyncio.gather(*(send(line, f"k{n}") for n in range(6)))
        return sorted(ends), anyio.current_time() - begun, len(room.sent)

    ends, took_s, sent = simulate(scenario)
    assert ends == ["SinkRefused"] * 2 + ["ok"] * 4
    assert (took_s, sent) == (REST_S * (1 + 2 + 4), FAILURES_MAX + 6)


def test_a_closed_gate_and_a_refusal_for_good_say_nothing_bad_about_the_sink() -> None:
    async def scenario() -> None:
        def closed() -> None:
            raise GateClosed("superseded")

        room = Room(*[NEVER] * (2 * FAILURES_MAX))
        line = line_to(room)
        for _ in range(2 * FAILURES_MAX):
            with pytest.raises(GateClosed):
                await line.publish("x", "k", 1, closed)
            assert await send(line) == "SinkRefused"
        assert line.endpoints[0].breaker == Breaker()

    simulate(scenario)


def test_what_one_endpoint_refuses_for_the_moment_the_next_one_gets() -> None:
    async def scenario() -> list[int]:
        first, second = Room(BUSY, NEVER), Room()
        line = line_to(Failover(first, second))
        ends = [await send(line) for _ in range(2)]
        with anyio.move_on_after(2 * REST_S):
            await anyio.sleep_forever()
        ends.append(await send(line))
        assert ends == ["ok", "ok", "SinkRefused"], "for good is for good; and the first is preferred again"
        return [len(first.sent), len(second.sent)]

    assert simulate(scenario) == [2, 2]


def test_what_may_have_been_done_goes_to_no_other_endpoint_by_itself() -> None:
    async def scenario() -> list[int]:
        first, second = Room(LOST), Room()
        line = line_to(Failover(first, second))
        assert await send(line) == "SinkUnknown"
        return [len(first.sent), len(second.sent)]

    assert simulate(scenario) == [1, 0]


def test_an_error_that_is_none_of_the_contract_may_have_come_after_the_act() -> None:
    async def scenario() -> str:
        return await send(line_to(Room(ValueError("odd"))))

    assert simulate(scenario) == "SinkUnknown"


def known(receipt: Json | None) -> Room:
    room = Room(known=receipt)
    room.can_lookup, room.dedupe_window_s = True, 60.0
    return room


class Deaf(Room):
    """Cannot be asked at the moment."""

    can_lookup = True
    dedupe_window_s = 10.0

    async def lookup(self, key: str) -> Json | None:
        raise SinkUnknown("no answer")


@pytest.mark.parametrize(
    ("sinks", "one_store", "found"),
    [
        ([known(None), known({"id": 1})], False, {"id": 1}),
        ([known(None), known(None)], False, None),
        ([known(None), Deaf()], False, "SinkUnknown"),
        ([Deaf(), known(None)], False, "SinkUnknown"),
        ([Deaf(), known(None)], True, None),
        ([Room(), known({"id": 1})], True, {"id": 1}),
    ],
)
def test_absent_is_said_by_all_or_by_one_of_one_store(sinks: list[Room], one_store: bool, found: Any) -> None:
    async def scenario() -> Any:
        sink = Failover(*sinks, one_store=one_store)
        assert sink.can_lookup
        try:
            return await sink.lookup("k")
        except SinkUnknown:
            return "SinkUnknown"

    assert simulate(scenario) == found


def test_what_several_endpoints_promise_together() -> None:
    unasked, asked = Room(), known(None)
    both = Failover(unasked, asked)
    assert (both.can_lookup, both.dedupe_window_s, both.publish_timeout_s) == (False, 0.0, 1.0)
    store = Failover(known(None), Deaf(), one_store=True)
    assert (store.can_lookup, store.dedupe_window_s) == (True, 10.0)
    assert Failover(known(None)).dedupe_window_s == 60.0
    with pytest.raises(ConfigError):
        Failover()


def test_a_doubt_at_one_endpoint_is_sent_to_the_next_if_they_share_a_store() -> None:
    """The kind says resend, and the service refuses repeated keys whichever door they come through."""

    async def scenario(one_store: bool) -> tuple[int, int, str]:
        doors = Room(LOST), Room()
        for door in doors:
            door.dedupe_window_s = math.inf
        lab = make_lab(doors[0])
        engine = await lab.form()
        engine.agent.sinks["room"] = Failover(*doors, one_store=one_store)
        assert (await lab.outcome("post", ["x"]))[0]
        doubt = engine.ledger.state.effects[EFFECT].doubt
        assert doubt is not None
        return len(doors[0].sent), len(doors[1].sent), doubt.settled

    assert run(scenario, True) == (1, 1, "resent")
    assert run(scenario, False) == (1, 0, "skipped")


def test_lines_are_not_shared_and_say_what_rests() -> None:
    async def scenario() -> None:
        room, one, other = Room(*[BUSY] * 9), Lines(), Lines()
        for _ in range(FAILURES_MAX):
            await send(one.to("room", room))
        assert one.to("room", room) is one.to("room", room)
        assert one.resting() == ["sink room (Room) is left alone after 5 failures in a row: busy"]
        assert other.to("room", room).endpoints[0].breaker == Breaker()
        assert other.resting() == []

    simulate(scenario)
