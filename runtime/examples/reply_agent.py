"""Answers each message once, however many replicas run. Start `actonce feed` first: that is where the answers go."""

from actonce import Agent, Context, HttpSink

FEED = "http://127.0.0.1:7430/posts"

agent = Agent("kevin")
agent.sink("room", HttpSink(FEED, lookup_url=FEED + "/by-key/{key}"))


@agent.task("reply", retries=3, timeout="2m", example={"text": "hello"})
async def reply(ctx: Context, message: dict[str, str]) -> None:
    """`message` is what `actonce submit reply '{"text": "hello"}'` sent."""
    await ctx.post("room", {"text": f"You said: {message['text']}"})
