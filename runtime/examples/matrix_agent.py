"""Answers each message of a Matrix room once, however many replicas run; every replica hears every message.

You need an account for the bot on any homeserver, and a room that is not encrypted. Get an access token (it is in the
answer), and put it into the environment of each replica:

    curl -X POST https://matrix.example/_matrix/client/v3/login -d '{"type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "bot"}, "password": "..."}'
    export MATRIX_HOMESERVER=https://matrix.example MATRIX_TOKEN=syt_...

    actonce run matrix_agent.py:agent --name a --listen 127.0.0.1:7421 --new
    actonce run matrix_agent.py:agent --name b --listen 127.0.0.1:7422 --join 127.0.0.1:7421
    actonce run matrix_agent.py:agent --name c --listen 127.0.0.1:7423 --join 127.0.0.1:7421

Then invite the bot to the room, write something, kill replicas. Homeservers limit how fast an account may write,
Synapse by default to ten at once and then one each five seconds: the replicas share MATRIX_LIMIT in 50 seconds.

With one token for all replicas, as above, the server throws repeated answers away. With a token for each (log in once
for each), set MATRIX_DEVICES=own: a doubt is then settled by looking into the room. The difference shows when replicas
are cut off from each other, but not from the server, for longer than the grace: with own tokens both sides answer.
"""

import os
from typing import Any

from actonce import Agent, Context, SourceContext
from actonce.matrix import MatrixRooms, MatrixSink, answer

HOMESERVER = os.environ.get("MATRIX_HOMESERVER", "http://127.0.0.1:8008")
TOKEN = os.environ.get("MATRIX_TOKEN", "")
SHARED = os.environ.get("MATRIX_DEVICES", "shared") == "shared"

agent = Agent("kevin")
agent.quota("matrix", int(os.environ.get("MATRIX_LIMIT", "10")), "50s")
agent.sink("matrix", MatrixSink(HOMESERVER, TOKEN, shared_device=SHARED, timeout_s=5.0))
rooms = MatrixRooms(HOMESERVER, TOKEN, accept_invites=True)


@agent.source
async def room(ctx: SourceContext) -> None:
    """Runs on every replica. The event id makes one task of what all of them hear."""
    async for message in rooms.messages(f"{ctx.replica}.matrix-position"):
        await ctx.submit("answer", message, key=message["id"])


EXAMPLE: dict[str, Any] = {
    "room": "!r:localhost",
    "id": "$e",
    "sender": "@a:localhost",
    "type": "m.text",
    "text": "hello",
}


@agent.task("answer", retries=3, timeout="2m", example=EXAMPLE)
async def reply(ctx: Context, message: dict[str, Any]) -> None:
    """This is where a model would be asked, in a `ctx.step`."""
    async with ctx.quota("matrix"):
        await ctx.post("matrix", answer(message, f"You said: {message['text']}"))
