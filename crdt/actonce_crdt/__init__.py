"""Pure data for several replicas of one agent: stamps, entries, joins, the tie-break, and the replicated document.

Nothing here reads a clock, makes a random number, or does I/O: time and ids come in as arguments. See README.md.
"""

from .cells import Cell, Tally
from .chains import Entry
from .compaction import Rewrite, Rules, is_forgotten, rewrite
from .control import AGENT, ControlState, kind_target, replica_target
from .cursor import Cursor
from .cuts import Cut, Floor
from .document import Change, Document
from .effect import EffectState, is_settled
from .entries import (
    ENTRY_BYTES_MAX,
    Cancel,
    Claim,
    ControlRecord,
    Done,
    Doubt,
    EffectRecord,
    Grant,
    Intent,
    Mark,
    MemoryRecord,
    Passed,
    QuotaRecord,
    Receipt,
    Record,
    Release,
    Reopen,
    Roster,
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
from .fields import (
    AFTER_MAX,
    AUTHORS_MAX,
    COUNT_MAX,
    KEY_BYTES_MAX,
    MODES,
    NAME_BYTES_MAX,
    PRIORITY_MAX,
    REASON_CHARS_MAX,
    VOTERS_MAX,
    name_is_valid,
)
from .horizon import KEPT_MAX, Unfinished, next_floor
from .memory import SHAPES, CellState, TallyState, parse_place, place
from .quota import NOBODY, TAKEN, QuotaState
from .rank import order, rank
from .rights import Cool, Gift, Lapse, Share
from .roster import RosterState
from .shelves import EntryId
from .stamps import HybridClock, stamp_wall_s
from .state import State
from .step import NO_BASE, ClaimId, lineage, step_key
from .switch import Shut, Switch
from .task import TaskState, claim_order
from .text_updates import CLIENTS_MAX as TEXT_CLIENTS_MAX
from .text_updates import TextDelta
from .texts import TextDocument, Version, merge_text_updates
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
    "AGENT",
    "AUTHORS_MAX",
    "COUNT_MAX",
    "EMPTY_UPDATE",
    "ENTRY_BYTES_MAX",
    "KEPT_MAX",
    "KEY_BYTES_MAX",
    "MODES",
    "NAME_BYTES_MAX",
    "NOBODY",
    "NO_BASE",
    "PRIORITY_MAX",
    "REASON_CHARS_MAX",
    "SHAPES",
    "TAKEN",
    "TEXT_CLIENTS_MAX",
    "VALUE_DEPTH_MAX",
    "VOTERS_MAX",
    "Cancel",
    "Cell",
    "CellState",
    "Change",
    "Claim",
    "ClaimId",
    "ControlRecord",
    "ControlState",
    "Cool",
    "CrdtError",
    "Cursor",
    "Cut",
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
    "Floor",
    "Gift",
    "Grant",
    "HybridClock",
    "Intent",
    "Json",
    "Lapse",
    "Limits",
    "Mark",
    "MemoryRecord",
    "ParsedUpdate",
    "Passed",
    "QuotaRecord",
    "QuotaState",
    "Receipt",
    "Record",
    "Release",
    "Reopen",
    "Rewrite",
    "Roster",
    "RosterState",
    "Rules",
    "Share",
    "Shut",
    "State",
    "StateVectorInvalid",
    "Step",
    "Switch",
    "Tally",
    "TallyState",
    "Task",
    "TaskRecord",
    "TaskState",
    "TextDelta",
    "TextDocument",
    "Try",
    "Unfinished",
    "Unknown",
    "UpdateGap",
    "UpdateInvalid",
    "ValueInvalid",
    "Version",
    "claim_order",
    "decode",
    "encode",
    "encode_state_vector",
    "is_forgotten",
    "is_settled",
    "kind_target",
    "lineage",
    "merge_text_updates",
    "name_is_valid",
    "next_floor",
    "order",
    "pack_value",
    "parse_place",
    "parse_state_vector",
    "parse_update",
    "place",
    "rank",
    "replica_target",
    "rewrite",
    "stamp_wall_s",
    "step_key",
    "unpack_value",
]
