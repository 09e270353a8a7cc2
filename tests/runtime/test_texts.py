"""`ctx.memory.text`: one handler after the other and at once, limits, the journal, the wire, `/memory`.

That nothing is lost, whatever is cut or crashes: tests/simulation/test_texts.py.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actonce import memory
from actonce.agent import Agent
from actonce.context import Context
from actonce.errors import MemoryFull, MemoryInvalid
from actonce.lines import CHUNK_BYTES
from actonce.messages import Edit, TextAsk, encode
from actonce.recall import Recall, Written
from actonce_crdt import EMPTY_UPDATE

from .lab import Lab, run, turns
from .test_http_api import JSON, Api
from .test_memory import agent_of, outcomes


def text_of(lab: Lab, name: str, text: str = "notes") -> str:
    return lab.engine(name).memory.texts.read(text).text


async def edit(lab: Lab, name: str, change: Callable[[Written], None], task: str = "by hand") -> None:
    """As a handler's success writes it, at this replica."""
    engine = lab.engine(name)
    made: Any = type("Run", (), {"writes": []})()
    recall = Recall(engine.memory, made, engine.world.wall)
    change(recall.text("notes"))
    engine.memory.write(made.writes, task)
    await turns()


def test_what_one_handler_writes_the_next_reads_and_edits() -> None:
    def write(memory: Recall) -> Any:
        text = memory.text("notes")
        text.append("héllo 😀")
        text.insert(0, "# ")
        text.replace(2, 7, "Hello")
        assert (str(text), len(text), "llo" in text) == ("# Hello 😀", 9, True)
        return str(text)

    def edit(memory: Recall) -> Any:
        memory.text("notes").delete(0, 2)
        memory.text("notes").set("Hello, you 😀!")
        assert str(memory.text("other")) == ""
        return str(memory.text("notes"))

    def read(memory: Recall) -> Any:
        return str(memory.text("notes"))

    assert outcomes(write, edit, read, names="ab") == [
        (True, "# Hello 😀"),
        (True, "Hello, you 😀!"),
        (True, "Hello, you 😀!"),
    ]


def test_a_handler_that_fails_has_written_nothing() -> None:
    def fail(memory: Recall) -> None:
        memory.text("notes").append("x")
        raise ValueError("no")

    assert outcomes(fail, lambda memory: str(memory.text("notes")))[1] == (True, "")


def test_two_handlers_at_once_both_count() -> None:
    async def scenario() -> None:
        agent, looked, go_on = Agent("kevin"), asyncio.Event(), asyncio.Event()

        @agent.task("edit")
        async def edit(ctx: Context, payload: Any) -> None:
            text = ctx.memory.text("notes")
            end = len(text)  # what it sees, and its positions, are of this moment
            if payload["waits"]:
                looked.set()
                await go_on.wait()
            text.insert(payload.get("at", end), payload["new"])

        lab = Lab(agent, "a")
        engine = await lab.form()
        await lab.outcome("edit", {"waits": False, "new": "one two"}, key="0")
        lab.put("edit", {"waits": True, "at": 3, "new": " and a half"}, key="1")
        await looked.wait()
        await lab.outcome("edit", {"waits": False, "at": 0, "new": "zero "}, key="2")
        go_on.set()
        await lab.sure(lambda: not engine.claims.open)
        assert text_of(lab, "a") == "zero one and a half two"

    run(scenario)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda memory: memory.text(""), MemoryInvalid, "the name is"),
        (lambda memory: memory.text("kept"), None, ""),
        (lambda memory: memory.text("kept").append("x"), MemoryInvalid, "is a register: it cannot be used as a text"),
        (lambda memory: memory.put("notes", 1), MemoryInvalid, "is a text: it cannot be used as a register"),
        (lambda memory: memory.text("notes").append(7), MemoryInvalid, "it is no str"),
        (lambda memory: memory.text("notes").set(None), MemoryInvalid, "it is no str"),
        (lambda memory: memory.text("notes").append("\ud800"), MemoryInvalid, "no UTF-8 form"),
        (lambda memory: memory.text("notes").insert(-1, "x"), MemoryInvalid, "has 4 characters: there is no place -1"),
        (lambda memory: memory.text("notes").delete(2, 9), MemoryInvalid, "there is no place 2 to 9"),
        (lambda memory: memory.text("notes").delete(2, 1), MemoryInvalid, "there is no place 2 to 1"),
        (lambda memory: memory.text("notes").delete(1.0, 2), MemoryInvalid, "no place 1.0"),
        (lambda memory: memory.text("notes").append("é" * 131_072), MemoryFull, "262,148 bytes: the limit is 262,144"),
        (
            lambda memory: [memory.text(f"n{n}").append("x" * 262_144) for n in range(17)],
            MemoryFull,
            "of 4,194,304 bytes: delete something first",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_and_changes_nothing(wrong: Any, error: Any, words: str) -> None:
    def write(memory: Recall) -> None:
        memory["kept"] = 1
        memory.text("notes").append("text")

    def attempt(memory: Recall) -> Any:
        if error is None:
            wrong(memory)
        else:
            with pytest.raises(error, match=words):
                wrong(memory)
        return [memory["kept"], str(memory.text("notes"))]

    assert outcomes(write, attempt)[1] == (True, [1, "text"])


def test_a_text_that_is_too_long_may_be_made_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sides of a cut may pass the limit together."""

    def write(memory: Recall) -> None:
        memory.text("notes").append("x" * 100)

    def shorten(recall: Recall) -> Any:
        monkeypatch.setattr(memory, "TEXT_BYTES_MAX", 50)
        recall.text("notes").delete(0, 10)
        with pytest.raises(MemoryFull):
            recall.text("notes").append("y" * 11)
        return len(recall.text("notes"))

    assert outcomes(write, shorten)[1] == (True, 90)


def test_nobody_edits_any_more_when_all_client_ids_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actonce_crdt.texts.CLIENTS_MAX", 0)

    def attempt(memory: Recall) -> Any:
        with pytest.raises(MemoryFull, match="60,000 process runs have edited texts, which is the limit"):
            memory.text("notes").append("x")

    assert outcomes(attempt) == [(True, None)]


# The wire


def test_a_late_joiner_gets_large_texts_in_chunks() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(), "ab")
        lab.start("a", new=True)
        noise = "0123456789abcdef" * 12_500
        for name in range(8):
            engine = lab.engine("a")
            made: Any = type("Run", (), {"writes": []})()
            Recall(engine.memory, made, engine.world.wall).text(f"n{name}").append(noise)
            engine.memory.write(made.writes, "")
        await lab.sure(lambda: not lab.engine("a").ledger._batch)
        document = lab.engine("a").memory.texts.document
        assert len(document.diff({})) > CHUNK_BYTES
        lab.start("b")
        await lab.sure(lambda: lab.engine("b").memory.texts.document.digest == document.digest)
        assert text_of(lab, "b", "n7") == noise
        assert lab.engine("b").gossip.counts["refused"] == 0

    run(scenario)


def test_a_mesh_without_texts_says_nothing_of_them() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(lambda memory: memory.get("x")), "ab")
        await lab.form()
        frames: list[bytes] = []
        lab.network.inspect = lambda process, frame: frames.append(frame)
        assert (await lab.outcome("0"))[0]
        assert frames
        assert not [frame for frame in frames if frame[1] in (32, 33, 34)]

    run(scenario)


def test_a_lost_edit_is_asked_for_once_the_digests_differ() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(), "ab")
        await lab.form()
        a = lab.engine("a")
        line = a.gossip.lines.pop("b")  # the push finds no link
        await edit(lab, "a", lambda text: text.append("one"))
        await lab.sure(lambda: a.ledger.durable_clock == a.ledger.next_clock)
        a.gossip.lines["b"] = line
        await lab.sure(lambda: text_of(lab, "b") == "one")
        await lab.until(lambda: False, 3.0)
        asks = lab.engine("b").gossip.counts["text asks"]
        await lab.until(lambda: False, 3.0)
        assert lab.engine("b").gossip.counts["text asks"] == asks > 0  # equal again: nobody asks

    run(scenario)


@pytest.mark.parametrize(
    "message",
    [
        Edit(EMPTY_UPDATE, b"\1\1\2\0\0\1\0"),  # of seven bytes, it crashes the library at its next read
        Edit(EMPTY_UPDATE, b"\xff"),
        Edit(b"\xff", EMPTY_UPDATE),
        TextAsk(b"\x80\x80\x80\x80\x01"),  # of five bytes, it takes the library half a gigabyte
    ],
    ids=["a collected block", "no update", "no update of the ledger", "a state vector"],
)
def test_a_hostile_message_ends_the_link_and_changes_nothing(message: Edit | TextAsk) -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(), "ab")
        await lab.form()
        await edit(lab, "a", lambda text: text.append("fine"))
        await lab.sure(lambda: text_of(lab, "b") == "fine")
        a, line = lab.engine("a"), lab.engine("b").gossip.lines["a"]
        before = a.memory.texts.document.digest, a.ledger.document.digest
        line.link.send(encode(message))
        await lab.sure(lambda: a.gossip.counts["refused"] == 1)
        assert "refused a message of b" in "".join(text for _, text in a.notes)
        assert (a.memory.texts.document.digest, a.ledger.document.digest) == before
        await lab.sure(lambda: "b" in a.gossip.lines)  # it comes again
        await edit(lab, "b", lambda text: text.append("!"))
        await lab.sure(lambda: text_of(lab, "a") == "fine!")

    run(scenario)


# For people


def test_over_http_and_in_reports() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(lambda memory: memory.text("notes").append(" two")), "a")
        await lab.form()
        api = Api(lab)
        assert await api.ask("POST", "/memory/notes", {"value": "one", "text": True}, headers=JSON) == (
            *(200,),
            {"name": "notes", "state": "remembered"},
        )
        assert (await lab.outcome("0"))[0]
        found = (await api.ask("GET", "/memory/notes"))[1]
        assert (found["shape"], found["value"], found["conflicts"]) == ("text", "one two", [])
        assert (found["sources"]["a"]["replica"], found["sources"]["a"]["task"]) == ("a", "0/k")
        row = {"name": "notes", "shape": "text", "values": 1, "conflicts": 0}
        assert (await api.ask("GET", "/memory"))[1] == [row]
        rows = (await api.ask("GET", "/memory/notes", query={"history": "1"}))[1]
        assert [(one["task"], one["value"]) for one in rows] == [
            ("", {"added": 3, "deleted": 0}),
            ("0/k", {"added": 4, "deleted": 0}),
        ]
        assert (await api.ask("POST", "/memory/notes", {"value": "one, two"}, headers=JSON))[0] == 200
        assert text_of(lab, "a") == "one, two"
        assert (await api.ask("POST", "/memory/notes", {"remove": True}, headers=JSON))[1]["state"] == "forgotten"
        assert (await api.ask("GET", "/memory/notes"))[0] == 404
        assert (await api.ask("GET", "/memory"))[1] == []

    run(scenario)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"value": 7}, "its value is a string"),
        ({"value": "x", "field": "f"}, "neither fields nor an end"),
        ({"value": "x", "ttl": 5}, "neither fields nor an end"),
        ({"value": "\ud800"}, "no UTF-8 form"),
        ({"value": "x" * 262_145}, "the limit is 262,144"),
        ({"text": True}, "the body is"),
    ],
)
def test_wrong_orders_are_explained(body: Any, words: str) -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(), "a")
        await lab.form()
        await edit(lab, "a", lambda text: text.append("kept"))
        status, answer = await Api(lab).ask("POST", "/memory/notes", body, headers=JSON)
        assert (status, words in answer["error"]) == (400, True), answer
        assert text_of(lab, "a") == "kept"

    run(scenario)
