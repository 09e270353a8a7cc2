"""Every message survives its frame; every other frame is refused and nothing worse."""

import contextlib
import math

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actonce.compare_messages import NUMBER_MAX, SUMS_BYTES_MAX, Rows, Sums
from actonce.errors import MessageInvalid
from actonce.messages import (
    MEMBERS_MAX,
    Ack,
    Announce,
    Append,
    Ask,
    Bye,
    Chunk,
    Edit,
    Heartbeat,
    Message,
    Push,
    TextAsk,
    TextDigest,
    decode,
    encode,
)
from actonce.overlay_messages import (
    CONTACTS_MAX,
    HOPS_MAX,
    LINKS_MAX,
    Contact,
    Elsewhere,
    Graft,
    Have,
    Hello,
    Prune,
    Pulse,
    Swap,
    Walk,
)
from actonce.ownership import Member, View
from actonce.peers import About
from actonce.world import ProcessId

counts = st.integers(0, 2**32)
times = st.floats(allow_nan=False)
members = st.frozensets(st.builds(Member, st.text("abc0-", min_size=1, max_size=5), counts), max_size=4)
parts = st.binary(min_size=1)
digests = st.binary(min_size=16, max_size=16)
flags = st.booleans()
names = st.lists(st.text("abc", max_size=5), max_size=3).map(tuple)
contact = st.builds(Contact, st.text("abc", max_size=5), st.text("abc:", max_size=5), flags)
contacts = st.lists(contact, max_size=4).map(tuple)
moments = st.integers(1, NUMBER_MAX)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        *(Heartbeat, times, times, counts, st.binary(min_size=8, max_size=8), st.dictionaries(counts, counts)),
        *(counts, counts, names),
        basis=counts,
    ),
    st.builds(Heartbeat, times, times, counts, st.binary(min_size=8, max_size=8), st.just({}), first=st.just(True)),
    st.builds(Announce, st.builds(View, counts, members, members), flags, flags, flags, members, names),
    st.builds(Push, st.binary()),
    st.builds(Append, st.binary()),
    st.builds(Ack, counts),
    st.builds(Ask, st.binary()),
    st.integers(1, 99).flatmap(lambda count: st.builds(Chunk, st.integers(0, count - 1), st.just(count), parts)),
    st.just(Bye()),
    st.builds(Hello, st.sampled_from(["join", "need", "may"])),
    st.builds(Elsewhere, contacts),
    st.builds(Walk, contact, st.integers(0, HOPS_MAX)),
    st.builds(Swap, contacts, flags),
    st.builds(Pulse, digests, st.integers(0, LINKS_MAX), st.just(-1.0) | st.floats(0, 1e9), st.integers(0, HOPS_MAX)),
    st.builds(Have, st.dictionaries(counts, counts)),
    st.builds(Graft, st.binary()),
    st.just(Prune()),
    st.builds(Edit, st.binary(), st.binary()),
    st.builds(TextAsk, st.binary()),
    st.builds(TextDigest, digests),
    st.builds(Sums, moments, st.binary(max_size=100), flags),
    st.builds(Rows, moments, moments, st.binary(max_size=100), flags),
)
numbers: st.SearchStrategy[object] = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
small_keys = st.integers(0, 9) | st.text(max_size=2)
anything: st.SearchStrategy[object] = st.recursive(
    st.none() | numbers | st.text(max_size=5) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(small_keys, inner, max_size=3),
    max_leaves=20,
)
ABOUT = About("kevin", "journal", 3, 2**53 - 1, {"b": "spread", "a": "primary"}, "h:1", 1.0, ProcessId("host", 1, 2))


@given(messages)
def test_there_and_back(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages)
def test_equal_messages_are_equal_bytes(message: Message) -> None:
    assert encode(message) == encode(decode(encode(message)))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    _decodes_or_refuses(data)


@given(st.integers(0, 8) | st.integers(48, 56) | st.integers(64, 65), st.lists(anything, max_size=7))
def test_arbitrary_arrays_raise_nothing_else(tag: int, rest: list[object]) -> None:
    _decodes_or_refuses(msgpack.packb([tag, *rest]))


@given(messages, st.data())
def test_damaged_messages_raise_nothing_else(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    _decodes_or_refuses(bytes(frame))


def _decodes_or_refuses(frame: bytes) -> None:
    with contextlib.suppress(MessageInvalid):
        encode(decode(frame))


@pytest.mark.parametrize(
    "body",
    [
        [],
        [0],
        [8],
        {},
        "push",
        [3],
        [3, "text"],
        [3, b"", b""],
        [4, "1"],
        [4, 1.0],
        [6, 1, 1, b""],
        [64, 0, b"", True],
        [64, 1, bytes(SUMS_BYTES_MAX + 1), True],
        [64, True, b"", True],
        [65, 1, NUMBER_MAX + 1, b"", True],
        [65, 1, 1, "rows", True],
        [6, -1, 1, b""],
        [7, 1],
        [1, 1, 1.0, 1, bytes(8), {}, 0, 0, [], 0.0, 1],
        [1, 1.0, 1.0, 1, bytes(7), {}, 0, 0, [], 0.0, 1],
        [1, 1.0, 1.0, 1, bytes(8), {1: -1}, 0, 0, [], 0.0, 1],
        [1, 1.0, 1.0, 1, bytes(8), {"1": 1}, 0, 0, [], 0.0, 1],
        [1, 1.0, 1.0, 1, bytes(8), {1: True}, 0, 0, [], 0.0, 1],
        [1, 1.0, 1.0, 1, bytes(8), {}, 0, 0, [1], 0.0, 1],
        [1, 1.0, 1.0, 1, bytes(8), {}, 0, 0, [], -1.0, 1],
        [2, 1, [["a"]], [], True, False, []],
        [2, 1, [["a" * 65, 1]], [], True, False, []],
        [2, 1, [[b"a", 1]], [], True, False, []],
        [2, 1, [["a", 1]] * (MEMBERS_MAX + 1), [], True, False, []],
        [2, 1, [], [], 1, False, []],
        [2, 1, [], [], True, False, ["x"] * (MEMBERS_MAX + 1)],
        [2, 1, [], [], True, False, [1]],
        [48, "please"],
        [49, [["a", "h:1"]]],
        [49, [["a", "h:1", True]] * (CONTACTS_MAX + 1)],
        [49, [["a" * 65, "h:1", True]]],
        [49, [["a\x1b[2J", "h:1", True]]],
        [50, [], 1],
        [50, [["a", "h:1", True]], HOPS_MAX + 1],
        [51, [["a", "h" * 256, True]], True],
        [52, bytes(15), 1, 0.0, 0],
        [52, bytes(16), LINKS_MAX + 1, 0.0, 0],
        [52, bytes(16), 1, math.nan, 0],
        [52, bytes(16), 1, -2.0, 0],
        [52, bytes(16), 1, 0.0, True],
        [53, {1: -1}],
        [53, {"1": 1}],
        [54, "text"],
        [55, 1],
        [56],
    ],
    ids=repr,
)
def test_wrong_shapes_are_refused(body: object) -> None:
    with pytest.raises(MessageInvalid):
        decode(msgpack.packb(body))


@pytest.mark.parametrize("tail", [b"\x00", b"\xc1", encode(Bye())])
def test_nothing_may_follow_a_message(tail: bytes) -> None:
    with pytest.raises(MessageInvalid):
        decode(encode(Bye()) + tail)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        decode(b"\x91" * 100_000)


def test_what_a_replica_says_of_itself_survives_the_handshake() -> None:
    assert About.decode(ABOUT.encode()) == ABOUT
    assert ABOUT.encode() == About.decode(ABOUT.encode()).encode()


@given(st.binary(max_size=40) | anything.map(msgpack.packb))
def test_strangers_say_other_things_of_themselves(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        About.decode(data)


def test_minus_infinity_is_an_echo() -> None:
    """Before the first heartbeat of the other side was read."""
    beat = Heartbeat(1.0, -math.inf, 0, bytes(8), {})
    assert decode(encode(beat)) == beat
