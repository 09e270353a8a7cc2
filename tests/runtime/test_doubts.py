"""Doubts that a person settles: who waits, what an answer does, and what becomes of it when it is sent again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actonce.agent import Agent
from actonce.doubts import Open
from actonce.errors import NoSuchTask, SinkRefused, SinkUnknown, WrongState
from actonce.reporting import posts, status, tasks
from actonce_crdt import Claim, Doubt, Intent, pack_value

from .lab import Lab, run
from .test_performing import EFFECT, Room, make_lab

TASK = "post/k"
TIMEOUT_S = 5.0


async def asking(room: Room, names: str = "ab", parts: Any = ("x",), **options: Any) -> Lab:
    """A mesh in which `post/k` waits for a person."""
    lab = make_lab(room, names, on_doubt="ask", **options)
    engine = await lab.form()
    engine.agent.tasks["post"] = replace(engine.agent.tasks["post"], timeout_s=TIMEOUT_S)
    lab.put("post", list(parts))
    await lab.sure(lambda: all([doubt.waits for doubt in engine.doubts.open()] == ["person"] for engine in lab.live()))
    return lab


def doubt(lab: Lab, name: str = "a") -> Doubt:
    found = lab.engine(name).ledger.state.effects[EFFECT].doubt
    assert found is not None
    return found


def answer(lab: Lab, name: str, what: str, key: str = EFFECT) -> list[str]:
    words: list[str] = []
    lab.engine(name).doubts.resolve(key, what, words.append)
    return words


async def over(lab: Lab, task: str = TASK) -> Any:
    await lab.sure(lambda: all(lab.state(task, engine.me.name).done is not None for engine in lab.live()))
    done = lab.state(task).done
    assert done is not None
    return done.ok


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize(
    ("what", "sent", "ends"), [("posted", 1, "posted"), ("skip", 1, "skipped"), ("resend", 2, "resent")]
)
def test_an_answer_at_any_replica_reaches_whoever_waits(what: str, sent: int, ends: str, name: str) -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"))
        lab = await asking(room)
        words = answer(lab, name, what)
        assert await over(lab)
        assert words == [{"posted": "posted", "skip": "skipped", "resend": "resend"}[what]]
        assert (len(room.sent), doubt(lab).settled) == (sent, ends)
        assert not list(lab.engine(name).doubts.open())

    run(scenario)


def test_nothing_is_sent_and_no_slot_is_taken_while_nobody_answers() -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"))
        lab = await asking(room, "a")
        engine = lab.engine("a")
        assert engine.executor.free == engine.settings.slots
        assert not await lab.until(lambda: not engine.executor.running, 3 * TIMEOUT_S), "its timeout ran"
        assert len(room.sent) == 1
        [row] = tasks(engine, None, 10)
        assert row["waits"] == f"waits for a person: actonce doubts resolve {EFFECT}"
        assert posts(engine, 10)[0]["state"] == "in doubt"
        assert any(f"nobody knows whether {EFFECT} was posted: look" in line for line in status(engine)["degraded"])

    run(scenario)


def test_a_resend_that_ends_in_doubt_is_asked_about_again() -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"), SinkUnknown("lost again"))
        lab = await asking(room)
        answer(lab, "b", "resend")
        await lab.sure(lambda: doubt(lab).round == 1 and doubt(lab).settled == "open")
        assert len(room.sent) == 2
        answer(lab, "a", "posted")
        assert await over(lab)
        assert len(room.sent) == 2

    run(scenario)


def test_a_resend_that_is_refused_is_tried_again_without_a_question() -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"), SinkRefused("busy"), SinkRefused("busy"))
        lab = await asking(room)
        answer(lab, "b", "resend")
        assert await over(lab)
        assert (len(room.sent), doubt(lab).settled) == (4, "resent")

    run(scenario)


def test_a_resend_that_is_refused_for_good_leaves_the_first_doubt() -> None:
    """The handler fails, since what was sent first may have been done all the same."""

    async def scenario() -> None:
        room = Room(SinkUnknown("lost"), SinkRefused("never", permanent=True))
        lab = await asking(room)
        answer(lab, "b", "resend")
        assert not await over(lab)
        [left] = lab.engine("b").doubts.open()
        assert (left.key, left.waits, doubt(lab).settled) == (EFFECT, "person", "open")

    run(scenario)


def test_whoever_takes_over_waits_and_sends_only_what_nobody_has_sent_on_that_word() -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"))
        lab = await asking(room, "abc")
        [asker] = [engine.me.name for engine in lab.live() if engine.executor.running]
        lab.kill(asker)
        [other, _] = lab.live()
        await lab.sure(lambda: any(engine.doubts.of(TASK) for engine in lab.live()))
        assert len(room.sent) == 1
        answer(lab, other.me.name, "resend")
        await lab.sure(lambda: all(engine.ledger.state.tasks[TASK].done is not None for engine in lab.live()))
        assert len(room.sent) == 2

    run(scenario)


async def died_sending_again(room: Room, settled: str, epoch: int = 3, intents: int = 1) -> Lab:
    """Its replica is gone, and had written this word in the round after the first."""
    lab = make_lab(room, on_doubt="ask")
    ledger = (await lab.form()).ledger
    ledger.write(Claim(TASK, ledger.stamp(), "gone", 3, 1))
    for index in range(intents):
        body = pack_value("x")
        ledger.write(Intent(EFFECT, ledger.stamp(), "gone", TASK, 3 + index, "room", body))
    ledger.write(Doubt(EFFECT, ledger.stamp(), "gone", epoch, settled, 1))
    lab.put("post", ["x"])
    return lab


def test_a_word_is_good_for_one_sending() -> None:
    """Its replica died while it sent again: the word is used up, and somebody is asked anew."""

    async def scenario() -> None:
        room = Room()
        lab = await died_sending_again(room, "sending")
        await lab.sure(lambda: doubt(lab).settled == "open")
        assert (room.sent, doubt(lab).round) == ([], 1)
        answer(lab, "a", "resend")
        assert await over(lab)
        assert (len(room.sent), doubt(lab).round) == (1, 2)

    run(scenario)


def test_what_the_sink_refused_is_no_doubt_to_whoever_takes_over() -> None:
    async def scenario() -> None:
        room = Room()
        lab = await died_sending_again(room, "refused")
        assert await over(lab)
        assert [key for key, _, _ in room.sent] == [EFFECT]
        assert status(lab.engine("a"))["doubts"] == 0

    run(scenario)


def test_what_another_side_intended_after_the_refusal_is_a_doubt() -> None:
    async def scenario() -> None:
        room = Room()
        lab = await died_sending_again(room, "refused", intents=2)
        await lab.sure(lambda: doubt(lab).settled == "open")
        assert room.sent == []

    run(scenario)


def test_a_refused_effect_is_no_doubt_and_its_task_can_be_tried_again() -> None:
    async def scenario() -> None:
        room = Room(SinkRefused("never", permanent=True))
        lab = make_lab(room, "ab")
        await lab.form()
        assert (await lab.outcome("post", ["x"]))[0] is False
        engine = lab.engine("b")
        assert not await over(lab)
        assert posts(engine, 1)[0]["state"] == "refused"
        assert not list(engine.doubts.open())
        engine.orders.retry(TASK, lambda word: None)
        await lab.sure(lambda: lab.state(TASK).reopen is not None)
        assert await over(lab)
        assert [body for _, body, _ in room.sent] == ["x", "x"]

    run(scenario)


def test_a_doubt_of_a_task_that_failed_is_listed_and_its_answer_kept_for_a_retry() -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"), SinkRefused("never", permanent=True))
        lab = await asking(room)
        answer(lab, "a", "resend")
        assert not await over(lab)
        answer(lab, "b", "resend")
        await lab.sure(lambda: [one.waits for one in lab.engine("a").doubts.open()] == ["retry"])
        lab.engine("a").orders.retry(TASK, lambda word: None)
        await lab.sure(lambda: lab.state(TASK).reopen is not None)
        assert await over(lab)
        assert (len(room.sent), doubt(lab).settled) == (3, "resent")

    run(scenario)


def test_a_sink_that_cannot_be_asked_at_all_leaves_a_doubt_on_the_list() -> None:
    """All tries ended unknown: the handler fails, and the list says so."""

    async def scenario() -> None:
        room = Room(*[SinkUnknown("lost")] * 99)
        room.dedupe_window_s = 1e9
        lab = make_lab(room)
        await lab.form()
        assert (await lab.outcome("post", ["x"]))[0] is False
        assert doubt(lab).settled == "open"
        assert len(room.sent) == lab.settings.effect_attempts_max

    run(scenario)


def test_a_cancelled_task_with_an_effect_on_its_way_leaves_a_doubt() -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"))
        lab = await asking(room)
        lab.engine("b").orders.cancel(TASK, lambda word: None)
        assert not await over(lab)
        await lab.sure(lambda: not any(engine.executor.running for engine in lab.live()))
        found: list[Open] = list(lab.engine("b").doubts.open())
        assert [one.key for one in found] == [EFFECT]
        answer(lab, "b", "posted")
        await lab.sure(lambda: not list(lab.engine("a").doubts.open()))

    run(scenario)


def test_answers_that_make_no_sense() -> None:
    async def scenario() -> None:
        room = Room(SinkUnknown("lost"))
        lab = await asking(room)
        with pytest.raises(NoSuchTask, match="no effect 'post/k/#9'"):
            answer(lab, "a", "skip", "post/k/#9")
        answer(lab, "a", "skip")
        assert await over(lab)
        with pytest.raises(WrongState, match="is not in doubt: skipped"):
            answer(lab, "a", "resend")

    run(scenario)


def test_another_attempt_sends_the_body_that_was_recorded_first() -> None:
    """A handler that computes another body after a refusal, under the same claim: the first one counts, as ever."""

    async def scenario() -> None:
        room = Room(*[SinkRefused("busy")] * 5)
        agent, bodies = Agent("kevin"), iter(["one", "two"])
        agent.sink("room", room)

        @agent.task("odd", retries=1)
        async def odd(ctx: Any, payload: Any) -> Any:
            return await ctx.post("room", next(bodies))

        lab = Lab(agent)
        await lab.form()
        assert await lab.outcome("odd", None) == (True, "ok")
        assert {body for _, body, _ in room.sent} == {"one"}

    run(scenario)
