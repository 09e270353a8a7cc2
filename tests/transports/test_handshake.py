"""The handshake without any I/O: two objects and the messages between them."""

import random

import pytest

from actonce_transports import HandshakeFailed, Identity
from actonce_transports.handshake import MAC_BYTES, NONCE_BYTES, Handshake, State, cut_reason
from actonce_transports.limits import ABOUT_BYTES_MAX, HOLDS_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX
from actonce_transports.links import Ready

SECRET = b"secret"
A, B = Identity("a", b"about a"), Identity("b", b"about b")


def side(me: Identity, secret: bytes | None, *, dialed: bool, nonce: int = 0) -> Handshake:
    return Handshake(me, dialed=dialed, secret=secret, nonce=bytes([nonce, dialed]) * (NONCE_BYTES // 2))


def pair(secret_a: bytes | None, secret_b: bytes | None) -> tuple[Handshake, Handshake]:
    """`a` dials `b`."""
    return side(A, secret_a, dialed=True), side(B, secret_b, dialed=False)


def exchange(one: Handshake, other: Handshake) -> dict[Handshake, HandshakeFailed]:
    """Carry messages to and fro until there are none; who failed, and how."""
    failures: dict[Handshake, HandshakeFailed] = {}
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((one, other), (other, one)):
            for message in sender.messages_to_send():
                moved = True
                if receiver.state in (State.FAILED, State.UP):
                    continue
                try:
                    receiver.receive(message)
                except HandshakeFailed as failure:
                    failures[receiver] = failure
    return failures


def up(secret: bytes | None) -> tuple[Handshake, Handshake]:
    a, b = pair(secret, secret)
    assert not exchange(a, b)
    b.ready(Ready(1))
    exchange(a, b)
    a.go(1)
    exchange(a, b)
    assert (a.state, b.state) == (State.UP, State.UP)
    return a, b


@pytest.mark.parametrize("secret", [None, SECRET])
def test_two_sides_agree_and_speak(secret: bytes | None) -> None:
    a, b = pair(secret, secret)
    assert exchange(a, b) == {}
    assert (a.state, a.peer, b.state, b.peer) == (State.AGREE, B, State.AGREE, A)
    b.ready(Ready(7, (3, 5)))
    exchange(a, b)
    assert a.peer_ready == Ready(7, (3, 5))
    a.go(9)
    exchange(a, b)
    assert b.peer_go == 9
    for _ in range(3):
        assert b.open(a.seal(b"to b")) == b"to b"
        assert a.open(b.seal(b"to a")) == b"to a"


def test_without_a_secret_a_frame_is_its_own_message() -> None:
    a, _ = up(None)
    assert a.seal(b"frame") == b"frame"


def test_a_seal_costs_as_many_bytes_as_declared() -> None:
    a, _ = up(SECRET)
    assert len(a.seal(b"frame")) == MAC_BYTES + len(b"frame")


@pytest.mark.parametrize(
    ("secret_a", "secret_b", "reason_a", "reason_b"),
    [
        (b"one", b"two", "wrong secret", "wrong secret"),
        (None, SECRET, "this mesh needs a secret", "the peer has no secret, and this mesh needs one"),
        (SECRET, None, "the peer has no secret, and this mesh needs one", "this mesh needs a secret"),
    ],
)
def test_both_sides_are_told_why_the_secrets_do_not_match(
    secret_a: bytes | None, secret_b: bytes | None, reason_a: str, reason_b: str
) -> None:
    a, b = pair(secret_a, secret_b)
    failures = exchange(a, b)
    assert (failures[a].reason, failures[b].reason) == (reason_a, reason_b)
    assert failures[a].denied
    assert failures[b].denied
    assert a.peer is None
    assert b.peer is None


def test_a_refusal_and_its_reason_arrive() -> None:
    for duplicate in (False, True):
        a, b = pair(SECRET, SECRET)
        exchange(a, b)
        a.refuse("no room", duplicate=duplicate)
        failure = exchange(a, b)[b]
        assert (failure.reason, failure.denied, failure.duplicate) == ("no room", not duplicate, duplicate)
        assert b.messages_to_send() == [], "a refusal is not answered"


def test_a_listener_proves_nothing_to_a_stranger() -> None:
    """Someone without the secret who connects gets a HELLO and a refusal, neither of which depends on the secret."""
    said = []
    for secret in (b"one", b"two"):
        stranger, listener = side(A, b"guess", dialed=True), side(B, secret, dialed=False)
        said.append(listener.messages_to_send())
        for message in stranger.messages_to_send():
            listener.receive(message)
        stranger.receive(said[-1][0])
        (proof,) = stranger.messages_to_send()
        with pytest.raises(HandshakeFailed, match="wrong secret"):
            listener.receive(proof)
        said[-1] += listener.messages_to_send()
    assert said[0] == said[1]


def test_an_altered_frame_is_refused() -> None:
    frame = b"x" * 50
    for bit in range(0, (MAC_BYTES + len(frame)) * 8, 7):
        a, b = up(SECRET)
        altered = bytearray(a.seal(frame))
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HandshakeFailed, match="MAC"):
            b.open(bytes(altered))


@pytest.mark.parametrize("deed", ["replay", "reorder", "drop", "reflect", "other connection", "cut short"])
def test_a_frame_is_worth_something_once_in_its_place(deed: str) -> None:
    a, b = up(SECRET)
    first, second = a.seal(b"first"), a.seal(b"second")
    victim, forged = b, first
    if deed == "replay":
        b.open(first)
    elif deed in ("reorder", "drop"):
        forged = second
    elif deed == "reflect":
        victim = a
    elif deed == "cut short":
        forged = first[: MAC_BYTES - 1]
    else:
        other = side(A, SECRET, dialed=True, nonce=1), side(B, SECRET, dialed=False, nonce=2)
        exchange(*other)
        victim = other[1]
    with pytest.raises(HandshakeFailed):
        victim.open(forged)


def test_a_proof_cannot_be_reflected() -> None:
    """Whoever sends a dialer's own messages back to it has the same transcript, and still no listener's proof."""
    a = side(A, SECRET, dialed=True)
    (hello,) = a.messages_to_send()
    a.receive(hello)
    (proof,) = a.messages_to_send()
    with pytest.raises(HandshakeFailed, match="wrong secret"):
        a.receive(proof)


def test_a_recorded_handshake_is_worth_nothing() -> None:
    """A dialer's messages, replayed to the same listener, fail at the proof: the listener's nonce is another one."""
    a, b = pair(SECRET, SECRET)
    (hello,) = a.messages_to_send()
    b.receive(hello)
    a.receive(b.messages_to_send()[0])
    (proof,) = a.messages_to_send()
    again = side(B, SECRET, dialed=False, nonce=7)
    again.receive(hello)
    with pytest.raises(HandshakeFailed, match="wrong secret"):
        again.receive(proof)


@pytest.mark.parametrize("secret", [None, SECRET])
def test_messages_out_of_turn_are_refused(secret: bytes | None) -> None:
    for kind in (0, 2, 3, 4, 6, 255):
        a, _ = pair(secret, secret)
        with pytest.raises(HandshakeFailed):
            a.receive(bytes([kind]) + bytes(8))
    a, b = pair(secret, secret)
    (hello,) = b.messages_to_send()
    a.receive(hello)
    with pytest.raises(HandshakeFailed):
        a.receive(hello)
    with pytest.raises(HandshakeFailed):
        b.receive(b"")


def test_the_follower_cannot_say_go_nor_the_leader_ready() -> None:
    for sender, receiver, message in ((1, 0, b"\x04" + bytes(8)), (0, 1, b"\x03" + bytes(10))):
        sides = pair(None, None)
        exchange(*sides)
        assert sides[sender].state is State.AGREE
        with pytest.raises(HandshakeFailed, match="out of turn"):
            sides[receiver].receive(message)


def test_ready_may_hold_only_so_many() -> None:
    a, b = pair(None, None)
    exchange(a, b)
    with pytest.raises(HandshakeFailed, match="READY"):
        a.receive(b"\x03" + bytes(8) + (HOLDS_MAX + 1).to_bytes(2, "big") + bytes(8 * (HOLDS_MAX + 1)))


def test_noise_raises_nothing_but_handshake_failed() -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    genuine = [side(A, SECRET, dialed=True).messages_to_send()[0], side(A, None, dialed=True).messages_to_send()[0]]
    for _ in range(3000):
        message = bytearray(rng.choice(genuine) if rng.random() < 0.7 else rng.randbytes(rng.randrange(80)))
        for _ in range(rng.randrange(4)):
            if message:
                message[rng.randrange(len(message))] = rng.randrange(256)
        del message[rng.randrange(len(message) + 1) if rng.random() < 0.2 else len(message) :]
        victim = side(B, rng.choice([None, SECRET]), dialed=rng.random() < 0.5)
        try:
            victim.receive(bytes(message))
        except HandshakeFailed:
            assert victim.state is State.FAILED, f"seed {seed}"


def test_identities_have_limits() -> None:
    Identity("n" * NAME_BYTES_MAX, bytes(ABOUT_BYTES_MAX))
    for name, about in (("", b""), ("n" * (NAME_BYTES_MAX + 1), b""), ("n", bytes(ABOUT_BYTES_MAX + 1))):
        with pytest.raises(ValueError, match="bytes"):
            Identity(name, about)


def test_the_largest_identity_passes() -> None:
    a = Handshake(Identity("n" * NAME_BYTES_MAX, bytes(ABOUT_BYTES_MAX)), dialed=True, secret=None, nonce=bytes(32))
    b = side(B, None, dialed=False)
    assert exchange(a, b) == {}
    assert b.peer == Identity("n" * NAME_BYTES_MAX, bytes(ABOUT_BYTES_MAX))


def test_a_reason_is_cut_between_characters() -> None:
    assert cut_reason("short") == b"short"
    cut = cut_reason("x" + "\u00e9" * REASON_BYTES_MAX)
    assert len(cut) == REASON_BYTES_MAX - 1
    cut.decode()


def test_a_reason_cannot_forge_a_log() -> None:
    a, b = pair(None, None)
    exchange(a, b)
    a.refuse("no\n2026-01-01 all is well\x1b[2J")
    assert exchange(a, b)[b].reason == "no?2026-01-01 all is well?[2J"
