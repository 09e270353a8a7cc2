"""The agent whose replicas `actonce demo` starts: thinks for a moment, then answers each message once.

Environment: ACTONCE_DEMO_FEED, the URL of the feed; ACTONCE_DEMO_SEED, for how long each message is thought about.
"""

from __future__ import annotations

import os
import random
from typing import Any

import anyio

from actonce import Agent, Context, HttpSink

FEED = os.environ.get("ACTONCE_DEMO_FEED", "http://127.0.0.1:7430")
SEED = os.environ.get("ACTONCE_DEMO_SEED", "0")
THINK_S = (0.005, 0.02)
PUBLISH_TIMEOUT_S = 1.0

agent = Agent("demo")
agent.sink("room", HttpSink(f"{FEED}/posts", lookup_url=f"{FEED}/posts/by-key/{{key}}", timeout_s=PUBLISH_TIMEOUT_S))


@agent.task("reply", retries=20, timeout="1m")
async def reply(ctx: Context, message: dict[str, Any]) -> None:
    """Answer a message of the feed."""
    await anyio.sleep(random.Random(f"{SEED} {ctx.task}").uniform(*THINK_S))
    await ctx.post("room", {"to": message["id"], "text": f"You said: {message['text']}"})
