"""A large message is looked at before it is unpacked: what is nested would take eighty times its size."""

from collections import Counter

import msgpack
import pytest

from actonce import lines, messages
from actonce.compare_messages import Rows
from actonce.errors import MessageInvalid
from actonce.lines import CHUNK_BYTES, Line, frames, is_flat
from actonce.messages import Chunk, Edit, Message, Push, encode
from actonce.peers import About
from actonce.world import ProcessId

SIZE = CHUNK_BYTES + 7
ABOUT = About("a", "j", 1, 2, {}, "", 1.0, ProcessId("h", 1, 2))


def line() -> Line:
    return Line(None, None, ABOUT, Counter(), lambda line: True)  # type: ignore[arg-type]


def receive(whole: bytes) -> Message | None:
    parts = [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]
    it = line()
    return [it.receive(encode(Chunk(index, len(parts), part))) for index, part in enumerate(parts)][-1]


@pytest.mark.parametrize(
    "message",
    [
        Push(bytes(SIZE)),
        Edit(bytes(SIZE), bytes(3)),
        Edit(b"", bytes(SIZE)),
        Edit(bytes(300), bytes(SIZE)),
        *(Rows(count, 2**50, bytes(SIZE), ask=bool(count % 2)) for count in (1, 200, 70_000, 2**33)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_large_messages_are_read(message: Message) -> None:
    it = line()
    assert [it.receive(part) for part in frames(message)][-1] == message


@pytest.mark.parametrize(
    "whole",
    [
        msgpack.packb([3, [[]] * SIZE]),
        msgpack.packb([3, {n: [] for n in range(SIZE // 3)}]),
        msgpack.packb([32, b"", [[]] * SIZE]),
        msgpack.packb([65, [[]] * SIZE, 1, b"", True]),
        msgpack.packb([3, "x" * SIZE]),
        encode(Push(bytes(SIZE))) + b"\x90" * 9,
        encode(Push(bytes(SIZE)))[:-1],
    ],
    ids=["list", "map", "edit", "rows", "text", "more", "less"],
)
def test_what_is_nested_is_refused_unread(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = messages.decode

    def small(frame: bytes) -> Message:
        assert len(frame) <= CHUNK_BYTES + 64, "it was unpacked"
        return decode(frame)

    monkeypatch.setattr(lines, "decode", small)
    with pytest.raises(MessageInvalid, match="only a push, an edit or rows may be larger than a frame"):
        receive(whole)


def test_a_head_alone_is_not_flat() -> None:
    assert not is_flat(b"\x92\x03")
    assert not is_flat(b"\x92\x03\xc6\xff")
