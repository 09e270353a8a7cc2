"""Reading and writing the primitives of the Yjs update format (lib0): unsigned varints and length-prefixed bytes.

A varint holds 7 bits a byte, the lowest first; the high bit says that another byte follows. The library also accepts
longer spellings of a number and trailing bytes; we do not, so that one meaning has one form.
"""

from typing import Final

CLIENT_MAX: Final = (1 << 53) - 1
"""Largest client id: ids are doubles in JavaScript."""
CLOCK_MAX: Final = (1 << 31) - 1
"""Largest clock: the library casts clocks to 32 signed bits."""


class Malformed(Exception):
    """Bytes that are not in the format. Internal: the modules that parse map it to their own error."""


class Cursor:
    """A position in bytes. Reading past the end raises IndexError or Malformed; nothing is ever allocated ahead."""

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def varint(self, maximum: int) -> int:
        """The next unsigned varint, in its shortest form and at most `maximum` (itself below 2**56)."""
        data, pos = self.data, self.pos
        byte = data[pos]
        value = byte & 0x7F
        shift = 7
        while byte >= 0x80:
            pos += 1
            byte = data[pos]
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 56:
                raise Malformed("a number of more than 8 bytes")
        if byte == 0 and shift > 7:
            raise Malformed("a number that is not in its shortest form")
        if value > maximum:
            raise Malformed(f"a number above {maximum}")
        self.pos = pos + 1
        return value

    def byte(self) -> int:
        """The next byte."""
        value = self.data[self.pos]
        self.pos += 1
        return value

    def blob(self, maximum: int) -> bytes:
        """The next length-prefixed bytes, at most `maximum` of them."""
        size = self.varint(maximum)
        start, self.pos = self.pos, self.pos + size
        if self.pos > len(self.data):
            raise Malformed("cut off")
        return self.data[start : self.pos]

    def finish(self) -> None:
        """Raises Malformed unless every byte was read."""
        if self.pos != len(self.data):
            raise Malformed(f"{len(self.data) - self.pos} bytes too many")


_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """The shortest form of an unsigned number."""
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
