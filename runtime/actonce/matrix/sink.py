"""Effects as events of Matrix rooms: `PUT /rooms/{room}/send/{type}/{txnId}`, the last one made of the effect's key.

What a server does with a repeated transaction id depends on who repeats it. Its scope is the *device* (since v1.7 of
the specification; the access token before): one device gets the first event id again, another device sends a second
event. So replicas may share one access token, and then the server throws duplicates away; or each may have a device of
its own, and then a doubt is settled by reading what the account sent to the room.

For how long a server remembers is its own choice: Synapse half an hour to an hour in memory and a day on disk, others
half an hour, or for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from actonce.errors import ConfigError, SinkRefused, SinkUnknown
from actonce.matrix.homeserver import Homeserver, MatrixError, NotSent, is_id, part
from actonce_crdt import Json

MESSAGE = "m.room.message"
KEY_FIELD = "org.actonce.key"
"""In the content of each event that we send: its transaction id, which others than the sending device do not see."""
SHARED_WINDOW_S = 1800.0
"""The shortest time for which a server that is known to us remembers the transaction ids of a device."""
PAGE = 200
PAGES_MAX = 50
"""A lookup reads no more events of ours than this number of pages, and no more are remembered."""
PAGE_AGAIN = 30
"""The first page of a later lookup, which goes back to events that were seen before."""
AT_ONCE = 4
"""Requests under way. A server writes to a room one event after the other: more would wait there, on our time."""
FIELDS = {"room", "type", "content", "text"}


class MatrixSink:
    """Sends each effect as an event. What it posts: `answer(message, "text")`, or one of

        {"room": "!id:server", "text": "hello"}                                    # m.room.message, msgtype m.notice
        {"room": "!id:server", "content": {...}}                                   # m.room.message
        {"room": "!id:server", "content": {...}, "type": "org.example.reading"}

    `room` may be left out where the sink has one. The receipt is `{"event_id": "$..."}`.

    Args:
        homeserver: its URL, as `https://matrix.example`.
        token: an access token of the account that speaks, which must be in the room.
        room: where effects go that name no room. A doubt can be looked up in a room that is known, so with
            `shared_device=False` name it here wherever there is only one.
        shared_device: all replicas use one access token, or tokens of one device: then the server refuses repeated
            keys for `dedupe_window_s`. Otherwise give each replica a device of its own: a sink that is not told the
            truth posts twice.
        dedupe_window_s: how long your server remembers, if you know that it is longer than half an hour.
        lookback_s: what is not among the account's events of this time was not sent. An effect that was in doubt for
            longer, because the whole mesh was down, may be sent twice.
        timeout_s: of one whole publish or lookup.

    Not for encrypted rooms: events are sent as they are. One agent for each account: transaction ids do not name the
    agent. An event that was redacted counts as not sent.
    """

    def __init__(
        self,
        homeserver: str,
        token: str,
        *,
        room: str | None = None,
        shared_device: bool = False,
        dedupe_window_s: float = SHARED_WINDOW_S,
        lookback_s: float = 7 * 86_400.0,
        timeout_s: float = 10.0,
    ) -> None:
        if room is not None and not is_id(room, "!"):
            raise ConfigError(
                f"{room!r} is not the id of a room: that begins with '!', and an alias (#name) is not one"
            )
        self.publish_timeout_s = timeout_s
        self.dedupe_window_s = dedupe_window_s if shared_device else 0.0
        self.can_lookup = not shared_device
        self._server = Homeserver(homeserver, token)
        self.url = self._server.url
        self._room, self._lookback_s = room, lookback_s
        self._user = ""
        self._seen: dict[str, dict[str, object]] = {}
        """Room -> event id -> transaction id, of all our events as far back as matters, up to the last lookup."""
        self._turns: anyio.CapacityLimiter | None = None
        self._looking: anyio.Lock | None = None

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        """Send the event; its id is the receipt. `fence` is not used: Matrix has nothing that could check it.

        Raises:
            SinkRefused: surely not done. For good, but for a limit of the server, and where it could not be reached.
            SinkUnknown: perhaps done: 5xx, no answer, or one that is none of a homeserver.
        """
        room, kind, content = self._event(body)
        transaction = transaction_id(key)
        try:
            data = json.dumps({**content, KEY_FIELD: transaction}, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise SinkRefused(f"the content cannot be sent as JSON: {error}", permanent=True) from None
        path = f"/rooms/{part(room)}/send/{part(kind)}/{transaction}"
        try:
            async with self._turn():
                return receipt_of(await self._server.put(path, data, gate, self.publish_timeout_s))
        except MatrixError as error:
            raise judged(error) from None

    async def lookup(self, key: str) -> Json | None:
        """The receipt of the event with this key, which whatever device of the account sent; None: it is not there.

        Raises SinkUnknown when the server cannot be asked, or a room has too many events of ours to read them.
        """
        if not self.can_lookup:
            raise SinkUnknown(f"{self.url}: a sink that shares its device is not asked, it repeats the transaction")
        transaction = transaction_id(key)
        if self._looking is None:
            self._looking = anyio.Lock()
        try:
            async with self._looking, self._turn():  # one reads, and the next ones find little that is new
                with anyio.fail_after(self.publish_timeout_s):
                    for room in await self._rooms():
                        found = await self._find(room, transaction)
                        if found is not None:
                            return {"event_id": found}
        except MatrixError as error:
            raise SinkUnknown(error.reason) from None
        except TimeoutError:
            raise SinkUnknown(f"{self.url}: not looked up within {self.publish_timeout_s:g} s") from None
        return None

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._server.aclose()

    def _event(self, body: Json) -> tuple[str, str, dict[str, Any]]:
        """Room, type and content.

        Raises:
            SinkRefused: the handler posted something else.
        """
        if not isinstance(body, Mapping) or not set(body) <= FIELDS or ("text" in body) == ("content" in body):
            raise unfit("an event has 'content', an object, or 'text', and perhaps 'room' and 'type'")
        room, kind, text = body.get("room", self._room), body.get("type", MESSAGE), body.get("text")
        content = {"msgtype": "m.notice", "body": text} if isinstance(text, str) else body.get("content")
        if not is_id(room, "!"):
            raise unfit(f"{room!r} is not the id of a room: post 'room', or give the sink one")
        if not isinstance(kind, str) or not kind or not isinstance(content, Mapping):
            raise unfit("'content' is an object, 'text' and 'type' are text")
        return str(room), kind, dict(content)

    async def _rooms(self) -> list[str]:
        """Where to look: in the one room, or in all that the account is in."""
        if not self._user:
            self._user = await self._server.user(self.publish_timeout_s)
        if self._room is not None:
            return [self._room]
        joined = (await self._server.get("/joined_rooms", {}, self.publish_timeout_s)).get("joined_rooms")
        if not isinstance(joined, list):
            raise MatrixError(f"{self.url}: the answer to /joined_rooms has no list of rooms")
        return [room for room in joined if isinstance(room, str)]

    async def _find(self, room: str, transaction: str) -> str | None:
        """The event. Reads back to what was read before, to what is too old to matter, or to the room's beginning."""
        seen, new = self._seen.setdefault(room, {}), dict[str, object]()
        params: dict[str, str | int] = {
            "dir": "b",
            "limit": PAGE_AGAIN if seen else PAGE,
            "filter": json.dumps({"senders": [self._user]}),
        }
        for _ in range(PAGES_MAX):
            page = await self._server.get(f"/rooms/{part(room)}/messages", params, self.publish_timeout_s)
            events = page.get("chunk")
            if not isinstance(events, list):
                raise MatrixError(f"{self.url}: the answer to /messages has no list of events")
            ours = {str(event["event_id"]): key_of(event) for event in events if is_id(id_of(event), "$")}
            new |= ours
            is_last = not isinstance(page.get("end"), str) or any(map(self._is_old, events))
            if is_last or not seen.keys().isdisjoint(ours):
                break
            params |= {"from": page["end"], "limit": PAGE}
        else:
            raise SinkUnknown(
                f"the account sent more than {PAGE * PAGES_MAX} events to {room} in {self._lookback_s:g} s"
            )
        seen |= dict(reversed(new.items()))  # only now: of a reading that broke off nobody knows what lies beyond
        for old in list(seen)[: -PAGE * PAGES_MAX]:
            del seen[old]
        return next((event for event, key in seen.items() if key == transaction), None)

    def _turn(self) -> anyio.CapacityLimiter:
        if self._turns is None:  # not before: it belongs to the event loop of the first request
            self._turns = anyio.CapacityLimiter(AT_ONCE)
        return self._turns

    def _is_old(self, event: Any) -> bool:
        """Both times are the server's."""
        sent_ms, now_ms = event.get("origin_server_ts") if isinstance(event, dict) else None, self._server.answered_ms
        return isinstance(sent_ms, int) and now_ms is not None and sent_ms < now_ms - 1000 * self._lookback_s


def transaction_id(key: str) -> str:
    """Of an effect's key: as good as unique, of a form that no server minds, and it tells the room nothing."""
    return "actonce-" + hashlib.sha256(key.encode()).hexdigest()[:40]


def id_of(event: Any) -> object:
    return event.get("event_id") if isinstance(event, dict) else None


def key_of(event: dict[str, Any]) -> object:
    """The transaction id of an event, from whichever device it was sent."""
    content = event.get("content")
    return content.get(KEY_FIELD) if isinstance(content, dict) else None


def receipt_of(answer: Mapping[str, Any]) -> Json:
    """
    Raises:
        MatrixError: there is no event id, so that nobody knows what the server did.
    """
    event = answer.get("event_id")
    if not is_id(event, "$"):
        raise MatrixError("the answer has no event_id: not a homeserver, or not working")
    return {"event_id": event}


def judged(error: MatrixError) -> SinkRefused | SinkUnknown:
    """What an answer that is no success says of the event."""
    if isinstance(error, NotSent):
        return SinkRefused(error.reason)
    if error.is_limit or error.status in (408, 425) or (error.status == 503 and error.retry_after_s is not None):
        return SinkRefused(error.reason, error.retry_after_s)
    if 300 <= error.status < 500 and error.status != 409:
        return SinkRefused(error.reason, permanent=True)
    return SinkUnknown(error.reason)


def unfit(reason: str) -> SinkRefused:
    return SinkRefused(f"not a Matrix event: {reason}", permanent=True)
