"""The example of the Matrix bot, as each replica of the tests runs it: its own token, its own folder for positions.

`ACTONCE_MATRIX_PLANT` names a bug to plant: one of the functions below.
"""

import json
import os
from pathlib import Path

from tests.matrix.environment import FOLDER, PLANT, TOKENS

from actonce import SourceContext
from actonce.demo.mesh import NAME
from actonce.loading import load_agent
from actonce.matrix import sink

EXAMPLE = Path(__file__).resolve().parents[2] / "runtime" / "examples" / "matrix_agent.py"

os.chdir(os.environ[FOLDER])
os.environ["MATRIX_TOKEN"] = json.loads(os.environ[TOKENS])[os.environ[NAME]]
agent = load_agent(f"{EXAMPLE}:agent")


def keys() -> None:
    """Each replica makes a task of its own of each message."""
    from matrix_agent import rooms  # type: ignore[import-not-found]

    agent.sources.clear()

    @agent.source(name="room")
    async def planted(ctx: SourceContext) -> None:
        async for message in rooms.messages(f"{ctx.replica}.matrix-position"):
            await ctx.submit("answer", message, key=message["id"] + ctx.replica)


def ids() -> None:
    """Each replica has transaction ids of its own."""
    honest = sink.transaction_id
    sink.transaction_id = lambda key: honest(key + os.environ[NAME])


def blind() -> None:
    """A look into the room finds nothing."""

    async def lookup(self: sink.MatrixSink, key: str) -> None:
        return None

    sink.MatrixSink.lookup = lookup  # type: ignore[method-assign]


if PLANT in os.environ:
    {"keys": keys, "ids": ids, "blind": blind}[os.environ[PLANT]]()
