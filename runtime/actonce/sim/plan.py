"""Fault plans as data: what goes wrong, where, when (seconds of virtual time), for how long.

A plan is a tuple of faults. Being data, it can be drawn from a seed, generated and shrunk by Hypothesis, written down
in JSON and run again. `run.py` carries it out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from actonce.errors import ConfigError
from actonce.sim.disk_faults import WAYS, Damage


@dataclass(frozen=True, slots=True)
class Crash:
    """kill -9; the unsynced part of the disk is lost; a new process starts after `for_s`."""

    at: float
    replica: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """SIGSTOP, and SIGCONT after `for_s`: sockets fill, timers come due, all clocks go on."""

    at: float
    replica: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Suspend:
    """A laptop sleeps for `for_s`: as a pause, but its timers stand still meanwhile; only its clock has jumped."""

    at: float
    replica: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Partition:
    """The replicas of `side` and the others cannot reach each other; what is sent waits in sockets."""

    at: float
    side: tuple[str, ...]
    for_s: float


@dataclass(frozen=True, slots=True)
class OneWay:
    """Nothing arrives from `source` at `target`; the other way works."""

    at: float
    source: str
    target: str
    for_s: float


@dataclass(frozen=True, slots=True)
class SlowLink:
    """Frames between two replicas take `delay_s` longer, both ways."""

    at: float
    source: str
    target: str
    delay_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class CutLink:
    """One pair of replicas cannot reach each other, while both reach the others."""

    at: float
    source: str
    target: str
    for_s: float


@dataclass(frozen=True, slots=True)
class SlowPeer:
    """Frames from and to one replica take `delay_s` longer."""

    at: float
    replica: str
    delay_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class DropLink:
    """The connection between two replicas breaks; what was under way on it is lost. They may dial again."""

    at: float
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Skew:
    """The wall clock of a replica is set off by `offset_s`."""

    at: float
    replica: str
    offset_s: float


@dataclass(frozen=True, slots=True)
class Drift:
    """The clocks of a replica run at `rate` from its next start on. Within the bound that leases assume."""

    at: float
    replica: str
    rate: float


@dataclass(frozen=True, slots=True)
class SlowDisk:
    """A sync of a replica's disk takes up to `sync_s`."""

    at: float
    replica: str
    sync_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class DiskFull:
    """The next write of a replica fails: it stops on its own, and is started again after `for_s`."""

    at: float
    replica: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Leave:
    """A replica drains, says goodbye and ends; a new process starts after `for_s` (a rolling restart)."""

    at: float
    replica: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Join:
    """A replica that was not there yet starts with an empty disk. Before that it is no part of the mesh."""

    at: float
    replica: str


@dataclass(frozen=True, slots=True)
class Burst:
    """`count` further tasks at once, each submitted on every replica."""

    at: float
    count: int


@dataclass(frozen=True, slots=True)
class Wipe:
    """kill -9, and the disk is lost; a new process starts after `for_s`, on an empty disk."""

    at: float
    replica: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Vote:
    """Somebody asks `replica` to let another replica vote ("add"), or vote no longer ("remove")."""

    at: float
    replica: str
    change: str
    name: str


@dataclass(frozen=True, slots=True)
class LockDown:
    """The lock service is killed, and started again after `for_s` with all that it had acknowledged."""

    at: float
    for_s: float


@dataclass(frozen=True, slots=True)
class LockCut:
    """One replica gets no answer from the lock service."""

    at: float
    replica: str
    for_s: float


@dataclass(frozen=True, slots=True)
class LockSlow:
    """Between one replica and the lock service each message takes `delay_s` longer, both ways."""

    at: float
    replica: str
    delay_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class Order:
    """Somebody orders `replica` that the target be in this mode, and after `for_s` that it go on.

    `target` is "agent", "kind:NAME" or "replica:NAME"; `mode` one of drain, pause, stop, halt (`stop --now`).
    """

    at: float
    replica: str
    mode: str
    target: str
    for_s: float


Fault = (
    Crash
    | Pause
    | Suspend
    | Partition
    | OneWay
    | SlowLink
    | CutLink
    | SlowPeer
    | DropLink
    | Skew
    | Drift
    | SlowDisk
    | DiskFull
    | Leave
    | Join
    | Burst
    | Wipe
    | Damage
    | Vote
    | LockDown
    | LockCut
    | LockSlow
    | Order
)
Plan = tuple[Fault, ...]
KINDS: dict[str, type[Fault]] = {
    kind.__name__: kind
    for kind in (
        *(Crash, Pause, Suspend, Partition, OneWay, SlowLink, CutLink, SlowPeer, DropLink),
        *(Skew, Drift, SlowDisk, DiskFull, Leave, Join, Burst, Wipe, Damage, Vote, LockDown, LockCut, LockSlow, Order),
    )
}


@dataclass(frozen=True, slots=True)
class Mix:
    """What a random plan is drawn from. A weight of 0 leaves a fault out. Durations in seconds."""

    weights: tuple[tuple[str, int], ...] = (
        ("Crash", 4),
        ("Pause", 3),
        ("Suspend", 1),
        ("Partition", 3),
        ("OneWay", 2),
        ("SlowLink", 2),
        ("CutLink", 1),
        ("SlowPeer", 1),
        ("DropLink", 2),
        ("Skew", 1),
        ("Drift", 1),
        ("SlowDisk", 2),
        ("DiskFull", 1),
        ("Leave", 2),
        ("Burst", 2),
    )
    between_s: tuple[float, float] = (0.2, 5.0)
    pause_s: tuple[float, float] = (0.05, 5.0)
    partition_s: tuple[float, float] = (0.05, 1.3)
    """Up to just below suspicion + grace by default: nothing may double. Make it longer to see sides."""
    down_s: tuple[float, float] = (0.0, 4.0)
    cut_s: tuple[float, float] = (0.5, 8.0)
    """Of one link, while a third replica reaches both: however long, nothing may double."""
    slow_s: tuple[float, float] = (0.01, 0.3)
    """A third of the contact window at most, both ways: beyond that a link is as good as cut."""
    locks_s: tuple[float, float] = (0.1, 8.0)
    """How long the lock service, or the way to it, is away. No fault of it is drawn by default."""

    order_s: tuple[float, float] = (0.1, 4.0)
    """How long an order stands. None is drawn by default."""

    def without(self, *kinds: str) -> Mix:
        """The same with some kinds of fault left out."""
        weights = tuple((kind, 0 if kind in kinds else weight) for kind, weight in self.weights)
        return replace(self, weights=weights)


def draw(rng: random.Random, names: Sequence[str], seconds: float, mix: Mix) -> Plan:
    """A random plan for these replicas over this time."""
    faults: list[Fault] = []
    kinds = [kind for kind, _ in mix.weights]
    weights = [weight for _, weight in mix.weights]
    at = rng.uniform(*mix.between_s)
    while sum(weights) and at < seconds:
        faults.append(_draw_one(rng, rng.choices(kinds, weights)[0], names, at, mix))
        at += rng.uniform(*mix.between_s)
    return tuple(faults)


def _draw_one(rng: random.Random, kind: str, names: Sequence[str], at: float, mix: Mix) -> Fault:
    name, other = rng.sample(sorted(names), 2)
    at = round(at, 3)

    def some(bounds: tuple[float, float]) -> float:
        return round(rng.uniform(*bounds), 3)

    match kind:
        case "Pause" | "Suspend":
            return (Pause if kind == "Pause" else Suspend)(at, name, some(mix.pause_s))
        case "Partition":
            side = rng.sample(sorted(names), rng.randint(1, len(names) - 1))
            return Partition(at, tuple(sorted(side)), some(mix.partition_s))
        case "OneWay":
            return OneWay(at, name, other, some(mix.partition_s))
        case "SlowLink":
            return SlowLink(at, name, other, some(mix.slow_s), some((0.5, 5.0)))
        case "CutLink":
            # Two replicas have no third to reach each other through: for them it is a partition like any other.
            return CutLink(at, name, other, some(mix.cut_s if len(names) > 2 else mix.partition_s))
        case "SlowPeer":
            return SlowPeer(at, name, some(mix.slow_s), some((0.5, 5.0)))
        case "DropLink":
            return DropLink(at, name, other)
        case "Skew":
            return Skew(at, name, rng.choice([-3600.0, -10.0, 10.0, 3600.0]))
        case "Drift":
            return Drift(at, name, rng.choice([0.98, 0.99, 1.01, 1.02]))
        case "SlowDisk":
            return SlowDisk(at, name, some((0.005, 0.3)), some((0.5, 5.0)))
        case "LockDown":
            return LockDown(at, some(mix.locks_s))
        case "LockCut":
            return LockCut(at, name, some(mix.locks_s))
        case "LockSlow":
            return LockSlow(at, name, some((0.1, 1.2)), some(mix.locks_s))
        case "Damage":
            return Damage(at, name, rng.choice(WAYS), some(mix.down_s))
        case "Burst":
            return Burst(at, rng.randint(5, 40))
        case "Join":
            return Join(at, max(name, other))  # never the first: somebody has to be there
        case "Order":
            mode, target = rng.choice(["drain", "pause", "stop", "halt", "halt"]), rng.choice(["agent", "agent", other])
            return Order(at, name, mode, target if target == "agent" else f"replica:{target}", some(mix.order_s))
        case "Vote":
            return Vote(at, name, rng.choice(["add", "remove"]), rng.choice(sorted(names)))
        case "Crash" | "DiskFull" | "Leave" | "Wipe":
            down: Callable[..., Fault] = KINDS[kind]
            return down(at, name, some(mix.down_s))
        case _:
            raise ConfigError(f"{kind!r} is no fault that can be drawn; there are: {', '.join(sorted(KINDS))}")


def to_json(plan: Plan) -> str:
    """One line that `from_json` reads."""
    return json.dumps([[type(fault).__name__, asdict(fault)] for fault in plan])


def from_json(text: str) -> Plan:
    """
    Raises:
        ConfigError: not a plan; the message says what is wrong.
    """
    try:
        faults = []
        for kind, fields in json.loads(text):
            values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
            make: Callable[..., Fault] = KINDS[kind]
            faults.append(make(**values))
        return tuple(faults)
    except KeyError as error:
        raise ConfigError(f"{error} is no fault; there are: {', '.join(sorted(KINDS))}") from None
    except (ValueError, TypeError, AttributeError) as error:
        example = '[["Crash", {"at": 1, "replica": "a", "for_s": 2}], ...]'
        raise ConfigError(f"not a plan: {error}. A plan looks like {example}") from None
