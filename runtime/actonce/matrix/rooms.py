"""Messages of Matrix rooms, as one replica hears them: `/sync`, read on from where this replica was (section 6.4).

Each replica listens for itself; the event id, the same for all of them, makes one task of what they all hear:

    @agent.source
    async def room(ctx):
        async for message in rooms.messages(f"{ctx.replica}.position"):
            await ctx.submit("reply", message, key=message["id"])
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from actonce.errors import ConfigError
from actonce.matrix.homeserver import Homeserver, MatrixError, is_id, part, plain
from actonce_crdt import Json

log = logging.getLogger("actonce.matrix")

POLL_S = 30.0
"""How long the server may wait for something to tell us."""
ANSWER_S = 30.0
"""How long any answer may take, beyond that."""
LIMIT_WAIT_S = 5.0
"""After "too many requests" that does not say for how long."""
PAGE = 100
POSITION_BYTES_MAX = 4096
MESSAGE, NOTICE, ENCRYPTED, MEMBER = "m.room.message", "m.notice", "m.room.encrypted", "m.room.member"
WANTED = [MESSAGE, ENCRYPTED, MEMBER]


Message = dict[str, Any]
"""What somebody else said in a room; JSON-like, so that it can be a payload as it is.

    room     id of the room
    id       the event id: unique among all rooms of all servers, so it is what to submit as the key
    sender   as `@alice:server`
    at_ms    unix milliseconds, by the clock of the sender's server
    type     the msgtype: `m.text`, `m.image`, `m.emote`, ...
    text     the `body`: what a client shows that does not know the type
"""


class MatrixRooms:
    """What is said in the rooms of an account, by others.

    Left out are our own messages; notices (`m.notice`), with which bots answer, so that bots never answer each other;
    edits; what was said before the account joined; and encrypted messages, which cannot be read (a warning is logged
    for the first one in each room).

    Args:
        homeserver: its URL, as `https://matrix.example`.
        token: an access token of the account that listens.
        rooms: ids of the rooms that count; None for all that the account is in.
        accept_invites: join any room that the account is invited to.
        backlog_s: messages that are older when they come, by the server's clock, are left out. It has to be shorter
            than the time for which the replicas remember tasks: what is forgotten would be done again.
    """

    def __init__(
        self,
        homeserver: str,
        token: str,
        *,
        rooms: Collection[str] | None = None,
        accept_invites: bool = False,
        backlog_s: float = 86_400.0,
    ) -> None:
        if isinstance(rooms, str):
            raise ConfigError("rooms is a list of ids of rooms, not one text")
        for room in rooms or ():
            if not is_id(room, "!"):
                raise ConfigError(
                    f"{room!r} is not the id of a room: that begins with '!', and an alias (#name) is not one"
                )
        self._server = Homeserver(homeserver, token)
        self._rooms, self._accept_invites, self._backlog_s = rooms, accept_invites, backlog_s
        self._since: str | None = None
        self._unreadable: set[str] = set()

    async def messages(self, position: str | os.PathLike[str] | None = None) -> AsyncGenerator[Message, None]:
        """Each message; asking for the next one says that all before it are taken care of. Never ends.

        It begins with what comes from now on. Called again, it goes on where it was, so that a message that was not
        taken care of comes again; in another process only if there is a `position`.

        Args:
            position: a file of this replica alone, in which it writes how far it has come.

        Raises:
            MatrixError: the server does not answer as one should, or does not know the token. Call it again later.
        """
        file = None if position is None else Path(position)
        if self._since is None and file is not None:
            self._since = read_position(file)
        try:
            me = await self._server.user(ANSWER_S)
            while True:
                batch = await self._sync()
                rooms = part_of(batch, "rooms")
                if self._since is not None:
                    for room, news in sorted(part_of(rooms, "join").items()):
                        async for event in self._events(room, part_of(news, "timeline"), self._since, me):
                            message = self._message(room, event, me)
                            if message is not None:
                                yield message
                await self._join(part_of(rooms, "invite"))
                self._since = position_in(batch)
                if file is not None:
                    await anyio.to_thread.run_sync(write_position, file, self._since)
        finally:
            with anyio.CancelScope(shield=True):
                await self._server.aclose()

    async def _sync(self) -> Mapping[str, Any]:
        """What is new since our position; without one, nothing but where we are."""
        nothing: dict[str, Any] = {"types": []}
        timeline = {"types": WANTED, "limit": PAGE if self._since is not None else 1}
        scope = {"rooms": list(self._rooms)} if self._rooms is not None and not self._accept_invites else {}
        room = {"timeline": timeline, "state": nothing, "ephemeral": nothing, "account_data": nothing, **scope}
        params: dict[str, str | int] = {
            "filter": json.dumps({"room": room, "presence": nothing, "account_data": nothing}),
            "set_presence": "offline",
            "timeout": int(POLL_S * 1000),
        }
        if self._since is None:
            return await self._get("/sync", {**params, "timeout": 0})
        return await self._get("/sync", {**params, "since": self._since})

    async def _events(self, room: str, timeline: Mapping[str, Any], since: str, me: str) -> AsyncIterator[Any]:
        """Those of the timeline; before them, newest first, what the server left out. Nothing from before we joined."""
        events = list_of(timeline, "events")
        joined = [number for number, event in enumerate(events) if is_joining(event, me)]
        start = timeline.get("prev_batch") if timeline.get("limited") is True and not joined else None
        params: dict[str, str | int] = {"dir": "b", "limit": PAGE, "to": since, "filter": json.dumps({"types": WANTED})}
        while isinstance(start, str):
            page = await self._get(f"/rooms/{part(room)}/messages", {**params, "from": start})
            start = page.get("end") if page.get("end") != start else None
            for event in list_of(page, "chunk"):
                if is_joining(event, me):
                    start = None
                    break
                yield event
        for event in events[joined[-1] if joined else 0 :]:
            yield event

    def _message(self, room: str, event: Any, me: str) -> Message | None:
        """None for all that is not somebody's message; whatever it holds is somebody's who may mean no good."""
        if not isinstance(event, Mapping) or (self._rooms is not None and room not in self._rooms):
            return None
        content, at_ms, event_id, sender = (
            part_of(event, "content"),
            *(event.get(name) for name in ("origin_server_ts", "event_id", "sender")),
        )
        kind, text = content.get("msgtype"), content.get("body")
        if event.get("type") == ENCRYPTED and room not in self._unreadable:
            self._unreadable.add(room)
            log.warning("room %s is encrypted: its messages cannot be read", room)
        if event.get("type") != MESSAGE or sender == me or kind == NOTICE:
            return None
        if part_of(content, "m.relates_to").get("rel_type") == "m.replace":  # an edit
            return None
        if not (isinstance(kind, str) and isinstance(text, str) and isinstance(at_ms, int) and 0 <= at_ms < 2**53):
            return None
        if not (is_id(event_id, "$") and is_id(sender, "@") and is_id(room, "!")) or self._is_old(at_ms):
            return None
        return {
            "room": room,
            "id": event_id,
            "sender": sender,
            "at_ms": at_ms,
            "type": plain(kind),
            "text": plain(text),
        }

    def _is_old(self, at_ms: int) -> bool:
        now_ms = self._server.answered_ms
        return now_ms is not None and at_ms < now_ms - 1000 * self._backlog_s

    async def _join(self, invites: Mapping[str, Any]) -> None:
        """One replica's word is enough, and a second one changes nothing."""
        for room in sorted(invites) if self._accept_invites else ():
            if self._rooms is not None and room not in self._rooms:
                continue
            try:
                await self._server.post(f"/rooms/{part(room)}/join", {}, ANSWER_S)
            except MatrixError as error:  # somebody may invite us to a room that nobody can join
                log.warning("the invitation to %s cannot be accepted: %s", room, error.reason)

    async def _get(self, path: str, params: Mapping[str, str | int]) -> Mapping[str, Any]:
        """Waits as long as the server asks for."""
        while True:
            try:
                return await self._server.get(path, params, POLL_S + ANSWER_S)
            except MatrixError as error:
                if not error.is_limit:
                    raise
                wait_s = error.retry_after_s
            await anyio.sleep(LIMIT_WAIT_S if wait_s is None else wait_s)


def answer(message: Message, text: str) -> Json:
    """What to post to a `MatrixSink` to answer a message: a notice that points to it."""
    content: Json = {
        "msgtype": "m.notice",
        "body": text,
        "m.relates_to": {"m.in_reply_to": {"event_id": message["id"]}},
    }
    return {"room": message["room"], "content": content}


def is_joining(event: object, me: str) -> bool:
    """Whether the account came into the room then. A member with a new name looks the same, but for the past."""
    if not isinstance(event, Mapping) or event.get("type") != MEMBER or event.get("state_key") != me:
        return False
    past = part_of(part_of(event, "unsigned"), "prev_content")
    return part_of(event, "content").get("membership") == "join" and past.get("membership") != "join"


def part_of(whole: object, name: str) -> Mapping[str, Any]:
    """An object within an object; empty where there is none."""
    inner = whole.get(name) if isinstance(whole, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def list_of(whole: Mapping[str, Any], name: str) -> list[Any]:
    inner = whole.get(name)
    return inner if isinstance(inner, list) else []


def position_in(batch: Mapping[str, Any]) -> str:
    """Where a sync ended."""
    position = batch.get("next_batch")
    if (
        not isinstance(position, str)
        or not position
        or len(position) > POSITION_BYTES_MAX
        or not (position.isascii() and position.isprintable())
    ):
        raise MatrixError("the answer to /sync has no next_batch: not a homeserver, or not working")
    return position


def read_position(file: Path) -> str | None:
    """
    Raises:
        ConfigError: there is something else in the file.
    """
    try:
        position = file.read_text("ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as a position: {error}") from None
    if not position or len(position) > POSITION_BYTES_MAX or not (position.isascii() and position.isprintable()):
        raise ConfigError(f"{file} holds no position in a room: remove it to begin with what comes from now on")
    return position


def write_position(file: Path, position: str) -> None:
    """Whole, or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    new = file.with_name(f"{file.name}.new")
    try:
        with new.open("w", encoding="ascii") as out:
            out.write(position)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
