"""The agent of the lab: that of the benchmark, with handlers that block, on replicas that each say they have a host of
their own, so that no process table proves a death; and with bugs that can be planted, to see them found.

Environment, beside that of `actonce.bench.agent`: ACTONCE_LAB_HOST, the name of the host; ACTONCE_LAB_PLANT, one of
PLANTS; ACTONCE_LAB_BLOCK_S, how long the blocking handlers block; ACTONCE_LAB_AHEAD_S, how far the wall clock is ahead.
(libfaketime would skew it for the whole process, but its version 0.9.10 makes `time.sleep` of Python 3.11 fail.)
"""

import os
import time
from dataclasses import replace
from typing import Any

from actonce import Context, SyncContext
from actonce.bench.agent import agent as agent
from actonce.bench.agent import reply
from actonce.claims import Claims
from actonce.edge import host
from actonce.executor import Executor
from actonce.running import Gate, Run
from actonce_crdt import TaskState

HOST = os.environ.get("ACTONCE_LAB_HOST", "")
PLANT = os.environ.get("ACTONCE_LAB_PLANT", "")
BLOCK_S = float(os.environ.get("ACTONCE_LAB_BLOCK_S", "5"))
AHEAD_S = float(os.environ.get("ACTONCE_LAB_AHEAD_S", "0"))
PLANTS = ("deaf", "greedy", "unguarded")
"""deaf: handlers and effects go on, whatever became of contact and claim. greedy: nobody asks who owns an open task.
unguarded: what should need a majority needs none."""

if AHEAD_S:
    right = time.time
    time.time = lambda: right() + AHEAD_S

if HOST:
    here = replace(host.this_process(), host=f"{HOST} in the lab")
    host.this_process = lambda: here
    agent.task("decide", retries=20, timeout="1m", guard="majority")(reply)


def always_open(gate: Gate, run: Run) -> bool:
    """Planted."""
    return not gate.shut


def never(executor: Executor, task: str) -> None:
    """Planted."""


def is_open(claims: Claims, task: str, kind: str, state: TaskState) -> bool:
    """Planted."""
    return state.claim is None


if PLANT == "greedy":
    setattr(Claims, "_is_ours", is_open)  # noqa: B010
if PLANT == "unguarded":
    agent.tasks["decide"] = replace(agent.tasks["decide"], guard="available")
if PLANT == "deaf":
    setattr(Gate, "is_open", always_open)  # noqa: B010
    setattr(Executor, "revoke", never)  # noqa: B010


@agent.task("thread", retries=0, timeout="5m")
def block_a_thread(ctx: SyncContext, payload: Any) -> None:
    """A plain function, in a worker thread."""
    time.sleep(BLOCK_S)


@agent.task("loop", retries=0, timeout="5m")
async def block_the_loop(ctx: Context, payload: Any) -> None:
    """An async handler that blocks the event loop of all handlers of its replica."""
    time.sleep(BLOCK_S)  # noqa: ASYNC251
