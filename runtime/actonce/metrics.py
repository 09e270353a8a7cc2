"""What a replica counts, in the text format of Prometheus (exposition format 0.0.4): `GET /metrics`.

Numbers of this process since its start, unless they say otherwise. Reads the engine, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from actonce import quota_report, reporting
from actonce.engine import Engine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]

LIMITS = (
    ("units", "gauge", "Rights that all replicas together have."),
    ("held", "gauge", "Rights that this replica holds."),
    ("free", "gauge", "Of these, not in use."),
    ("in_use", "gauge", "Of these, in use, or not usable again yet."),
    ("waiting", "gauge", "Rights that calls here wait for."),
    ("transfers", "counter", "Transfers of rights to other replicas."),
    ("rights_given", "counter", "Rights that went with them."),
    ("overshoot", "counter", "Units that were used beyond an estimate."),
)


def metrics(engine: Engine) -> str:
    """All of it."""
    return "".join(_family(*family) for family in (*_replica(engine), *_quotas(engine)))


def _replica(engine: Engine) -> Iterator[tuple[str, str, str, Sequence[Sample]]]:
    acts = engine.world.now() < engine.membership.act_until() and not engine.gate.shut
    ledger = engine.ledger
    gauges = (
        ("members", "Replicas in the view of this one.", len(engine.membership.view.members)),
        ("may_act", "1 if this replica may claim tasks and send effects now.", int(acts)),
        ("degraded", "Troubles that `actonce status` names.", len(reporting.degraded(engine))),
        ("tasks_open", "Tasks of the mesh without an outcome, as far as known here.", len(engine.claims.open)),
        ("tasks_running", "Handlers that run here.", len(engine.executor.running)),
        ("slots_free", "Handlers more that could run here.", max(0, engine.executor.free)),
        ("document_entries", "Entries in the document.", ledger.document.entry_count),
        ("journal_bytes", "Bytes of updates in the journal.", ledger.journal_bytes + ledger.snapshot_bytes),
    )
    for name, text, value in gauges:
        yield name, "gauge", text, [({}, value)]
    counts = [({"what": what}, count) for what, count in sorted(engine.gossip.counts.items())]
    yield "gossip_total", "counter", "Frames and bytes sent, updates refused, gaps, questions.", counts


def _quotas(engine: Engine) -> Iterator[tuple[str, str, str, Sequence[Sample]]]:
    facts = quota_report.quotas(engine)
    for key, kind, text in LIMITS:
        name = f"quota_{key}_total" if kind == "counter" else f"quota_{key}"
        yield name, kind, text, [({"limit": limit["limit"]}, limit[key]) for limit in facts["limits"]]
    pools = facts["quotas"].items()
    calls = [({"quota": name}, pool["waiting"]) for name, pool in pools]
    yield "quota_calls_waiting", "gauge", "Calls here that wait for their turn.", calls
    factors = [({"quota": name}, pool["adaptive_factor"]) for name, pool in pools]
    yield "quota_adaptive_factor", "gauge", "Part of the limit that is used since the provider complained.", factors
    cooling = [({"quota": name, "scope": one}, left) for name, pool in pools for one, left in pool["cooling_s"].items()]
    yield "quota_cooling_seconds", "gauge", "Until calls of a scope may go on.", cooling


def _family(name: str, kind: str, text: str, samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    lines = [f"# HELP actonce_{name} {text}", f"# TYPE actonce_{name} {kind}"]
    lines += [f"actonce_{name}{_labels(labels)} {value:.15g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
