"""The heal report: what was done on both sides of a partition, by the evidence in the document. Pure.

Nothing is measured and nothing is remembered beside the document: the report is a function of its entries, so after a
partition every replica that has synced writes the same bytes. It lists

- `ran_twice`: tasks on which two processes worked, neither knowing of the other: two outcomes, one effect sent by two,
  or work written down under a claim after a higher one had been made;
- `doubled`: effects that two processes sent, each with the receipt that it got. A sink that refuses repeated keys has
  carried one of them out once, and has said so to both;
- `doubts`: effects of which it is not known whether, or how often, they were sent, with the rule that was followed. One
  that was under way when its process was told that it had lost the task is one of them: `unknown` names who.
- `memory`: places that hold concurrent values, with who wrote which; null is a removal.

So for each effect: the sink saw at least `sends` requests, and at most those of `unknown` more.

Not guaranteed: anything about entries that compaction has removed. "After" compares stamps; it may be wrong, both ways,
where clocks differ by more than what the stamps correct (a minute), which `status` names. Outcomes and receipts are
compared without any clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from actonce_crdt import (
    SHAPES,
    Cell,
    Claim,
    Done,
    Doubt,
    Intent,
    Receipt,
    Record,
    State,
    Step,
    Try,
    claim_order,
    parse_place,
    stamp_wall_s,
    unpack_value,
)

Row = dict[str, Any]
Process = tuple[str, int]
"""Who said something about a task: the author, and the epoch of the claim under which it did."""

LOOK_MAX = 5_000
"""Disputed tasks and effects that are looked at: the last ones. The report says how many are left out."""


def ran_twice(state: State, keys: list[str]) -> Iterator[Row]:
    """Tasks of these that two processes worked on, neither knowing of the other."""
    for key in keys:
        task = state.tasks.get(key)
        if task is not None:
            history = state.history(key)
            why = _why_twice(state, key, history)
            if why:
                yield {
                    "task": key,
                    "kind": task.task.kind if task.task is not None else None,
                    "evidence": why,
                    "claims": [_claim(one) for one in history if isinstance(one, Claim)],
                    "outcomes": [_outcome(one) for one in history if isinstance(one, Done)],
                    "outcome_that_counts": _outcome(task.done) if task.done is not None else None,
                }


def doubled(state: State, keys: list[str]) -> Iterator[Row]:
    """Effects of these that two processes sent."""
    return (row for row in _effects(state, keys) if len(row["sends"]) > 1)


def doubts(state: State, keys: list[str]) -> Iterator[Row]:
    """Effects of these that may have been sent, or sent once more, for all that is known."""
    return (row for row in _effects(state, keys) if row["unknown"] or any(map(_leaves_doubt, row["doubts"])))


def _leaves_doubt(word: Row) -> bool:
    return str(word["settled"]) != "refused"  # it was surely not done


def memory(state: State, keys: list[str]) -> Iterator[Row]:
    """Places in memory with values that were written at once, on two sides or not, and that nobody has replaced."""
    for key in sorted(key for key, cell in state.cells.items() if len(cell.live) > 1):
        found = parse_place(key)
        live = state.cells[key].live
        values = [{**_who(one), "value": unpack_value(one.value) if one.value else None} for one in live]
        if found is not None and len({one.value for one in live}) > 1:
            yield {"shape": SHAPES[found[0]], "name": found[1], "member": found[2], "values": values}


SECTIONS: Mapping[str, Callable[[State, list[str]], Iterator[Row]]] = {
    "ran_twice": ran_twice,
    "doubled": doubled,
    "doubts": doubts,
    "memory": memory,
}
"""Each section of the report, as a function of the state and of the keys to look at. What has conflicts of its own kind
adds a section here."""


def report(state: State) -> dict[str, Any]:
    """The whole report. Equal states give equal reports."""
    disputed = {*state.disputes.disputed, *state.disputes.unanswered}
    keys = sorted(disputed, key=lambda key: (_last_stamp(state, key), key))
    looked_at = sorted(keys[-LOOK_MAX:])
    found: dict[str, Any] = {name: list(section(state, looked_at)) for name, section in SECTIONS.items()}
    found["not_looked_at"] = sum(_last_stamp(state, key) > 0 for key in keys[:-LOOK_MAX])
    return found


def canonical(found: dict[str, Any]) -> str:
    """The bytes that all replicas agree on, as text."""
    return json.dumps(found, sort_keys=True, ensure_ascii=False, default=repr)


def counts(found: dict[str, Any]) -> dict[str, int]:
    """How many rows each section has."""
    return {name: len(found[name]) for name in SECTIONS}


def summary(found: dict[str, Any]) -> str | None:
    """One sentence, or None when nothing was done twice or is in doubt."""
    words = {
        "ran_twice": "tasks ran on two sides",
        "doubled": "effects were sent twice",
        "doubts": "effects are or were in doubt",
        "memory": "places in memory hold concurrent values",
    }
    parts = [f"{count} {words.get(name, name)}" for name, count in counts(found).items() if count]
    return f"{', '.join(parts)}: see `actonce report`" if parts else None


def _why_twice(state: State, task: str, history: list[Record]) -> list[str]:
    why = []
    ended = {_process(one) for one in history if isinstance(one, Done) and not one.how}
    if len(ended) > 1:
        why.append(f"outcomes of {_names(ended)}")
    for key in state.effects_of(task):
        sent = {(row["by"], row["epoch"]) for row in _effect(state, key)["sends"]}
        if len(sent) > 1:
            why.append(f"effect {key} sent by {_names(sent)}")
    why += _late_work(history)
    return why


def _late_work(history: list[Record]) -> list[str]:
    """Work under a claim after a higher one of another process: whoever worked on had not heard of it."""
    claims = [one for one in history if isinstance(one, Claim)]
    late: dict[Process, Process] = {}
    for record in history:
        if not isinstance(record, Done | Intent | Receipt | Step | Try) or (isinstance(record, Done) and record.how):
            continue
        mine = [one for one in claims if one.epoch == record.epoch and one.claimant[0] == record.author]
        if not mine:
            continue
        for other in claims:
            higher = claim_order(other) > max(map(claim_order, mine)) and other.stamp < record.stamp
            if higher and other.claimant not in [one.claimant for one in mine]:
                late.setdefault(_process(record), (other.claimant[0], other.epoch))
    return [
        f"{name} worked on in epoch {epoch} after {other} had claimed epoch {higher}"
        for (name, epoch), (other, higher) in sorted(late.items())
    ]


def _effects(state: State, keys: list[str]) -> Iterator[Row]:
    return (_effect(state, key) for key in keys if key in state.effects)


def _effect(state: State, key: str) -> Row:
    history = state.history_of_effect(key)
    intents = [one for one in history if isinstance(one, Intent)]
    receipts = [one for one in history if isinstance(one, Receipt)]
    settled = [one for one in history if isinstance(one, Doubt)]
    looked_up = {_process(one) for one in settled if one.settled == "found"}
    answered = {_process(one) for one in receipts}
    answered |= {_process(one) for one in settled if one.settled not in ("sending", "open")}
    intent = state.effects[key].intent
    return {
        "effect": key,
        "task": intent.task if intent is not None else None,
        "sink": intent.sink if intent is not None else None,
        "sends": [_receipt(one) for one in receipts if _process(one) not in looked_up],
        "looked_up": [_receipt(one) for one in receipts if _process(one) in looked_up],
        "unknown": [_who(one) for one in intents if _is_unknown(one, answered, settled, state)],
        "doubts": [{**_who(one), "settled": one.settled} for one in settled],
    }


def _is_unknown(intent: Intent, answered: set[Process], settled: list[Doubt], state: State) -> bool:
    """Whether nobody knows what became of this intent: it has no receipt, and nobody who came later settled it."""
    if _process(intent) in answered or any(doubt.epoch > intent.epoch for doubt in settled):
        return False
    task = state.tasks.get(intent.task)
    claim = task.standing if task is not None else None
    is_under_way = task is not None and task.done is None and claim is not None
    return not (is_under_way and claim is not None and (claim.claimant[0], claim.epoch) == _process(intent))


def _process(record: Claim | Done | Doubt | Intent | Receipt | Step | Try) -> Process:
    return record.author, record.epoch


def _names(processes: set[Process]) -> str:
    return " and ".join(f"{name} (epoch {epoch})" for name, epoch in sorted(processes))


def _who(record: Cell | Claim | Done | Doubt | Intent | Receipt) -> Row:
    at = datetime.fromtimestamp(stamp_wall_s(record.stamp), UTC).isoformat(timespec="milliseconds")
    under = {} if isinstance(record, Cell) else {"epoch": record.epoch}
    return {"by": record.author, **under, "stamp": record.stamp, "at": at}


def _claim(claim: Claim) -> Row:
    name, incarnation = claim.claimant
    return {**_who(claim), "for": name, "incarnation": incarnation}


def _outcome(done: Done) -> Row:
    return {**_who(done), "ok": done.ok, "how": done.how, "result": unpack_value(done.result)}


def _receipt(receipt: Receipt) -> Row:
    return {**_who(receipt), "receipt": unpack_value(receipt.receipt)}


def _last_stamp(state: State, key: str) -> int:
    """Of what is known of a task or an effect; 0 for nothing."""
    task, effect = state.tasks.get(key), state.effects.get(key)
    records = [task.claim, task.done] if task is not None else []
    found = [one.stamp for one in records if one is not None]
    if effect is not None:
        found += [one.stamp for one in (effect.intent, effect.receipt, effect.doubt) if one is not None]
    return max(found, default=0)
