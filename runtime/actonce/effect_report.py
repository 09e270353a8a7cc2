"""What is left of effects and tasks that went wrong, as JSON-like dictionaries: doubts, and dead letters.

Reads the engine, changes nothing.
"""

from __future__ import annotations

from actonce.engine import Engine
from actonce.reporting import DEAD, Facts, effect_state, moment, task_state, was_doubt
from actonce_crdt import EffectState, stamp_wall_s, unpack_value

HINTS = {
    "person": "look whether it happened, and say so",
    "sending": "is being sent again",
    "retry": "is sent again when its task is retried",
}


def doubts(engine: Engine, limit: int, *, settled: bool) -> list[Facts]:
    """Doubts that are not settled; with `settled`, also how all others ended, newest first."""
    rows = [_row(one.key, one.effect, HINTS[one.waits]) for one in engine.doubts.open()]
    if settled:
        known = {row["effect"] for row in rows}
        effects = reversed(list(engine.ledger.state.effects.items()))
        rows += [_row(key, effect, "") for key, effect in effects if key not in known and was_doubt(effect)]
    return rows[:limit]


def _row(key: str, effect: EffectState, waits: str) -> Facts:
    intent, doubt = effect.intent, effect.doubt
    return {
        "effect": key,
        "waits": waits or None,
        "settled": doubt.settled if doubt is not None and not waits else None,
        "task": intent.task if intent else None,
        "sink": intent.sink if intent else None,
        "since": moment(stamp_wall_s(intent.stamp)) if intent else None,
        "sent_by": intent.author if intent else None,
        "body": unpack_value(intent.body) if intent else None,
    }


def dead(engine: Engine, limit: int) -> list[Facts]:
    """Tasks that failed, were set aside or called off, newest first, each with its effects that were not posted."""
    state, rows = engine.ledger.state, list[Facts]()
    for task, known in reversed(list(state.tasks.items())):
        name = task_state(engine, task, known)
        if len(rows) >= limit:
            break
        if known.task is None or known.done is None or name not in DEAD:
            continue
        effects = {key: effect_state(state.effects[key]) for key in state.effects_of(task)}
        rows.append(
            {
                "task": task,
                "state": name,
                "submitted": moment(stamp_wall_s(known.task.stamp)),
                "ended": moment(stamp_wall_s(known.done.stamp)),
                "retries": known.attempts,
                "deaths": known.deaths,
                "error": unpack_value(known.done.result),
                "not_posted": {key: word for key, word in effects.items() if word != "posted"},
            }
        )
    return rows
