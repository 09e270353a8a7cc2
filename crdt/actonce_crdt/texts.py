"""Texts that are edited together: a second document over pycrdt, one root text for each name.

It is apart from the logs because what it needs is what they refuse: units of all clients in one sequence, deletions
anywhere, and client ids and tombstones that stay. Each process run of a replica that edits a text is one client; its id
must be as fresh as in the logs.

Sequences are merged by the library (YATA: Nicolaescu, Jahns, Derntl, Klamma: "Near real-time peer-to-peer shared
editing on extensible data types", 2016): concurrent runs at one place stand one after the other, not interleaved.

Not guaranteed: that what two replicas wrote at once makes sense together. Of characters that one deletes while another
writes beside them, the deletion and the writing both count. Nor that replicas agree on blocks whose origins no library
would write, as somebody with the secret can make them: no replica comes to harm, but their texts, and digests, may
differ from then on.

Growth: a deleted character leaves no content, but its place: about 15 bytes a run of them. A client id stays in the
state vector, at 10 bytes a process run that wrote; `CLIENTS_MAX` of them are the end of editing. Nothing shrinks this.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from pycrdt import Doc, Subscription, Text, TextEvent, TransactionEvent

from .drafts import Piece, Track, changes, difference
from .errors import DocumentPoisoned, UpdateInvalid
from .ranges import Ranges
from .text_updates import (
    CLIENTS_MAX,
    ROOT_PREFIX,
    Block,
    TextDelta,
    TextUpdates,
    canonical_text_update,
    encode_text_update,
)
from .updates import encode_state_vector
from .wire import CLIENT_MAX, CLOCK_MAX

DIGEST_BYTES: Final = 16
VERSIONS_MAX: Final = 256
"""Versions of a text that a draft may be older than the text and still be put exactly where it was meant."""


@dataclass(frozen=True, slots=True)
class Version:
    """A text at some moment. Immutable: any thread may read it."""

    text: str = ""
    number: int = 0
    """Grows by one with each change that this process saw."""


NOTHING: Final = Version()


class _Root:
    """One text."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.version = NOTHING
        self.deltas: deque[list[tuple[str, int]]] = deque(maxlen=VERSIONS_MAX)
        self.raw: list[list[Mapping[str, Any]]] = []
        self.watch = text.observe(self._changed)
        self._hash = (0, b"")

    def _changed(self, event: TextEvent) -> None:
        self.raw.append(event.delta)  # type: ignore[attr-defined]

    def refresh(self) -> int:
        """After a transaction. Returns by how many UTF-8 bytes the text grew."""
        before, now = self.version.text, str(self.text)
        raw, self.raw = self.raw, []
        if now == before:
            return 0
        self.deltas.append(_read_delta(before, now, raw))
        self.version = Version(now, self.version.number + 1)
        return _size(now) - _size(before)

    def hash(self, name: str) -> bytes:
        """Of the text and its name."""
        if self._hash[0] != self.version.number:
            said = b"%b\0%b" % (name.encode(), self.version.text.encode())
            self._hash = self.version.number, blake2b(said, digest_size=DIGEST_BYTES).digest()
        return self._hash[1]

    def track(self, number: int, base: str) -> Track:
        """Where the parts of an earlier version are now."""
        track, missing = Track(len(base)), self.version.number - number
        if 0 <= missing <= len(self.deltas):
            for delta in list(self.deltas)[len(self.deltas) - missing :]:
                track.follow(delta)
        else:
            track.follow(_coarse(base, self.version.text))
        return track


class TextDocument:
    """One replica's copy of the texts. Synchronous, single-threaded, no I/O; `read` alone is for any thread.

    As with `Document`: after the library panicked, every method that touches it raises DocumentPoisoned.
    """

    def __init__(self, client_id: int) -> None:
        if not 0 < client_id <= CLIENT_MAX:
            raise ValueError(f"a client id is between 1 and {CLIENT_MAX}")
        self.client_id = client_id
        self.bytes = 0
        """Of all texts together, as UTF-8."""
        self._doc: Doc[Any] = Doc(client_id=client_id)
        self._updates = TextUpdates()
        self._roots: dict[str, _Root] = {}
        self._poison = ""
        self._said: list[bytes] = []
        self._watch: Subscription | None = None
        self._digest: bytes | None = None

    def _committed(self, event: TransactionEvent) -> None:
        self._said.append(event.update)

    @property
    def names(self) -> list[str]:
        """Of all texts that were ever written to, sorted."""
        return sorted(self._roots)

    def read(self, name: str) -> Version:
        """A text as it is now; empty if there is none."""
        root = self._roots.get(name)
        return root.version if root is not None else NOTHING

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written."""
        return not self._updates.chains.known

    @property
    def has_room(self) -> bool:
        """Whether this process run may edit: client ids and clocks are finite."""
        known = self._updates.chains.known
        return known.get(self.client_id, CLOCK_MAX // 2 * (len(known) >= CLIENTS_MAX)) < CLOCK_MAX // 2

    def state_vector(self) -> dict[int, int]:
        """Client -> next clock: a copy."""
        return dict(self._updates.chains.known)

    def encoded_state_vector(self) -> bytes:
        """The same as bytes; equal vectors give equal bytes. Says nothing of deletions: compare digests too."""
        return encode_state_vector(self._updates.chains.known)

    @property
    def digest(self) -> bytes:
        """Fingerprint of what is known, clients, clocks and deletions, and of the texts themselves."""
        if self._digest is None:
            chains = self._updates.chains
            said = blake2b(encode_state_vector(chains.known), digest_size=DIGEST_BYTES)
            said.update(encode_text_update((), chains.deleted))
            for name, root in sorted(self._roots.items()):
                if root.version.text:
                    said.update(root.hash(name))
            self._digest = said.digest()
        return self._digest

    def edit(self, name: str, base: str, number: int, pieces: Sequence[Piece]) -> TextDelta:
        """Make a draft of version `number`, whose text was `base`, part of the text as it is now."""
        self._check_sound()
        root = self._root(name)
        with self._doc.transaction():
            for change in changes(base, pieces, root.track(number, base)):
                at = _size(root.version.text[: change.at])
                if change.delete:
                    size = _size(root.version.text[change.at : change.at + change.delete])
                    del root.text[at : at + size]
                if change.insert:
                    root.text.insert(at, change.insert)
        return self._own([name])

    def _own(self, names: list[str]) -> TextDelta:
        """What the last transaction of our own did."""
        said, self._said = self._said, []
        blocks: list[Block] = []
        deleted: dict[int, Ranges] = {}
        for update in said:
            delta = self._updates.parse(update)
            self._updates.take(delta)
            blocks += delta.blocks
            for client, ranges in delta.deleted.items():
                deleted[client] = deleted.get(client, Ranges()) | ranges
        self._refresh(names)
        return TextDelta(tuple(blocks), deleted, encode_text_update(tuple(blocks), deleted))

    def parse(self, update: bytes) -> TextDelta:
        """What is new in an update of a peer or of the journal. Nothing is changed: see `take`.

        Raises UpdateInvalid, UpdateGap or DocumentPoisoned.
        """
        self._check_sound()
        delta = self._updates.parse(update)
        if any(block.client == self.client_id for block in delta.blocks):
            raise UpdateInvalid(f"units of our own client {self.client_id} that we did not write")
        return delta

    def take(self, delta: TextDelta) -> None:
        """Take in what `parse` found, before anything else is parsed.

        Raises DocumentPoisoned: the library failed inside.
        """
        if not delta:
            return
        try:
            self._updates.take(delta)
            names = {self._updates.root_of(block) for block in delta.blocks}
            for name in sorted(names):
                self._root(name.removeprefix(ROOT_PREFIX))
            self._doc.apply_update(delta.update)
        except BaseException as error:
            # As in `Document`: a panic is a BaseException, and may have left half of the update.
            self._poison = f"the CRDT library failed on a text update of {len(delta.update)} bytes: {error!r}"
            if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
                raise DocumentPoisoned(self._poison) from error
            raise
        self._said = []
        self._refresh(self._roots if delta.deleted else (name.removeprefix(ROOT_PREFIX) for name in names))

    def diff(self, their: Mapping[int, int]) -> bytes:
        """An update with all that a document of this state vector lacks, and with all deletions."""
        self._check_sound()
        known = self._updates.chains.known
        vector = {client: min(clock, known[client]) for client, clock in their.items() if client in known}
        data: bytes = self._doc.get_update(encode_state_vector(vector))
        return canonical_text_update(data)

    def _root(self, name: str) -> _Root:
        root = self._roots.get(name)
        if self._watch is None:  # not before there is a text: a library's document and its observer are never freed
            self._watch = self._doc.observe(self._committed)
        if root is None:
            root = self._roots[name] = _Root(self._doc.get(ROOT_PREFIX + name, type=Text))
        return root

    def _refresh(self, names: Iterable[str]) -> None:
        self._digest = None
        for name in names:
            self.bytes += self._roots[name].refresh()

    def _check_sound(self) -> None:
        if self._poison:
            raise DocumentPoisoned(self._poison)


def merge_text_updates(deltas: Sequence[TextDelta]) -> bytes:
    """One update of several, in the order in which they were made."""
    deleted: dict[int, Ranges] = {}
    for delta in deltas:
        for client, ranges in delta.deleted.items():
            deleted[client] = deleted.get(client, Ranges()) | ranges
    return encode_text_update(tuple(block for delta in deltas for block in delta.blocks), deleted)


def _size(text: str) -> int:
    """As UTF-8: the unit of the library's positions."""
    return len(text) if text.isascii() else len(text.encode())


def _read_delta(before: str, after: str, raw: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[str, int]]:
    """The library's account of one transaction, in characters; a coarser one of our own if that does not add up."""
    if len(raw) == 1:
        old, at, made, built = before.encode(), 0, list[tuple[str, int]](), list[str]()
        for step in raw[0]:
            if "insert" in step:
                made.append(("insert", len(step["insert"])))
                built.append(step["insert"])
                continue
            what = "keep" if "retain" in step else "delete"
            size = int(step["retain"] if what == "keep" else step["delete"])
            part = old[at : at + size].decode(errors="replace")
            at += size
            made.append((what, len(part)))
            if what == "keep":
                built.append(part)
        if "".join(built) + old[at:].decode(errors="replace") == after:
            return made
    return _coarse(before, after)


def _coarse(before: str, after: str) -> list[tuple[str, int]]:
    """One change in the middle, between what both have at their beginning and at their end."""
    start, stop, new = difference(before, after)
    return [("keep", start), ("delete", stop - start), ("insert", len(new)), ("keep", len(before) - stop)]
