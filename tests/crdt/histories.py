"""Random histories of several replicas: the genuine traffic that must never be refused. Pure function of a seed.

Replicas append, push (frames are lost, doubled, reordered and relayed), crash and come back from their journal with a
new client id, truncate their own and each other's logs, and exchange differences and whole states.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from random import Random

from actonce_crdt import Document, Entry, UpdateGap, parse_state_vector
from actonce_crdt.document import Change

from .truncating import truncate


@dataclass
class Counts:
    applied: int = 0
    nothing_new: int = 0
    gaps: int = 0
    restarts: int = 0
    truncations: int = 0


@dataclass
class Node:
    name: str
    document: Document
    journal: list[bytes] = field(default_factory=list)
    present: dict[tuple[int, int], Entry] = field(default_factory=dict)

    def took(self, change: Change) -> None:
        """Journal a change, and follow the entries present by what the change says."""
        if change:
            self.journal.append(change.update)
        for entry_id in change.removed:
            del self.present[entry_id]
        for entry in change.added:
            assert entry.id not in self.present
            self.present[entry.id] = entry


class Mesh:
    """`corpus` collects each genuine update with the journal of a replica that was about to receive it."""

    def __init__(self, seed: int, replicas: int = 3) -> None:
        self.random = Random(seed)
        self.counts = Counts()
        self.corpus: list[tuple[tuple[bytes, ...], bytes]] = []
        self.used: set[int] = set()
        self.nodes = [Node(name, Document(name, self._fresh_id())) for name in "abcdefgh"[:replicas]]
        self.flying: list[tuple[Node, bytes]] = []

    def run(self, steps: int) -> None:
        actions = (self._append, self._append, self._deliver, self._deliver, self._sync, self._restart, self._truncate)
        for _ in range(steps):
            self.random.choice(actions)()

    def settle(self) -> None:
        """Everybody gives everybody else what they lack, twice."""
        for _ in range(2):
            for source in self.nodes:
                for target in self.nodes:
                    self._pull(target, source)

    def _fresh_id(self) -> int:
        """A client id never used before, of any length: the format writes ids as varints."""
        while True:
            client_id = self.random.randrange(1, 1 << self.random.choice((7, 8, 14, 32, 53)))
            if client_id not in self.used:
                self.used.add(client_id)
                return client_id

    def _payload(self) -> bytes:
        return self.random.randbytes(self.random.choice((1, 2, 20, 127, 128, 300)))

    def _append(self) -> None:
        node = self.random.choice(self.nodes)
        change = node.document.append([self._payload() for _ in range(self.random.choice((0, 1, 1, 2, 5)))])
        node.took(change)
        self._push(node, change.update)

    def _push(self, source: Node, update: bytes) -> None:
        for target in self.nodes:
            if target is not source:
                self.flying += [(target, update)] * self.random.choice((0, 1, 1, 1, 2))

    def _deliver(self) -> None:
        for _ in range(self.random.randrange(6)):
            if self.flying:
                self.random.shuffle(self.flying)
                self._receive(*self.flying.pop())

    def _receive(self, target: Node, update: bytes) -> None:
        self.corpus.append((tuple(target.journal), update))
        try:
            change = target.document.integrate(update)
        except UpdateGap:
            self.counts.gaps += 1
            self._pull(target, self.random.choice(self.nodes))
            return
        target.took(change)
        if change:
            self.counts.applied += 1
            if self.random.random() < 0.3:
                self._push(target, change.update)  # relay
        else:
            self.counts.nothing_new += 1

    def _sync(self) -> None:
        self._pull(self.random.choice(self.nodes), self.random.choice(self.nodes))

    def _pull(self, target: Node, source: Node) -> None:
        if target is source:
            return
        whole = self.random.random() < 0.2
        vector = {} if whole else parse_state_vector(target.document.encoded_state_vector())
        update = source.document.diff(vector)
        self.corpus.append((tuple(target.journal), update))
        target.took(target.document.integrate(update))  # a difference never leaves a gap

    def _restart(self) -> None:
        index = self.random.randrange(len(self.nodes))
        old = self.nodes[index]
        if self.random.random() < 0.7:
            return
        self.counts.restarts += 1
        node = Node(old.name, Document(old.name, self._fresh_id()))
        for update in old.journal:
            node.took(node.document.integrate(update))
        assert node.document.digest == old.document.digest
        self.nodes[index] = node
        self.flying = [(node if target is old else target, update) for target, update in self.flying]

    def _truncate(self) -> None:
        node = self.random.choice(self.nodes)
        logs = node.document.logs()
        if not logs or self.random.random() < 0.5:
            return
        log = self.random.choice(logs)
        present = sum(entry.log == log for entry in node.present.values())
        change = truncate(node.document, log, self.random.randint(0, present))
        self.counts.truncations += bool(change)
        node.took(change)
        self._push(node, change.update)


def check(document: Document) -> None:
    """The books of a document against the library: entries, digest, count, state vector; its whole state is sound."""
    entries = list(document.entries())
    assert len({entry.id for entry in entries}) == len(entries) == document.entry_count
    total = sum(
        int.from_bytes(blake2b(entry.log.encode() + b"\0" + entry.data, digest_size=16).digest(), "big")
        for entry in entries
    )
    assert document.digest == (total % (1 << 128)).to_bytes(16, "big")
    assert parse_state_vector(document._doc.get_state()) == document.state_vector()
    assert document.logs() == sorted(set(document.logs()))
    known = document.state_vector()
    twin = Document("twin", next(client for client in count(1) if client not in known))
    twin.integrate(document.diff({}))
    assert twin.digest == document.digest
    assert twin.state_vector() == document.state_vector()
