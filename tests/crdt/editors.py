"""Three replicas that edit two texts at random, some on versions that are old by then, and exchange what they have."""

import random

from actonce_crdt import TextDelta, TextDocument, Version
from actonce_crdt.drafts import Draft

NEW = "ab\n é😀𝄞z"
NAMES = ("n", "m")


class Editors:
    """Repeatable from its seed. `corpus` has (journal of a replica, an update that it has not)."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.documents = [TextDocument(client + 1) for client in range(3)]
        self.journals: list[list[bytes]] = [[], [], []]
        self.corpus: list[tuple[tuple[bytes, ...], bytes]] = []
        self._late: list[tuple[int, str, Version, Draft]] = []

    def draft(self, base: str) -> Draft:
        """Some edits of a text."""
        draft, rng = Draft(base), self.rng
        for _ in range(rng.randint(1, 3)):
            start = rng.randint(0, len(draft.text))
            stop = rng.randint(start, min(len(draft.text), start + 4))
            draft.splice(start, stop, "".join(rng.choice(NEW) for _ in range(rng.randint(0, 5))))
        return draft

    def run(self, steps: int) -> None:
        """Edit, edit late, exchange."""
        rng = self.rng
        for _ in range(steps):
            at, name = rng.randrange(3), rng.choice(NAMES)
            version = self.documents[at].read(name)
            draft = self.draft(version.text)
            if rng.random() < 0.4:
                self._late.append((at, name, version, draft))
            else:
                self._keep(at, self.documents[at].edit(name, version.text, version.number, draft.pieces))
                assert self.documents[at].read(name).text == draft.text
            if self._late and rng.random() < 0.5:
                at, name, version, draft = self._late.pop(0)
                self._keep(at, self.documents[at].edit(name, version.text, version.number, draft.pieces))
            if rng.random() < 0.4:
                self.send(*rng.sample(range(3), 2))

    def _keep(self, at: int, delta: TextDelta) -> None:
        if delta:
            self.journals[at].append(delta.update)

    def send(self, source: int, target: int) -> None:
        """All that the other lacks."""
        document = self.documents[target]
        update = self.documents[source].diff(document.state_vector())
        self.corpus.append((tuple(self.journals[target]), update))
        delta = document.parse(update)
        document.take(delta)
        self._keep(target, delta)

    def settle(self) -> None:
        """Everybody to everybody."""
        for source, target in ((0, 1), (1, 2), (2, 1), (1, 0)):
            self.send(source, target)
