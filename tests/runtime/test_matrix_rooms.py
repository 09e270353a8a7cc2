"""Messages of Matrix rooms from scripted homeservers: what counts, what is left out, how far it has come."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from actonce.errors import ConfigError
from actonce.matrix import MatrixError, MatrixRooms, Message

from .scripted import Answer, Asked, http, scripted

pytestmark = pytest.mark.anyio
ROOM, ME, ALICE = "!room:here", "@bot:here", "@alice:here"
NOW = "Sat, 21 Nov 2026 10:00:00 GMT"
NOW_MS = 1_795_255_200_000
WAIT_S = 20
WHO = http(200, {"user_id": ME})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def said(number: int, **changes: Any) -> dict[str, Any]:
    event = {
        "type": "m.room.message",
        "event_id": f"$m{number}",
        "sender": ALICE,
        "origin_server_ts": NOW_MS,
        "content": {"msgtype": "m.text", "body": f"text {number}"},
    }
    return {**event, **changes}


def joining(user: str = ME, **unsigned: Any) -> dict[str, Any]:
    content = {"membership": "join"}
    return {"type": "m.room.member", "state_key": user, "sender": user, "content": content, "unsigned": unsigned}


def batch(number: int, *events: object, room: str = ROOM, **timeline: Any) -> bytes:
    rooms = {"join": {room: {"timeline": {"events": list(events), **timeline}}}}
    return http(200, {"next_batch": f"s{number}", "rooms": rooms}, f"Date: {NOW}")


class Server:
    """Answers each sync with the next of `batches`, then says nothing; other paths as `others` say, in turn."""

    def __init__(self, *batches: bytes, **others: list[bytes]) -> None:
        self.batches = iter(batches)
        self.others: dict[str, Iterator[bytes]] = {name: iter(answers) for name, answers in others.items()}

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/account/whoami":
            return next(self.others["whoami"], WHO) if "whoami" in self.others else WHO
        if asked.path == "/sync":
            return next(self.batches, None)
        return next(self.others[asked.path.rpartition("/")[2]])


HERE = batch(0)
"""The first sync: where we are."""


async def heard(messages: AsyncIterator[Message], count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(WAIT_S):
        async for message in messages:
            found.append(message)
            if len(found) == count:
                break
    return found


async def ids(server: Server, count: int, **options: Any) -> tuple[list[str], list[Asked]]:
    async with scripted(server) as at, aclosing(MatrixRooms(at.url, "token", **options).messages()) as messages:
        return [message["id"] for message in await heard(messages, count)], at.asked


async def test_a_message() -> None:
    old = batch(0, said(0))  # from before we listened
    async with (
        scripted(Server(old, batch(1), batch(2, said(1), said(2)))) as server,
        aclosing(MatrixRooms(server.url, "token").messages()) as messages,
    ):
        first, second = await heard(messages, 2)
    assert second["id"] == "$m2"
    assert first == {
        "room": ROOM,
        "id": "$m1",
        "sender": ALICE,
        "at_ms": NOW_MS,
        "type": "m.text",
        "text": "text 1",
    }
    syncs = [asked for asked in server.asked if asked.path == "/sync"]
    assert [asked.query.get("since") for asked in syncs] == [None, "s0", "s1"]
    assert [int(asked.query["timeout"]) for asked in syncs] == [0, 30_000, 30_000]
    assert syncs[0].headers["authorization"] == "Bearer token"


LEFT_OUT: list[Any] = [
    said(1, sender=ME),
    said(1, content={"msgtype": "m.notice", "body": "beep"}),
    said(1, content={"msgtype": "m.text", "body": "* x", "m.relates_to": {"rel_type": "m.replace"}}),
    said(1, type="m.room.encrypted", content={"ciphertext": "x"}),
    said(1, type="m.reaction"),
    said(1, content={}),
    said(1, content="text"),
    said(1, content={"msgtype": "m.text", "body": 7}),
    said(1, content={"msgtype": ["m.text"], "body": "x"}),
    said(1, event_id=7),
    said(1, event_id="$" + "x" * 255),
    said(1, sender="alice"),
    said(1, origin_server_ts="now"),
    said(1, origin_server_ts=-1),
    said(1, origin_server_ts=2**70),
    said(1, origin_server_ts=NOW_MS - 86_400_001),
    joining(ALICE),
    "event",
    None,
    [],
]


@pytest.mark.parametrize("event", LEFT_OUT, ids=str)
async def test_what_is_left_out(event: object) -> None:
    assert (await ids(Server(HERE, batch(1, event, said(2))), 1))[0] == ["$m2"]


async def test_what_no_document_could_hold_is_made_holdable() -> None:
    text = said(1, content={"msgtype": "m.text", "body": "a\ud800b"})
    deep: Any = {}
    for _ in range(200):
        deep = {"x": deep}
    nested = said(2, content={"msgtype": "m.text", "body": "x", "more": deep, "float": 1.5, "m.relates_to": [deep]})
    async with (
        scripted(Server(HERE, batch(1, text, nested))) as server,
        aclosing(MatrixRooms(server.url, "token").messages()) as messages,
    ):
        first, second = await heard(messages, 2)
    assert (first["text"], second["text"]) == ("a?b", "x")
    assert sorted(second) == ["at_ms", "id", "room", "sender", "text", "type"]


async def test_only_the_rooms_that_were_named() -> None:
    server = Server(HERE, batch(1, said(1), room="!other:here"), batch(2, said(2)))
    found, asked = await ids(server, 1, rooms=[ROOM])
    assert found == ["$m2"]
    assert json.loads(asked[1].query["filter"].replace("+", " "))["room"]["rooms"] == [ROOM]


async def test_what_a_sync_leaves_out_is_fetched() -> None:
    pages = [{"chunk": [said(4), said(3)], "end": "p2"}, {"chunk": [said(2)], "end": "p3"}, {"chunk": []}]
    server = Server(
        HERE, batch(1, said(5), limited=True, prev_batch="p1"), messages=[http(200, page) for page in pages]
    )
    found, asked = await ids(server, 4)
    assert found == ["$m4", "$m3", "$m2", "$m5"]
    fetched = [one.query for one in asked if one.path.endswith("/messages")]
    assert [(query["from"], query["to"], query["dir"]) for query in fetched] == [
        ("p1", "s0", "b"),
        ("p2", "s0", "b"),
        ("p3", "s0", "b"),
    ]


async def test_a_page_that_points_to_itself_is_the_last() -> None:
    page = http(200, {"chunk": [said(1)], "end": "p1"})
    server = Server(HERE, batch(1, said(2), limited=True, prev_batch="p1"), messages=[page])
    assert (await ids(server, 2))[0] == ["$m1", "$m2"]


async def test_what_was_said_before_we_joined_is_left_out() -> None:
    renamed = joining(prev_content={"membership": "join"})
    timeline = batch(1, said(1), joining(), said(2), renamed, said(3), limited=True, prev_batch="p1")
    assert (await ids(Server(HERE, timeline), 2))[0] == ["$m2", "$m3"]
    page = http(200, {"chunk": [said(3), joining(prev_content={"membership": "invite"}), said(2)], "end": "p2"})
    server = Server(HERE, batch(1, said(4), limited=True, prev_batch="p1"), messages=[page])
    assert (await ids(server, 2))[0] == ["$m3", "$m4"]


async def test_an_encrypted_room_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    secret = said(1, type="m.room.encrypted", content={})
    with caplog.at_level(logging.WARNING, "actonce.matrix"):
        await ids(Server(HERE, batch(1, secret), batch(2, secret, said(2))), 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"room {ROOM} is encrypted: its messages cannot be read"
    ]


def invited(number: int, *rooms: str) -> bytes:
    return http(200, {"next_batch": f"s{number}", "rooms": {"invite": {room: {} for room in rooms}}})


@pytest.mark.parametrize(
    ("options", "joined"),
    [
        ({}, []),
        ({"accept_invites": True}, ["!a:here", "!b:here"]),
        ({"accept_invites": True, "rooms": ["!b:here"]}, ["!b:here"]),
    ],
)
async def test_invitations(options: dict[str, Any], joined: list[str]) -> None:
    refusal, taken = http(403, {"errcode": "M_FORBIDDEN"}), http(200, {})
    server = Server(invited(0, "!b:here", "!a:here"), batch(1, said(1), room="!b:here"), join=[refusal, taken])
    found, asked = await ids(server, 1, **options)
    assert found == ["$m1"]
    assert [one.path.split("/")[2] for one in asked if one.path.endswith("/join")] == joined


async def test_the_position_is_that_of_messages_that_were_taken_care_of(tmp_path: Path) -> None:
    file = tmp_path / "a.position"
    async with (
        scripted(Server(HERE, batch(1, said(1), said(2)), batch(2, said(3)))) as server,
        aclosing(MatrixRooms(server.url, "token").messages(file)) as messages,
    ):
        assert [message["id"] for message in await heard(messages, 2)] == ["$m1", "$m2"]
        assert file.read_text() == "s0"  # nobody asked for more after $m2
        rooms = MatrixRooms(server.url, "token")
        async with aclosing(rooms.messages(file)) as messages:
            assert [message["id"] for message in await heard(messages, 1)] == ["$m3"]
    assert [asked.query.get("since") for asked in server.asked if asked.path == "/sync"] == [None, "s0", "s0"]
    async with (
        scripted(Server(batch(4, said(4)), batch(5, said(5)))) as server,
        aclosing(MatrixRooms(server.url, "token").messages(file)) as messages,
    ):
        assert [message["id"] for message in await heard(messages, 2)] == ["$m4", "$m5"]
    assert file.read_text() == "s4"
    assert os.listdir(tmp_path) == ["a.position"]


async def test_without_a_file_the_position_lasts_as_long_as_the_object() -> None:
    failing = http(502, b"<html>")
    async with scripted(Server(HERE, batch(1, said(1)), failing, batch(2, said(2)))) as server:
        rooms = MatrixRooms(server.url, "token")
        async with aclosing(rooms.messages()) as messages:
            with pytest.raises(MatrixError, match="502"):
                await heard(messages, 2)
        async with aclosing(rooms.messages()) as messages:
            assert [message["id"] for message in await heard(messages, 1)] == ["$m2"]


@pytest.mark.parametrize("content", [b"", b"s\n1", b"\xff", b"s" * 5000, "caf\u00e9".encode()])
async def test_a_file_that_holds_no_position_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "position"
    file.write_bytes(content)
    async with scripted(Server()) as server:
        with pytest.raises(ConfigError, match=str(file)):
            await heard(MatrixRooms(server.url, "token").messages(file), 1)
    assert server.asked == []


async def test_a_position_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    async with scripted(Server(HERE)) as server:
        with pytest.raises(ConfigError, match="cannot be written"):
            await heard(MatrixRooms(server.url, "token").messages(tmp_path / "no" / "position"), 1)


async def test_a_limit_of_the_server_is_waited_out() -> None:
    slow = http(429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 20})
    server = Server(slow, HERE, slow, slow, batch(1, said(1)), whoami=[WHO])
    assert (await ids(server, 1))[0] == ["$m1"]


GARBAGE: list[tuple[str, Callable[[], Server]]] = [
    ("M_UNKNOWN_TOKEN", lambda: Server(whoami=[http(401, {"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid"})])),
    ("M_UNKNOWN_TOKEN", lambda: Server(HERE, http(401, {"errcode": "M_UNKNOWN_TOKEN"}))),
    ("500", lambda: Server(HERE, http(500, {}))),
    ("user_id", lambda: Server(whoami=[http(200, {})])),
    ("user_id", lambda: Server(whoami=[http(200, {"user_id": ["@bot:here"]})])),
    ("next_batch", lambda: Server(http(200, {}))),
    ("next_batch", lambda: Server(http(200, {"next_batch": 7}))),
    ("next_batch", lambda: Server(HERE, http(200, {"next_batch": "", "rooms": []}))),
    ("200 <html>", lambda: Server(http(200, b"<html>"))),
    ("200", lambda: Server(http(200, b"[" * 100_000))),
    ("RemoteProtocolError", lambda: Server(b"garbage\r\n\r\n")),
]


@pytest.mark.parametrize(("says", "server"), GARBAGE, ids=range(len(GARBAGE)))
async def test_any_other_answer_is_an_error_of_one_sentence(says: str, server: Callable[[], Server]) -> None:
    async with scripted(server(), hang_up=True) as at:
        with pytest.raises(MatrixError, match=says) as caught:
            await heard(MatrixRooms(at.url, "secret-token").messages(), 1)
    assert "secret-token" not in str(caught.value)


async def test_nonsense_within_a_sync_is_no_message() -> None:
    timeline = {"events": {}, "limited": True, "prev_batch": 7}
    joins: list[Any] = [[], {ROOM: []}, {ROOM: {"timeline": 7}}, {ROOM: {"timeline": timeline}}]
    nonsense: list[Any] = [{"rooms": []}, *({"rooms": {"join": join}} for join in joins)]
    batches = [http(200, {"next_batch": f"n{number}", **facts}) for number, facts in enumerate(nonsense)]
    assert (await ids(Server(HERE, *batches, batch(9, said(1))), 1))[0] == ["$m1"]


def test_a_wrong_setting_is_told_at_once() -> None:
    for rooms in ("!room:here", ["#alias:here"], [7]):
        with pytest.raises(ConfigError, match="room"):
            MatrixRooms("http://h", "token", rooms=rooms)  # type: ignore[arg-type]
