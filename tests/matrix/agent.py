"""The example of the Matrix bot, as each replica of the tests runs it: its own token, its own folder for positions.

`ACTONCE_MATRIX_PLANT=keys` plants a bug: each replica makes a task of its own of each message.
"""

import json
import os
from pathlib import Path

from tests.matrix.environment import FOLDER, PLANT, TOKENS

from actonce import SourceContext
from actonce.demo.mesh import NAME
from actonce.loading import load_agent

EXAMPLE = Path(__file__).resolve().parents[2] / "runtime" / "examples" / "matrix_agent.py"

os.chdir(os.environ[FOLDER])
os.environ["MATRIX_TOKEN"] = json.loads(os.environ[TOKENS])[os.environ[NAME]]
agent = load_agent(f"{EXAMPLE}:agent")

if os.environ.get(PLANT) == "keys":
    from matrix_agent import rooms  # type: ignore[import-not-found]

    agent.sources.clear()

    @agent.source(name="room")
    async def planted(ctx: SourceContext) -> None:
        async for message in rooms.messages(f"{ctx.replica}.matrix-position"):
            await ctx.submit("answer", message, key=message["id"] + ctx.replica)
