"""A steady stream of messages, for as long as it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from actonce.demo.messages import Message

MESSAGES_MAX = 1_000_000


class Endless(list[Message]):
    """Messages until `stop`: a sequence that the relay walks along while it grows. Their ids begin with `prefix`."""

    stop = False

    def __init__(self, prefix: str = "m") -> None:
        super().__init__()
        self._prefix = prefix

    def __iter__(self) -> Iterator[Message]:
        for number in count():
            if self.stop or number >= MESSAGES_MAX:
                return
            name = f"{self._prefix}{number}"
            self.append(Message(name, {"id": name, "text": f"message {number}"}))
            yield self[number]
