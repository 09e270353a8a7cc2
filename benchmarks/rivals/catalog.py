"""What there is to measure, with the settings that the tables name. Each follows the documentation of its project."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.rivals.servers import Etcd, Nats, Postgres, Redis, Server

PLAIN = "benchmarks.rivals"


def _module(name: str, *arguments: str) -> Callable[[int], list[str]]:
    return lambda worker: [sys.executable, "-m", name, *arguments]


@dataclass(frozen=True, slots=True)
class Rival:
    """One way to have tasks done by three processes."""

    key: str
    """Names it on the command line."""
    name: str
    module: str
    """Has `producer()`, and `setup()` if there is something to make first. Without a `command` it is run itself."""
    packages: Sequence[str]
    server: type[Server] | None
    command: Callable[[int], list[str]] | None
    """Of the worker with this number; None where the producers work."""
    settings: str
    documented: str = ""
    """The settings that decide the takeover, as documented."""
    fastest: str = ""
    """The same with the fastest takeover that makes sense."""
    durable: bool = True
    setup: bool = False
    leader: bool = False
    """One worker does everything, the others stand by."""
    takeover: bool = True
    """Whether it is part of the comparison of takeovers."""


OURS = Rival(
    "actonce",
    "Actonce",
    f"{PLAIN}.ours",
    ("actonce",),
    None,
    None,
    "journal with fsync; each submission also read by a second replica",
    "as it stands",
    "as it stands",
)
NATS = Rival(
    "nats",
    "NATS JetStream, raw",
    f"{PLAIN}.nats_raw",
    ("nats-py",),
    Nats,
    _module(f"{PLAIN}.nats_raw"),
    "work queue stream, pull consumer, fetch of 50, 100 at once; sync_interval always",
    "ack_wait 30 s",
    "ack_wait 3 s, in_progress each 1 s",
    setup=True,
)
NATS_SHIPPED = replace(
    NATS,
    key="nats-shipped",
    name="NATS JetStream, raw, as shipped",
    settings="the same; fsync every two minutes: a crash of the host loses what it acknowledged",
    durable=False,
    takeover=False,
)
TASKIQ_REDIS = Rival(
    "taskiq-redis",
    "taskiq on Redis streams",
    f"{PLAIN}.taskiq_redis",
    ("taskiq", "taskiq-redis"),
    Redis,
    _module("taskiq", "worker", f"{PLAIN}.taskiq_redis:broker", "--workers", "1", "--max-async-tasks", "100"),
    "RedisStreamBroker, one process a worker, 100 at once; appendfsync always",
    "idle_timeout 600 s",
    "idle_timeout 5 s",
)
CELERY = Rival(
    "celery",
    "Celery on Redis",
    f"{PLAIN}.celery_redis",
    ("celery", "redis"),
    Redis,
    lambda worker: [
        *(sys.executable, "-m", "celery", "-A", f"{PLAIN}.celery_redis", "worker"),
        *("-n", f"w{worker}@%h", "--loglevel=WARNING"),
    ],
    "prefork, one child a core; acks_late, reject_on_worker_lost; appendfsync always",
    "visibility_timeout 3,600 s",
    "visibility_timeout 5 s",
)
TASKIQ_NATS = Rival(
    "taskiq-nats",
    "taskiq on NATS",
    f"{PLAIN}.taskiq_nats_app",
    ("taskiq", "taskiq-nats"),
    Nats,
    _module("taskiq", "worker", f"{PLAIN}.taskiq_nats_app:broker", "--workers", "1", "--max-async-tasks", "100"),
    "PullBasedJetStreamBroker, one process a worker, 100 at once; sync_interval always",
    "ack_wait 30 s",
    "ack_wait 5 s",
)
DRAMATIQ = Rival(
    "dramatiq",
    "dramatiq on Redis",
    f"{PLAIN}.dramatiq_redis",
    ("dramatiq", "redis"),
    Redis,
    _module("dramatiq", f"{PLAIN}.dramatiq_redis", "-p", "1", "-t", "8"),
    "one process a worker, 8 threads; appendfsync always",
    "heartbeat_timeout 60 s",
    "heartbeat_timeout 5 s, maintenance_chance 10 %",
)
PGQUEUER = Rival(
    "pgqueuer",
    "PgQueuer",
    f"{PLAIN}.pgqueuer_app",
    ("pgqueuer", "asyncpg"),
    Postgres,
    _module(f"{PLAIN}.pgqueuer_app"),
    "asyncpg, batches of 10",
    "heartbeat_timeout 30 s",
    "heartbeat_timeout 3 s, dequeue_timeout 1 s",
    setup=True,
)
DBOS = Rival(
    "dbos",
    "DBOS on Postgres",
    f"{PLAIN}.dbos_app",
    ("dbos",),
    Postgres,
    _module(f"{PLAIN}.dbos_app"),
    "one queue, 100 at once a worker, executor ids",
    "another executor recovers it only when told to",
    "the same",
)
REDIS_LOCK = Rival(
    "redis-lock",
    "Redis SET NX lock",
    f"{PLAIN}.redis_lock",
    ("redis",),
    Redis,
    _module(f"{PLAIN}.redis_lock"),
    "every worker reads a stream, the first SET NX PX wins; appendfsync always",
    "ttl 10 s, renewed at a third; others look once a second",
    "ttl 3 s, others look twice a second",
)
ETCD = Rival(
    "etcd",
    "etcd leader",
    f"{PLAIN}.etcd_leader",
    ("aiohttp",),
    Etcd,
    _module(f"{PLAIN}.etcd_leader"),
    "JSON gateway; the leader watches keys and deletes them",
    "lease of 5 s",
    "lease of 2 s",
    leader=True,
)

RIVALS = (OURS, NATS, NATS_SHIPPED, TASKIQ_REDIS, CELERY, TASKIQ_NATS, DRAMATIQ, PGQUEUER, DBOS, REDIS_LOCK, ETCD)
