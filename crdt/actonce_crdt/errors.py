"""Everything this package raises on purpose, as one tree.

    CrdtError
    |-- ValueInvalid          a value is not JSON-like (the message names the path)
    |-- EntryInvalid          an entry does not follow the entry format
    |   `-- EntryTooLarge     ... because it is longer than ``ENTRY_BYTES_MAX``
    |-- UpdateInvalid         malformed or hostile update bytes: drop the frame, distrust the sender
    |-- UpdateGap             a sound update that builds on something we lack: ask for anti-entropy
    |-- StateVectorInvalid    malformed or hostile state vector bytes
    `-- DocumentPoisoned      the CRDT library panicked: throw the document away, rebuild from the journal

`ValueError` and `TypeError` are left to mistakes of the calling code.
"""


class CrdtError(Exception):
    """Root of the tree."""


class ValueInvalid(CrdtError):
    """A value is not JSON-like, or bytes are not the canonical form of one."""


class EntryInvalid(CrdtError):
    """An entry does not follow the format of `actonce_crdt.entries`."""


class EntryTooLarge(EntryInvalid):
    """An entry is longer than ``ENTRY_BYTES_MAX``."""


class UpdateInvalid(CrdtError):
    """Update bytes that no correct replica produces; nothing of them was applied."""


class UpdateGap(CrdtError):
    """A well-formed update that starts beyond what is known here; nothing of it was applied."""


class StateVectorInvalid(CrdtError):
    """State vector bytes that no correct replica produces."""


class DocumentPoisoned(CrdtError):
    """The library panicked inside this document; its content can no longer be trusted."""
