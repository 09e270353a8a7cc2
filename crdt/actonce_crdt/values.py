"""Canonical msgpack of JSON-like values: payloads of tasks and results of handlers.

JSON-like: None, bool, int in [-2**63, 2**64 - 1], finite float, str, bytes, list or tuple, and dict with str keys,
nested at most `VALUE_DEPTH_MAX` deep. Equal values give equal bytes whatever the order of their keys, so that two
submissions of one task can be compared as bytes.

Not guaranteed: that a value comes back as the same Python type. Tuples come back as lists, members of an enum
and other subclasses as their plain base type, as with JSON.
"""

import math
from typing import Any, TypeAlias

from .errors import ValueInvalid
from .packing import pack, unpack_list

VALUE_DEPTH_MAX = 32
INT_MIN = -(1 << 63)
INT_MAX = (1 << 64) - 1
_SHOWN_CHARS = 64  # of a key, in an error message

Json: TypeAlias = "bool | int | float | str | bytes | list[Json] | tuple[Json, ...] | dict[str, Json] | None"


def pack_value(value: object, *, name: str = "payload") -> bytes:
    """Canonical bytes of a JSON-like value.

    Raises ValueInvalid, which names the offending place, such as ``payload.items[3]: set is not JSON-like``; `name`
    is what the value itself is called in that message.
    """
    return pack(_plain(value, name, 0))


def unpack_value(data: bytes) -> Any:
    """The `Json` value in canonical bytes; arrays are lists.

    Raises ValueInvalid for malformed bytes, and for bytes that `pack_value` would not have made.
    """
    try:
        value = unpack_list(data)
    except ValueError as error:
        raise ValueInvalid(f"not msgpack: {error}") from error
    if pack_value(value, name="value") != data:
        raise ValueInvalid("not the canonical form of its value")
    return value


def _plain(value: object, path: str, depth: int) -> object:
    """`value` rebuilt from plain types with sorted keys. Depth counts containers; a cycle ends at the limit."""
    match value:
        case None | bool() | bytes():
            return value
        case int():
            if not INT_MIN <= value <= INT_MAX:
                raise ValueInvalid(f"{path}: an integer must be between -2**63 and 2**64-1")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise ValueInvalid(f"{path}: {value} is not a finite number")
            return float(value)
        case str():
            return _text(value, path)
        case list() | tuple() | dict():
            if depth == VALUE_DEPTH_MAX:
                raise ValueInvalid(f"{path}: nested deeper than {VALUE_DEPTH_MAX} levels")
            if isinstance(value, dict):
                return _plain_dict(value, path, depth + 1)
            return [_plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        case _:
            raise ValueInvalid(f"{path}: {type(value).__name__} is not JSON-like")


def _plain_dict(value: dict[object, object], path: str, depth: int) -> dict[str, object]:
    keys: dict[str, object] = {}
    for key in value:
        if not isinstance(key, str):
            raise ValueInvalid(f"{path}: a key is {type(key).__name__}, not str")
        keys[_text(key, f"{path}: a key")] = key
    if len(keys) != len(value):
        raise ValueInvalid(f"{path}: two keys are the same text")
    return {key: _plain(value[keys[key]], f"{path}.{key[:_SHOWN_CHARS]}", depth) for key in sorted(keys)}


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueInvalid(f"{path}: the text has no UTF-8 form ({error.reason})") from error
    return str.__str__(value)
