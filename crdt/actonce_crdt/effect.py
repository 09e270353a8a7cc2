"""The state of an effect: a product of three lattices, one for each kind of entry.

field    keeps                                           why
intent   the smallest (epoch, stamp, author)             every resend uses the first recorded body
receipt  the smallest (stamp, author)                    every replay returns the first answer
doubt    the largest (round, settled, epoch, stamp,      a settled doubt outlives an open one, until it is sent again;
         author)                                         of two words, the one that sends nothing
"""

from msgspec import Struct

from .entries import Doubt, EffectRecord, Intent, Receipt
from .lattice import greatest, least

_RANKS = {"sending": 0, "open": 1, "resend": 2, "refused": 3}
_FINAL = 4
"""Of all other ways to settle a doubt: the later word counts."""


class EffectState(Struct, frozen=True, gc=False):
    """What is known of one effect. Any field may be missing: entries arrive in any order."""

    intent: Intent | None = None
    receipt: Receipt | None = None
    doubt: Doubt | None = None


def join(a: EffectState, b: EffectState) -> EffectState:
    """Least upper bound: commutative, associative, idempotent. Both must be states of the same effect."""
    return EffectState(
        least(a.intent, b.intent, _intent_order),
        least(a.receipt, b.receipt, _receipt_order),
        greatest(a.doubt, b.doubt, _doubt_order),
    )


def absorb(state: EffectState, record: EffectRecord) -> EffectState:
    """`join(state, lift(record))`, and `state` itself where that is equal to it: an entry changes one field."""
    match record:
        case Intent():
            intent = least(state.intent, record, _intent_order)
            return state if intent is state.intent else EffectState(intent, state.receipt, state.doubt)
        case Receipt():
            receipt = least(state.receipt, record, _receipt_order)
            return state if receipt is state.receipt else EffectState(state.intent, receipt, state.doubt)
        case Doubt():
            doubt = greatest(state.doubt, record, _doubt_order)
            return state if doubt is state.doubt else EffectState(state.intent, state.receipt, doubt)


def records(state: EffectState) -> list[EffectRecord]:
    """Entries whose join is this state: enough to write it down again."""
    return [one for one in (state.intent, state.receipt, state.doubt) if one is not None]


def is_settled(state: EffectState) -> bool:
    """Whether it is known what became of the effect, or a person, or a rule, has said that it no longer matters."""
    if state.receipt is not None or (state.intent is None and state.doubt is None):
        return True
    return state.doubt is not None and state.doubt.settled not in ("sending", "open", "resend")


def lift(record: EffectRecord) -> EffectState:
    """The state that one entry alone stands for."""
    match record:
        case Intent():
            return EffectState(intent=record)
        case Receipt():
            return EffectState(receipt=record)
        case Doubt():
            return EffectState(doubt=record)


def _intent_order(intent: Intent) -> tuple[int | str, ...]:
    return intent.epoch, intent.stamp, intent.author


def _receipt_order(receipt: Receipt) -> tuple[int | str, ...]:
    return receipt.stamp, receipt.author


def _doubt_order(doubt: Doubt) -> tuple[int | str, ...]:
    return doubt.round, _RANKS.get(doubt.settled, _FINAL), doubt.epoch, doubt.stamp, doubt.author
