"""An agent with one kind of task that needs a majority. ACTONCE_DEMO_FEED is the URL of the feed."""

from __future__ import annotations

import os
from typing import Any

from actonce import Agent, Context, HttpSink

FEED = os.environ.get("ACTONCE_DEMO_FEED", "http://127.0.0.1:7430")

agent = Agent("payer")
agent.sink("room", HttpSink(f"{FEED}/posts", lookup_url=f"{FEED}/posts/by-key/{{key}}", timeout_s=1.0))


@agent.task("pay", guard="majority", retries=20, timeout="1m")
async def pay(ctx: Context, order: dict[str, Any]) -> None:
    """Post the order."""
    await ctx.post("room", order)
