"""The messages that the demo sends: the bundled ones, or those of a file of JSON lines."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actonce.errors import ActonceError, ConfigError
from actonce.inbox import pack_payload, task_id

BUNDLED_COUNT = 150
KIND = "reply"
COMPLAINTS_MAX = 20
"""Broken lines that are named one by one; the rest is counted."""

_WHO = ("Ada", "Bo", "Chen", "Dara", "Emil", "Fatou", "Grace", "Hugo", "Ines", "Jun")
_ASKS = ("can you look at", "who wrote", "please summarise", "is there news about", "remind me of", "what happened to")
_WHAT = ("the invoice", "the release notes", "our trip", "the second draft", "ticket 42", "the night build", "the menu")


@dataclass(frozen=True, slots=True)
class Message:
    """`id` is what makes two deliveries one message; `payload` is all that the sender sent."""

    id: str
    payload: dict[str, Any]


def bundled(seed: int) -> list[Message]:
    """A chat that nobody had."""
    rng = random.Random(f"messages {seed}")
    made = []
    for number in range(1, BUNDLED_COUNT + 1):
        text = f"{rng.choice(_WHO)}: {rng.choice(_ASKS)} {rng.choice(_WHAT)}?"
        made.append(Message(f"m{number}", {"id": f"m{number}", "text": text}))
    return made


def load(path: Path, complain: Callable[[str], None]) -> list[Message]:
    """The messages of a file: a JSON object with the texts "id" and "text" on each line.

    A line that is not one is named in a sentence to `complain`, and skipped.

    Raises:
        ConfigError: the file cannot be read, or holds no message.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"the messages in {path} cannot be read: {error.strerror}") from None
    found: dict[str, Message] = {}
    skipped = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            message = _message(line)
            if message.id in found:
                raise ConfigError(f"the id {message.id!r} was on an earlier line")
            found[message.id] = message
        except ActonceError as error:
            skipped += 1
            if skipped <= COMPLAINTS_MAX:
                complain(f"{path}, line {number} is skipped: {error}")
    if skipped > COMPLAINTS_MAX:
        complain(f"{path}: {skipped} lines are skipped in all")
    if not found:
        raise ConfigError(f"there is no message in {path}")
    return list(found.values())


def _message(line: bytes) -> Message:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not isinstance(value.get("text"), str):
        raise ConfigError('not an object with the texts "id" and "text"')
    task_id(KIND, value["id"])
    pack_payload("the message", value)
    return Message(value["id"], value)
