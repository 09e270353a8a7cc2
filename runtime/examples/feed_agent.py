"""Posts what a calendar of posts says, when it says so: once, however many replicas run.

The calendar is a file of JSON lines, of which every replica has a copy; lines may be added while they run:

    {"id": "herons-1", "text": "The herons are back.", "at": "2026-11-21T08:00:00Z"}

Try it in a folder of your own, each of the long commands in a terminal of its own:

    echo "{\\"id\\": \\"first\\", \\"text\\": \\"Hello, feed.\\", \\"at\\": \\"$(date -u +%FT%TZ)\\"}" >> calendar.jsonl
    actonce feed --port 7430
    actonce run feed_agent.py:agent --name a --listen 127.0.0.1:7421 --new
    actonce run feed_agent.py:agent --name b --listen 127.0.0.1:7422 --join 127.0.0.1:7421
    actonce run feed_agent.py:agent --name c --listen 127.0.0.1:7423 --join 127.0.0.1:7421

For an account at a Mastodon server, which refuses a repeated key for an hour, start each replica with FEED_TOKEN, an
access token that may write statuses, and FEED_URL=https://mastodon.example/api/v1/statuses.
"""

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from actonce import Agent, Context, HttpSink, SourceContext

CALENDAR = Path(os.environ.get("CALENDAR", "calendar.jsonl"))
FEED = os.environ.get("FEED_URL", "http://127.0.0.1:7430/posts")
TOKEN = os.environ.get("FEED_TOKEN")
LOOK_S = 2.0
LATE = timedelta(days=1)
"""What is later than this is not posted any more: replicas do not remember for ever what they have posted."""

agent = Agent("kevin")
if TOKEN is None:
    agent.sink("feed", HttpSink(FEED, lookup_url=FEED + "/by-key/{key}"))
else:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    agent.sink("feed", HttpSink(FEED, headers=headers, dedupe_window_s=3600.0, quote_key=False))

log = logging.getLogger("feed_agent")


@agent.source
async def calendar(ctx: SourceContext) -> None:
    """Runs on every replica. The id makes one task of what all of them read."""
    seen: set[str] = set()
    while True:
        for line in await anyio.to_thread.run_sync(read_lines):
            if line not in seen:
                seen.add(line)
                await plan(ctx, line)
        await anyio.sleep(LOOK_S)


def read_lines() -> list[str]:
    """Whole lines only: the last one may still be written."""
    text = CALENDAR.read_text(encoding="utf-8") if CALENDAR.exists() else ""
    return [line for line in text[: text.rfind("\n") + 1].splitlines() if line.strip()]


async def plan(ctx: SourceContext, line: str) -> None:
    """One line of the calendar."""
    now = datetime.now(UTC)
    try:
        entry = json.loads(line)
        key, text, at = str(entry["id"]), str(entry["text"]), datetime.fromisoformat(entry["at"])
        wait = at - now  # a TypeError if the time has no zone
    except (ValueError, KeyError, TypeError) as error:
        log.warning('%s: not {"id": ..., "text": ..., "at": a time with its zone}: %s (%r)', CALENDAR, line, error)
        return
    if wait > -LATE:
        await ctx.submit("post", {"text": text}, key=key, delay=max(wait.total_seconds(), 0.001))


@agent.task("post", retries=5, timeout="2m", example={"text": "hello"})
async def post(ctx: Context, entry: dict[str, Any]) -> None:
    """If two lines have one id, the first that a replica read is posted."""
    await ctx.post("feed", {"status": entry["text"]})
