"""How the Matrix sink looks into rooms, at scripted homeservers, good and bad."""

from typing import Any

import pytest

from actonce.errors import SinkUnknown
from actonce.matrix.sink import KEY_FIELD, PAGE, PAGES_MAX, transaction_id

from .scripted import Answer, Asked, http, scripted, using_sink

pytestmark = pytest.mark.anyio
ROOM, ME = "!room:here", "@bot:here"
NOW = "Sat, 21 Nov 2026 10:00:00 GMT"
NOW_MS = 1_795_255_200_000
SHORT_S = 0.2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class History:
    """Rooms with events of ours, newest first, `page` of them in an answer."""

    def __init__(self, page: int = 2, **rooms: list[dict[str, Any]]) -> None:
        self.page, self.rooms = page, {f"!{name}:here": events for name, events in rooms.items()}

    def __call__(self, asked: Asked) -> Answer:
        assert asked.method == "GET"
        if asked.path == "/account/whoami":
            return http(200, {"user_id": ME})
        if asked.path == "/joined_rooms":
            return http(200, {"joined_rooms": sorted(self.rooms)})
        room = asked.path.split("/")[2]
        assert asked.path == f"/rooms/{room}/messages"
        assert asked.query["dir"] == "b"
        assert f'"senders":+["{ME}"]' in asked.query["filter"]
        start = int(asked.query.get("from", "0"))
        chunk, end = self.rooms[room][start : start + self.page], start + self.page
        more = {"end": str(end)} if end <= len(self.rooms[room]) else {}
        return http(200, {"chunk": chunk, **more}, f"Date: {NOW}")


def event(number: int, *, key: str = "", age_s: float = 0) -> dict[str, Any]:
    content = {"body": "x", **({KEY_FIELD: transaction_id(key)} if key else {})}
    return {"event_id": f"$e{number}", "origin_server_ts": int(NOW_MS - 1000 * age_s), "content": content}


EVENTS = [event(1), {"event_id": "$redacted", "content": {}}, event(3), event(4, key="k/4"), event(5)]


async def test_lookup_in_one_room() -> None:
    async with scripted(History(room=EVENTS)) as server, using_sink(server.url, room=ROOM) as sink:
        assert sink.can_lookup
        assert await sink.lookup("k/4") == {"event_id": "$e4"}
        assert await sink.lookup("k/5") is None
    assert server.paths().count("/account/whoami") == 1
    assert "/joined_rooms" not in server.paths()


async def test_lookup_in_all_rooms_where_none_is_named() -> None:
    async with scripted(History(room=[], other=EVENTS)) as server, using_sink(server.url) as sink:
        assert await sink.lookup("k/4") == {"event_id": "$e4"}
        assert await sink.lookup("k/5") is None


async def test_lookup_does_not_read_what_is_too_old_to_matter() -> None:
    events = [event(1, age_s=50), event(2, age_s=99), event(3, age_s=100.1), event(4), event(5), event(6, key="k/6")]
    async with scripted(History(room=events)) as server, using_sink(server.url, room=ROOM, lookback_s=100.0) as sink:
        assert await sink.lookup("k/6") is None
    assert len(server.asked) == 3  # who we are, and two pages
    async with scripted(History(room=events)) as server, using_sink(server.url, room=ROOM, lookback_s=101.0) as sink:
        assert await sink.lookup("k/6") == {"event_id": "$e6"}


async def test_a_later_lookup_reads_only_what_is_new() -> None:
    history = History(room=[event(number) for number in range(9, 0, -1)])
    async with scripted(history) as server, using_sink(server.url, room=ROOM) as sink:
        assert await sink.lookup("k/10") is None
        before = len(server.asked)
        assert await sink.lookup("k/10") is None
        history.rooms[ROOM][:0] = [event(12), event(11, key="k/11"), event(10, key="k/10")]
        assert await sink.lookup("k/10") == {"event_id": "$e10"}
        assert len(server.asked) == before + 3  # a page that is all known; one that is all new, and one that is not
        del history.rooms[ROOM][:]  # what was seen stays true
        assert await sink.lookup("k/11") == {"event_id": "$e11"}


async def test_a_lookup_that_broke_off_leaves_no_gap() -> None:
    history = History(room=[event(number) for number in range(9, 5, -1)] + [event(5, key="k/5"), event(4)])

    def answer_of(asked: Asked) -> Answer:
        return http(502, b"") if failing_from == asked.query.get("from") else history(asked)

    failing_from = "4"
    async with scripted(answer_of) as server, using_sink(server.url, room=ROOM) as sink:
        with pytest.raises(SinkUnknown):
            await sink.lookup("k/5")
        failing_from = "none"
        assert await sink.lookup("k/5") == {"event_id": "$e5"}


async def test_absent_is_not_said_of_more_events_than_were_read() -> None:
    events = [event(number) for number in range(PAGES_MAX + 1)]
    async with scripted(History(1, room=events)) as server, using_sink(server.url, room=ROOM) as sink:
        with pytest.raises(SinkUnknown, match=str(PAGE * PAGES_MAX)):
            await sink.lookup("k")


@pytest.mark.parametrize(
    "answered",
    [http(500, b""), http(200, b"<html>"), http(200, {"chunk": {}}), http(200, {}), http(401, {}), http(404, {})],
)
async def test_a_lookup_that_fails_says_so(answered: bytes) -> None:
    def server_of(asked: Asked) -> Answer:
        return http(200, {"user_id": ME}) if asked.path == "/account/whoami" else answered

    for options in ({"room": ROOM}, {}):
        async with scripted(server_of) as server, using_sink(server.url, **options) as sink:
            with pytest.raises(SinkUnknown):
                await sink.lookup("k")


async def test_a_lookup_takes_no_longer_than_a_publish() -> None:
    async with scripted(lambda asked: None) as server, using_sink(server.url, timeout_s=SHORT_S) as sink:
        with pytest.raises(SinkUnknown):
            await sink.lookup("k")
