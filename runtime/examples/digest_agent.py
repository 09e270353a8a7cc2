"""Posts a digest at eight every morning, Berlin time, and a sign of life each minute: once, however many replicas run.

Start `actonce feed` first: that is where both go. `actonce schedules` shows what is due next.
"""

from actonce import Agent, Context, HttpSink

FEED = "http://127.0.0.1:7430/posts"

agent = Agent("kevin")
agent.sink("room", HttpSink(FEED, lookup_url=FEED + "/by-key/{key}"))


async def read_news(slot: str) -> list[str]:
    """A stand-in for what takes long, or costs money."""
    return [f"what happened before {slot}"]


@agent.cron("0 8 * * *", tz="Europe/Berlin", missed="once", overlap="queue")
async def digest(ctx: Context, slot: dict[str, str]) -> None:
    """If no replica was up at eight, the newest missed digest is made up for."""
    news: list[str] = await ctx.step("read", read_news, slot["slot"])
    await ctx.post("room", {"digest": "; ".join(news)})


@agent.every("1m", missed="skip")
async def alive(ctx: Context, slot: dict[str, str]) -> None:
    """A minute that was missed is of no interest later."""
    await ctx.post("room", {"alive": slot["slot"]})
