"""Collaborative texts, on the engine's side: a document of their own, kept in step with the ledger.

An edit and the outcome of the task that made it are one: what changed in the texts is a row of the journal beside the
row of the entries that were written in the same turn, in one append, and leaves in one message with them. So whoever
has the outcome by push has the edit, and a crash keeps both or neither. Who edited, when, and for which task is an
entry of the ledger: the newest edit of each replica in the state, earlier ones in the history until they are compacted.

Not guaranteed: that both come at once by anti-entropy, on a link that just came up, where the entries come first. If
the only replica that has the edit dies in between, it is missing until that replica is back.
"""

from __future__ import annotations

from collections.abc import Iterable

from actonce.journal import TEXT, Row
from actonce.ledger import Ledger
from actonce.messages import Edit, Push
from actonce_crdt import EMPTY_UPDATE, TextDelta, TextDocument, UpdateGap, Version, merge_text_updates
from actonce_crdt.drafts import Piece


class Texts:
    """The texts of one replica. `read` is for any thread; the rest for the engine."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.document = TextDocument(ledger.client_id)
        self._fresh: list[TextDelta] = []
        """Of this turn: not on the way to the disk yet."""
        self._going: dict[bytes, bytes] = {}
        """Update of the ledger -> what changed in the texts with it, on the way to the disk."""
        self._flushed: bytes = EMPTY_UPDATE
        ledger.beside, ledger.whole = self._beside, self._whole

    def read(self, name: str) -> Version:
        """A text as it is now."""
        return self.document.read(name)

    @property
    def names(self) -> list[str]:
        """Of all texts, sorted, also of those that are empty by now."""
        return self.document.names

    def edit(self, name: str, base: str, number: int, pieces: Iterable[Piece]) -> TextDelta:
        """Make the edit. The caller writes an entry in the same turn: that takes it to the disk, and to the others."""
        delta = self.document.edit(name, base, number, tuple(pieces))
        self._fresh.append(delta)
        return delta

    def _beside(self, update: bytes) -> list[Row]:
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return []
        text = merge_text_updates(fresh)
        self._going[update] = text
        return [Row(TEXT, text)]

    def _whole(self) -> list[Row]:
        """For a snapshot of the journal: everything as one row."""
        return [] if self.document.is_empty else [Row(TEXT, self.document.diff({}))]

    def message(self, update: bytes) -> Push | Edit:
        """How an update of the ledger that is on disk leaves: with what changed in the texts, if anything did."""
        text = self._going.pop(update, b"")
        return Edit(update, text) if text else Push(update)

    def recover(self, rows: Iterable[bytes]) -> None:
        """Take the journal's rows, in order, before anything else.

        Raises:
            UpdateInvalid: a row is none of ours. One that builds on a lost row is left out: others have it.
        """
        for row in rows:
            try:
                self.document.take(self.document.parse(row))
            except UpdateGap:
                continue

    def integrate(self, update: bytes, text: bytes) -> None:
        """Take an update of a peer, of the ledger and of the texts: both, or nothing and an error.

        Raises:
            UpdateInvalid, UpdateGap, DocumentPoisoned: as of `Ledger.integrate`.
        """
        delta = self.document.parse(text)
        self._ledger.integrate(update, [Row(TEXT, delta.update)] if delta else [])
        self.document.take(delta)
