"""Posts a digest of a feed at eight every morning, Berlin time, and a sign of life each minute: once each, however many
replicas run.

Try it, each command in a terminal of its own; `DIGEST_CRON="*/30 * * * * *"` makes a digest each half minute:

    actonce feed --port 7430
    actonce run digest_agent.py:agent --name a --listen 127.0.0.1:7421 --new
    actonce run digest_agent.py:agent --name b --listen 127.0.0.1:7422 --join 127.0.0.1:7421
    actonce schedules --at 127.0.0.1:7422
"""

import os
from datetime import datetime
from typing import Any

import httpx

from actonce import Agent, Context, HttpSink

FEED = os.environ.get("FEED_URL", "http://127.0.0.1:7430/posts")
CRON = os.environ.get("DIGEST_CRON", "0 8 * * *")
DAY_S = 86_400

agent = Agent("kevin")
agent.sink("feed", HttpSink(FEED, lookup_url=FEED + "/by-key/{key}"))


async def read_feed(slot: str) -> dict[str, int]:
    """How many posts of each kind came in the day before the slot."""
    async with httpx.AsyncClient() as client:
        posts = (await client.get(FEED)).raise_for_status().json()
    until, counts = datetime.fromisoformat(slot).timestamp(), dict[str, int]()
    for post in posts:
        if until - DAY_S <= post["at"] < until:
            kind = next(iter(post["body"]), "nothing") if isinstance(post["body"], dict) else "text"
            counts[kind] = counts.get(kind, 0) + 1
    return counts


@agent.cron(CRON, tz="Europe/Berlin", missed="once", overlap="queue")
async def digest(ctx: Context, slot: dict[str, str]) -> None:
    """If no replica was up at eight, the newest missed digest is made up for.

    What the feed held is read once for each digest: if its replica dies, the survivor posts the same numbers.
    """
    counts: dict[str, Any] = await ctx.step("read", read_feed, slot["slot"])
    await ctx.post("feed", {"digest": slot["slot"], "posts": counts})


@agent.every("1m", missed="skip")
async def alive(ctx: Context, slot: dict[str, str]) -> None:
    """A minute that was missed is of no interest later."""
    await ctx.post("feed", {"alive": slot["slot"]})
