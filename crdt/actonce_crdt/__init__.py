"""Pure data for several replicas of one agent: stamps, entries, joins, the tie-break, and the replicated document.

Nothing here reads a clock, makes a random number, or does I/O: time and ids come in as arguments. See README.md.
"""

from .document import Change, Document, Entry
from .effect import EffectState
from .entries import (
    COUNT_MAX,
    ENTRY_BYTES_MAX,
    KEY_BYTES_MAX,
    NAME_BYTES_MAX,
    Claim,
    Cool,
    Done,
    Doubt,
    EffectRecord,
    Gift,
    Intent,
    QuotaRecord,
    Receipt,
    Record,
    Share,
    Task,
    TaskRecord,
    Try,
    Unknown,
    decode,
    encode,
    name_is_valid,
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
from .quota import NOBODY, QuotaState
from .rank import order, rank
from .stamps import HybridClock, stamp_wall_s
from .state import EntryId, State
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
    "COUNT_MAX",
    "EMPTY_UPDATE",
    "ENTRY_BYTES_MAX",
    "KEY_BYTES_MAX",
    "NAME_BYTES_MAX",
    "NOBODY",
    "VALUE_DEPTH_MAX",
    "Change",
    "Claim",
    "Cool",
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
    "Gift",
    "HybridClock",
    "Intent",
    "Json",
    "Limits",
    "ParsedUpdate",
    "QuotaRecord",
    "QuotaState",
    "Receipt",
    "Record",
    "Share",
    "State",
    "StateVectorInvalid",
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
    "name_is_valid",
    "order",
    "pack_value",
    "parse_state_vector",
    "parse_update",
    "rank",
    "stamp_wall_s",
    "unpack_value",
]
