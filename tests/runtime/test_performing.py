"""One effect: intent, gate, publish, receipt; what is sent again, what is asked, what is skipped."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from actonce.agent import Agent, OnDoubt
from actonce.context import Context
from actonce.errors import ActonceError, ConfigError, SinkRefused, SinkUnknown
from actonce.ownership import owner
from actonce.settings import LAN
from actonce_crdt import Claim, Intent, Json, Receipt, pack_value

from .lab import Lab, run, turns

EFFECT = "post/k/#1"


class Room:
    """A sink that answers as it is told, one answer a request; when there are none left, "ok"."""

    dedupe_window_s = 0.0
    publish_timeout_s = 1.0
    can_lookup = False

    def __init__(self, *answers: Json | Exception, known: Json | None = None) -> None:
        self.answers, self.known = list(answers), known
        self.sent: list[tuple[str, Json, int]] = []
        self.asked: list[float] = []
        self.hold: asyncio.Event | None = None
        self.watch: Callable[[], None] = lambda: None

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        if self.hold is not None:
            await self.hold.wait()
        gate()
        self.watch()
        self.sent.append((key, body, fence))
        answer = self.answers.pop(0) if self.answers else "ok"
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def lookup(self, key: str) -> Json | None:
        self.asked.append(asyncio.get_running_loop().time())
        return self.known

    async def aclose(self) -> None: ...


def make_lab(room: Room, names: str = "a", *, on_doubt: OnDoubt = "resend", retries: int = 0) -> Lab:
    """`post` posts its payload, once for each part of it; a part [key, body] has a key."""
    agent = Agent("kevin")
    agent.sink("room", room)

    @agent.task("post", on_doubt=on_doubt, retries=retries)
    async def post(ctx: Context, parts: list[Any]) -> Any:
        receipts = []
        for part in parts:
            key, body = part if isinstance(part, list) else (None, part)
            receipts.append(await ctx.post("room", body, key=key))
        return receipts

    @agent.task("wrong")
    async def wrong(ctx: Context, what: str) -> Any:
        calls: dict[str, tuple[str, Any, str | None]] = {
            "sink": ("garden", 1, None),
            "body": ("room", {1}, None),
            "key": ("room", 1, ""),
        }
        sink, body, key = calls[what]
        raised = "nothing"
        try:
            await ctx.post(sink, body, key=key)
        except ActonceError as error:
            raised = type(error).__name__
        return raised

    @agent.task("both")
    async def both(ctx: Context, keys: list[str | None]) -> Any:
        async def one(key: str | None) -> Any:
            return await ctx.post("room", key, key=key)

        found = await asyncio.gather(*map(one, keys), return_exceptions=True)
        return [type(item).__name__ for item in found]

    return Lab(agent, names)


async def attempt(room: Room, parts: Json, **options: Any) -> tuple[bool, Any, Lab]:
    lab = make_lab(room, **options)
    await lab.form()
    ok, result = await lab.outcome("post", parts)
    return ok, result, lab


def test_receipts_come_back_in_order_with_keys_by_position() -> None:
    room = Room({"id": 1}, [2], None)
    ok, result, lab = run(attempt, room, ["one", ["mine", "two"], "three"])
    assert (ok, result) == (True, [{"id": 1}, [2], None])
    assert room.sent == [("post/k/#1", "one", 1), ("post/k/mine", "two", 1), ("post/k/#2", "three", 1)]
    effect = lab.engine("a").ledger.state.effects[EFFECT]
    assert effect.intent is not None
    assert effect.receipt is not None
    assert effect.doubt is None


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_nothing_leaves_before_the_intent_is_on_disk_and_with_every_member(names: str) -> None:
    async def scenario() -> None:
        room = Room()
        lab = make_lab(room, names)
        await lab.form()
        seen: list[bool] = []

        def watch() -> None:
            seen.extend(EFFECT in engine.ledger.state.effects for engine in lab.live())
            [ours] = [engine for engine in lab.live() if engine.executor.running]
            seen.append(ours.ledger.durable_clock == ours.ledger.next_clock)

        room.watch = watch
        lab.put("post", ["x"])
        await lab.sure(lambda: bool(room.sent))
        assert seen == [True] * (len(names) + 1)

    run(scenario)


def test_a_refusal_is_tried_again_as_the_sink_asked_and_is_no_doubt() -> None:
    room = Room(SinkRefused("busy", retry_after_s=7.0), "done")
    ok, result, lab = run(attempt, room, ["x"])
    assert (ok, result) == (True, ["done"])
    assert len(room.sent) == 2
    assert lab.engine("a").ledger.state.effects[EFFECT].doubt is None


def test_a_refusal_for_good_fails_the_attempt() -> None:
    room = Room(SinkRefused("no such room", permanent=True))
    ok, error, _ = run(attempt, room, ["x"])
    assert (ok, error) == (False, f"EffectFailed: room refused effect '{EFFECT}': no such room")
    assert len(room.sent) == 1


def test_attempts_at_one_effect_are_bounded() -> None:
    room = Room(*[SinkRefused("busy")] * 99)
    ok, error, _ = run(attempt, room, ["x"])
    assert (ok, error) == (False, f"EffectFailed: effect '{EFFECT}' failed {LAN.effect_attempts_max} times: busy")
    assert len(room.sent) == LAN.effect_attempts_max


def test_an_unknown_end_is_sent_again_while_the_sink_refuses_repeated_keys() -> None:
    room = Room(SinkUnknown("lost"), "done")
    room.dedupe_window_s = math.inf
    ok, result, lab = run(attempt, room, ["x"])
    assert (ok, result) == (True, ["done"])
    assert [key for key, _, _ in room.sent] == [EFFECT, EFFECT]
    doubt = lab.engine("a").ledger.state.effects[EFFECT].doubt
    assert doubt is not None
    assert doubt.settled == "resent"


@pytest.mark.parametrize(("window_s", "on_doubt"), [(0.0, "resend"), (1.0, "resend"), (math.inf, "skip")])
def test_an_unknown_end_is_otherwise_given_up_and_listed(window_s: float, on_doubt: OnDoubt) -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"))
        room.dedupe_window_s = window_s
        ok, result, lab = await attempt(room, ["x", "y"], on_doubt=on_doubt)
        assert (ok, result) == (True, [None, "ok"])
        assert [body for _, body, _ in room.sent] == ["x", "y"]
        doubt = lab.engine("a").ledger.state.effects[EFFECT].doubt
        assert doubt is not None
        assert doubt.settled == "skipped"

    run(scenario)


@pytest.mark.parametrize("window_s", [0.0, 60.0])
def test_an_intent_from_the_future_is_never_sent_again(window_s: float) -> None:
    """Its replica's clock was an hour ahead, so nobody knows how long ago that was."""

    async def scenario() -> None:
        room = Room(SinkUnknown("lost"))
        room.dedupe_window_s = window_s
        lab = make_lab(room)
        await lab.form()
        lab.skew("a", 3600.0)
        room.watch = lambda: lab.skew("a", 0.0)
        await lab.outcome("post", ["x"])
        assert [body for _, body, _ in room.sent] == ["x"]
        doubt = lab.engine("a").ledger.state.effects[EFFECT].doubt
        assert doubt is not None
        assert doubt.settled == "skipped"

    run(scenario)


def test_no_intent_is_written_while_contact_is_stale() -> None:
    """Whoever has taken the task over meanwhile would find it, and have a doubt where there is none."""

    async def scenario() -> None:
        room, agent, go = Room(), Agent("kevin"), asyncio.Event()
        agent.sink("room", room)

        @agent.task("waits")
        async def waits(ctx: Context, payload: Any) -> None:
            await go.wait()
            await ctx.post("room", payload)

        lab = Lab(agent, "ab")
        engine = await lab.form()
        key = next(f"k{n}" for n in range(100) if owner(f"waits/k{n}", [e.me for e in lab.live()], bool) == engine.me)
        lab.put("waits", "x", key)
        await lab.sure(lambda: bool(engine.executor.running))
        lab.network.cut({"a"}, {"b"})
        await lab.sure(lambda: engine.membership.act_until() < engine.world.now())
        go.set()
        await turns(100)
        assert not engine.ledger.state.effects
        lab.network.heal()
        await lab.sure(lambda: not engine.claims.open)
        [effect] = engine.ledger.state.effects.values()
        assert (len(room.sent), effect.doubt) == (1, None)

    run(scenario)


def test_a_sink_that_can_be_asked_is_asked() -> None:
    room = Room(SinkUnknown("lost"), known={"id": 5})
    room.can_lookup = True
    ok, result, lab = run(attempt, room, ["x"])
    assert (ok, result) == (True, [{"id": 5}])
    assert len(room.sent) == 1
    doubt = lab.engine("a").ledger.state.effects[EFFECT].doubt
    assert doubt is not None
    assert doubt.settled == "found"


def test_absent_counts_only_when_nothing_can_still_arrive() -> None:
    room = Room(SinkUnknown("lost"))
    room.can_lookup = True
    ok, _, _ = run(attempt, room, ["x"])
    assert ok
    assert len(room.sent) == 2
    first, second = room.asked
    assert second - first >= room.publish_timeout_s * 0.999


def test_the_next_attempt_replays_what_was_done() -> None:
    room = Room("first", SinkRefused("no", permanent=True))
    ok, result, _ = run(lambda: attempt(room, ["x", "y"], retries=1))
    assert (ok, result) == (True, ["first", "ok"])
    assert [body for _, body, _ in room.sent] == ["x", "y", "y"]


async def taken_over(room: Room, body: str, *, receipt: bool) -> Lab:
    """The task was claimed by a replica that is gone, and that left an intent, and perhaps a receipt."""
    lab = make_lab(room)
    engine = await lab.form()
    ledger = engine.ledger
    ledger.write(Claim("post/k", ledger.stamp(), "gone", 3, 1))
    ledger.write(Intent(EFFECT, ledger.stamp(), "gone", "post/k", 3, "room", pack_value(body)))
    if receipt:
        ledger.write(Receipt(EFFECT, ledger.stamp(), "gone", 3, pack_value("theirs")))
    return lab


def test_a_survivor_sends_the_recorded_body() -> None:
    async def scenario() -> None:
        room = Room()
        room.dedupe_window_s = math.inf
        lab = await taken_over(room, "recorded", receipt=False)
        assert await lab.outcome("post", ["computed anew"]) == (True, ["ok"])
        assert room.sent == [(EFFECT, "recorded", 4)]

    run(scenario)


def test_a_survivor_replays_the_receipt() -> None:
    async def scenario() -> None:
        room = Room()
        lab = await taken_over(room, "recorded", receipt=True)
        assert await lab.outcome("post", ["computed anew"]) == (True, ["theirs"])
        assert room.sent == []

    run(scenario)


def test_out_of_contact_an_effect_waits_at_the_gate() -> None:
    async def scenario() -> None:
        room = Room()
        room.hold = asyncio.Event()
        lab = make_lab(room, "ab")
        await lab.form()
        lab.put("post", ["x"])
        await lab.sure(lambda: all(EFFECT in engine.ledger.state.effects for engine in lab.live()))
        lab.network.cut({"a"}, {"b"})
        await lab.until(lambda: False, LAN.contact_window_s + LAN.tick_s)
        lab.network.heal()
        asyncio.get_running_loop().call_soon(room.hold.set)
        await lab.sure(lambda: bool(room.sent))
        await lab.sure(lambda: all(not engine.claims.open for engine in lab.live()))
        assert len(room.sent) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("what", "error"), [("sink", ConfigError.__name__), ("body", "PayloadInvalid"), ("key", "PayloadInvalid")]
)
def test_a_wrong_call_is_the_handlers_error(what: str, error: str) -> None:
    async def scenario() -> None:
        lab = make_lab(Room())
        await lab.form()
        assert await lab.outcome("wrong", what) == (True, error)

    run(scenario)


def test_posts_at_once_need_keys() -> None:
    async def scenario() -> None:
        lab = make_lab(Room())
        await lab.form()
        assert await lab.outcome("both", [None, None]) == (True, ["str", "EffectFailed"])
        assert await lab.outcome("both", ["x", "y"], key="2") == (True, ["str", "str"])
        assert await lab.outcome("both", ["x", "x"], key="3") == (True, ["str", "KeyReused"])

    run(scenario)
