"""Which tasks and effects more than one claim has said something about: where to look for what a partition has doubled.

Kept beside the joined states, which forget what lost. It names too much rather than too little (most disputes are plain
takeovers), and costs a comparison for each entry of five kinds.
"""

from collections.abc import Mapping
from types import MappingProxyType

from .effect import EffectState
from .entries import Claim, Done, Doubt, Intent, Receipt, Record
from .shelves import EntryId
from .task import TaskState

_NOTHING: Mapping[EntryId, Record] = {}


class Disputes:
    """Of one state."""

    __slots__ = ("_disputed", "_effects", "_tasks", "_unanswered", "disputed")

    def __init__(self, tasks: Mapping[str, TaskState], effects: Mapping[str, EffectState]) -> None:
        self._tasks, self._effects = tasks, effects
        self._disputed: dict[str, int] = {}
        self._unanswered: set[str] = set()
        self.disputed: Mapping[str, int] = MappingProxyType(self._disputed)
        """Task ids and effect keys about which more than one claim has said something, or which were in doubt.

        The number changes when more is said. It may name keys of which the losing entries have been removed since.
        """

    @property
    def unanswered(self) -> list[str]:
        """Keys of effects with an intent and without a receipt, sorted: under way, given up, or in doubt."""
        return sorted(self._unanswered)

    def before(self, record: Record, there: Mapping[str, Mapping[EntryId, Record]]) -> None:
        """This entry is about to be added to those that are there, by key. A copy of one of them says nothing more."""
        key, disputed = record.key, False
        match record:
            case Claim():
                task = self._tasks.get(key)
                disputed = task is not None and task.claim is not None and task.claim.claimant != record.claimant
            case Done():
                task = self._tasks.get(key)
                disputed = task is not None and _differ(task.done, record)
            case Intent():
                effect = self._effects.get(key)
                disputed = effect is not None and _differ(effect.intent, record)
            case Receipt():
                effect = self._effects.get(key)
                disputed = effect is not None and _differ(effect.receipt, record)
            case Doubt():
                disputed = True
        if (disputed or key in self._disputed) and record not in there.get(key, _NOTHING).values():
            self._disputed[key] = self._disputed.get(key, 0) + 1

    def after(self, record: Record) -> None:
        """This entry was added, or taken away. Only of an effect does one that was added change anything here."""
        effect = self._effects.get(record.key)
        if effect is None and record.key not in self._tasks:
            self._disputed.pop(record.key, None)
        if effect is not None and effect.intent is not None and effect.receipt is None:
            self._unanswered.add(record.key)
        else:
            self._unanswered.discard(record.key)


def _differ(known: Done | Intent | Receipt | None, record: Done | Intent | Receipt) -> bool:
    """Whether another claim said so, too."""
    return known is not None and (known.author, known.epoch) != (record.author, record.epoch)


ABOUT_EFFECTS = frozenset({Intent, Receipt, Doubt})
ABOUT = ABOUT_EFFECTS | {Claim, Done}
"""The kinds of entries that `Disputes` looks at."""
