"""Run your agent many times; it acts once.

    from actonce import Agent, Context, HttpSink

    agent = Agent("kevin")
    agent.sink("room", HttpSink("http://127.0.0.1:8000/posts"))

    @agent.task("reply", retries=3, timeout="2m")
    async def reply(ctx: Context, message: dict) -> None:
        await ctx.post("room", {"text": f"You said: {message['text']}"})

Then `actonce run module:agent`, or `async with Replica(agent, ...)` in a program of your own.
"""

from actonce.agent import Agent
from actonce.context import Child, Context, SyncContext
from actonce.endpoints import Failover
from actonce.errors import (
    ActonceError,
    ConfigError,
    Draining,
    EffectFailed,
    GateClosed,
    JournalError,
    KeyReused,
    MemoryFull,
    MemoryInvalid,
    NameTaken,
    NoSuchTask,
    NotSettled,
    PayloadInvalid,
    PayloadTooLarge,
    QuotaBusy,
    QuotaError,
    QuotaTimeout,
    ReplicaFailed,
    SinkRefused,
    SinkUnknown,
    StepsChanged,
    TaskFailed,
    UnknownKind,
)
from actonce.following import follow_jsonl
from actonce.handle import Handle
from actonce.listening import SourceContext
from actonce.memory import Value
from actonce.placement import Traits
from actonce.replica import Replica
from actonce.resolving import Conflict
from actonce.settings import LAN, LAPTOP, WAN, Settings
from actonce.sinks import CallableSink, FileSink, HttpSink, Sink
from actonce.sources import Item, Polled
from actonce.spending import Spend
from actonce_crdt import Json

__version__ = "0.1.0"

__all__ = [
    "LAN",
    "LAPTOP",
    "WAN",
    "ActonceError",
    "Agent",
    "CallableSink",
    "Child",
    "ConfigError",
    "Conflict",
    "Context",
    "Draining",
    "EffectFailed",
    "Failover",
    "FileSink",
    "GateClosed",
    "Handle",
    "HttpSink",
    "Item",
    "JournalError",
    "Json",
    "KeyReused",
    "MemoryFull",
    "MemoryInvalid",
    "NameTaken",
    "NoSuchTask",
    "NotSettled",
    "PayloadInvalid",
    "PayloadTooLarge",
    "Polled",
    "QuotaBusy",
    "QuotaError",
    "QuotaTimeout",
    "Replica",
    "ReplicaFailed",
    "Settings",
    "Sink",
    "SinkRefused",
    "SinkUnknown",
    "SourceContext",
    "Spend",
    "StepsChanged",
    "SyncContext",
    "TaskFailed",
    "Traits",
    "UnknownKind",
    "Value",
    "__version__",
    "follow_jsonl",
]
