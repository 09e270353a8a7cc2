"""The one place that touches msgpack (which ships no type stubs), with its errors mapped once.

`pack` is a deterministic function of the value, for a given order of dict keys: smallest form of every int and
length, floats always 64 bits. So "re-encodes to the same bytes" is the test for canonical bytes.
"""

import msgpack

_pack = msgpack.Packer(autoreset=True, use_bin_type=True).pack
_unpackb = msgpack.unpackb


def pack(value: object) -> bytes:
    """Msgpack of `value`. Raises ValueError, TypeError or OverflowError for what msgpack cannot hold."""
    data: bytes = _pack(value)
    return data


def unpack_tuple(data: bytes) -> object:
    """The value in `data`, arrays as tuples. Raises ValueError for anything malformed."""
    return _unpack(data, use_list=False)


def unpack_list(data: bytes) -> object:
    """The value in `data`, arrays as lists. Raises ValueError for anything malformed."""
    return _unpack(data, use_list=True)


def _unpack(data: bytes, *, use_list: bool) -> object:
    try:
        value: object = _unpackb(data, use_list=use_list, raw=False, strict_map_key=True)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return value
