"""Writes a report in three steps; kill its replica at any point, and a survivor goes on after the last finished one.

Start `actonce feed` first: that is where the report goes. The "model" is a stand-in for a slow, paid call.
"""

import anyio

from actonce import Agent, Context, HttpSink

FEED = "http://127.0.0.1:7430/posts"
MODEL_S = 2.0

agent = Agent("kevin")
agent.sink("room", HttpSink(FEED, lookup_url=FEED + "/by-key/{key}"))


async def ask_model(prompt: str) -> str:
    """Takes its time, and costs money each time."""
    await anyio.sleep(MODEL_S)
    return f"[{prompt}]"


@agent.task("report", retries=3, timeout="10m", example={"topic": "herons"})
async def report(ctx: Context, order: dict[str, str]) -> str:
    """`order` is what `actonce submit report '{"topic": "herons"}'` sent."""
    outline = await ctx.step("outline", ask_model, f"outline {order['topic']}")
    draft = await ctx.step("draft", ask_model, f"write {outline}")
    final: str = await ctx.step("edit", ask_model, f"edit {draft}")
    await ctx.post("room", {"text": final})
    return final
