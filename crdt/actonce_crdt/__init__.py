"""Pure data for several replicas of one agent: stamps, entries, joins, the tie-break, and the replicated document.

Nothing here reads a clock, makes a random number, or does I/O: time and ids come in as arguments. See README.md.
"""

from .document import Change, Document, Entry
from .effect import EffectState
from .entries import (
    ENTRY_BYTES_MAX,
    Cancel,
    Claim,
    Done,
    Doubt,
    EffectRecord,
    Intent,
    Mark,
    Passed,
    Receipt,
    Record,
    Reopen,
    Step,
    Task,
    TaskRecord,
    Try,
    Unknown,
    decode,
    encode,
)
from .errors import (
    CrdtError,
    DocumentPoisoned,
    EntryInvalid,
    EntryTooLarge,
    StateVectorInvalid,
    UpdateGap,
    UpdateInvalid,
    ValueInvalid,
)
from .fields import AFTER_MAX, COUNT_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, PRIORITY_MAX, name_is_valid
from .rank import order, rank
from .stamps import HybridClock, stamp_wall_s
from .state import EntryId, State
from .step import NO_BASE, ClaimId, lineage, step_key
from .task import TaskState, claim_order
from .updates import (
    EMPTY_UPDATE,
    Delta,
    Limits,
    ParsedUpdate,
    encode_state_vector,
    parse_state_vector,
    parse_update,
)
from .values import VALUE_DEPTH_MAX, Json, pack_value, unpack_value

__all__ = [
    "AFTER_MAX",
    "COUNT_MAX",
    "EMPTY_UPDATE",
    "ENTRY_BYTES_MAX",
    "KEY_BYTES_MAX",
    "NAME_BYTES_MAX",
    "NO_BASE",
    "PRIORITY_MAX",
    "VALUE_DEPTH_MAX",
    "Cancel",
    "Change",
    "Claim",
    "ClaimId",
    "CrdtError",
    "Delta",
    "Document",
    "DocumentPoisoned",
    "Done",
    "Doubt",
    "EffectRecord",
    "EffectState",
    "Entry",
    "EntryId",
    "EntryInvalid",
    "EntryTooLarge",
    "HybridClock",
    "Intent",
    "Json",
    "Limits",
    "Mark",
    "ParsedUpdate",
    "Passed",
    "Receipt",
    "Record",
    "Reopen",
    "State",
    "StateVectorInvalid",
    "Step",
    "Task",
    "TaskRecord",
    "TaskState",
    "Try",
    "Unknown",
    "UpdateGap",
    "UpdateInvalid",
    "ValueInvalid",
    "claim_order",
    "decode",
    "encode",
    "encode_state_vector",
    "lineage",
    "name_is_valid",
    "order",
    "pack_value",
    "parse_state_vector",
    "parse_update",
    "rank",
    "stamp_wall_s",
    "step_key",
    "unpack_value",
]
