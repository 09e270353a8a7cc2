"""A steady stream of messages, for as long as it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from actonce.demo.messages import Message

MESSAGES_MAX = 1_000_000


class Endless(list[Message]):
    """Messages until `stop`: a sequence that the relay walks along while it grows."""

    stop = False

    def __iter__(self) -> Iterator[Message]:
        for number in count():
            if self.stop or number >= MESSAGES_MAX:
                return
            self.append(Message(f"m{number}", {"id": f"m{number}", "text": f"message {number}"}))
            yield self[number]
