"""What `actonce bench convergence` found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actonce.bench.figures import rank


@dataclass(frozen=True, slots=True)
class Healed:
    """One partition that ended. Times in seconds; a link is a pair of replicas, both directions together."""

    seed: int
    network_s: float
    """From the heal to equal digests: virtual time in a simulation, real time else."""
    cpu_s: float
    """Of the busiest replica in that time, where `network_s` does not hold it."""
    trips_s: float
    transfer_s: float
    apply_s: float
    missing_entries: int
    missing_bytes: int
    """Of the replica that lacked most."""
    idle_bytes_per_s: float
    """On one link, with nothing to do."""
    idle_messages_per_s: float
    bytes_per_task: float
    """What one task's whole life costs on the wire, beyond the idle traffic, for each replica that is to hear of it."""
    facts_per_task: float
    """The entries of one task as msgpack: the least that each of the others must be sent."""
    heal_bytes: float
    """On one link, from the heal to equal digests."""
    heal_messages: float
    tasks: int
    doubled: int
    """Posts beyond the first with the same key."""
    doubled_bound: int
    """How many the guarantees allow."""
    lost: int
    problems: tuple[str, ...] = ()

    @property
    def heal_s(self) -> float:
        return self.network_s + self.cpu_s

    @property
    def limit_s(self) -> float:
        """1.5 round trips, the transfer of the missing bytes, the library's bare apply of them."""
        return self.trips_s + self.transfer_s + self.apply_s

    @property
    def ok(self) -> bool:
        """Healed, nothing lost, nothing doubled beyond what the guarantees allow. Says nothing of speed."""
        return not self.problems and not self.lost and self.doubled <= self.doubled_bound


def summary(trials: Sequence[Healed]) -> dict[str, Any]:
    """All trials of one setup, for one line of JSON: medians unless the name says otherwise; counts are sums."""

    def median(of: Callable[[Healed], float]) -> float:
        return rank([of(trial) for trial in trials], 0.5)

    heals = [trial.heal_s for trial in trials]
    return {
        "trials": len(trials),
        "heal_p50_s": round(rank(heals, 0.5), 6),
        "heal_p99_s": round(rank(heals, 0.99), 6),
        "heal_max_s": round(max(heals), 6),
        "network_p50_s": round(median(lambda trial: trial.network_s), 6),
        "cpu_p50_s": round(median(lambda trial: trial.cpu_s), 6),
        "limit_s": round(median(lambda trial: trial.limit_s), 6),
        "limit_trips_s": round(median(lambda trial: trial.trips_s), 6),
        "limit_transfer_s": round(median(lambda trial: trial.transfer_s), 6),
        "limit_apply_s": round(median(lambda trial: trial.apply_s), 6),
        "ratio_p50": round(median(lambda trial: trial.heal_s / trial.limit_s), 2),
        "missing_entries": int(median(lambda trial: trial.missing_entries)),
        "missing_bytes": int(median(lambda trial: trial.missing_bytes)),
        "heal_bytes_per_link": round(median(lambda trial: trial.heal_bytes)),
        "heal_messages_per_link": round(median(lambda trial: trial.heal_messages), 1),
        "idle_bytes_per_s_per_link": round(median(lambda trial: trial.idle_bytes_per_s)),
        "idle_messages_per_s_per_link": round(median(lambda trial: trial.idle_messages_per_s), 1),
        "bytes_per_task": round(median(lambda trial: trial.bytes_per_task)),
        "facts_per_task": round(median(lambda trial: trial.facts_per_task)),
        "tasks": sum(trial.tasks for trial in trials),
        "doubled": sum(trial.doubled for trial in trials),
        "doubled_bound": sum(trial.doubled_bound for trial in trials),
        "lost": sum(trial.lost for trial in trials),
    }


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """A summary for people."""
    trips, transfer, apply = (found[f"limit_{part}_s"] * 1000 for part in ("trips", "transfer", "apply"))
    return [
        ("heal to equal digests, p50", f"{ms(found['heal_p50_s'])}, of which CPU {ms(found['cpu_p50_s'])}"),
        ("... p99, largest", f"{ms(found['heal_p99_s'])}, {ms(found['heal_max_s'])} ({found['trials']} heals)"),
        ("limit", f"{ms(found['limit_s'])}: round trips {trips:.1f}, transfer {transfer:.1f}, bare apply {apply:.1f}"),
        ("heal / limit", f"{found['ratio_p50']:.2f}"),
        ("missing on a side", f"{found['missing_entries']:,} entries, {found['missing_bytes']:,} bytes"),
        (
            "a link, while healing",
            f"{found['heal_bytes_per_link']:,} bytes, {found['heal_messages_per_link']:,} messages",
        ),
        (
            "a link, idle",
            f"{found['idle_bytes_per_s_per_link']:,} bytes/s, {found['idle_messages_per_s_per_link']:,} messages/s",
        ),
        (
            "a task, to each other replica",
            f"{found['bytes_per_task']:,} bytes; its facts alone are {found['facts_per_task']:,}",
        ),
        ("tasks", f"{found['tasks']:,}"),
        ("lost", f"{found['lost']:,}"),
        ("doubled", f"{found['doubled']:,} (allowed where a cut outlasts the grace: {found['doubled_bound']:,})"),
    ]


def ms(seconds: float) -> str:
    """A duration in milliseconds."""
    return f"{seconds * 1000:.1f} ms"
