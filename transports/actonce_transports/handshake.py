"""The handshake between two replicas, and the seal on each frame after it. Sans I/O, in the manner of websockets.

Messages, after one byte that tells their kind (each is one binary websocket message; integers are big-endian):

    dialer              listener
    HELLO          ->                 magic, version, secret or not, nonce (32 bytes), name, about
                   <-   HELLO         (both are sent at once; neither waits)
    PROOF          ->                 HMAC over both HELLOs, the sender's role in the key
                   <-   PROOF         only after the dialer's was right, see below
    READY or GO   <-->  GO or READY   who agrees to what: links.py
    REFUSE             REFUSE         at any time instead: a code and a reason; the connection ends

With K = HMAC-SHA256(secret, "actonce link 1" || SHA-256(dialer's HELLO) || SHA-256(listener's HELLO)), each of the four
keys is HMAC-SHA256(K, label), the labels being "dialer proof", "listener proof", "dialer frames", "listener frames".
From its PROOF on, everything that a side sends is sealed: the first 16 bytes of HMAC-SHA256(its frames key, number of
the message (8 bytes) || message), then the message.

What this gives: nobody without the secret can open a link, or alter, replay, reorder, reflect or insert a frame. Both
nonces are in every key, so that nothing of one connection is worth anything on another; the roles are in every label,
so that nothing can be returned to its sender. The listener proves itself only to someone who has: a stranger who
connects gets nothing to test guesses of the secret on (one who is dialed, or who listens on the wire, does: use a
secret of 32 random bytes). What it does not give: secrecy of any kind, and protection from someone who forwards all
bytes unaltered. Without a secret there are no proofs and no seals, and callers must keep such links on one host
(address.py).

Version: the lower of the two sides' is spoken, if both know it. HELLO and REFUSE keep their layout in all versions.
"""

import enum
import hmac
import struct
from hashlib import sha256

from .contract import Identity
from .errors import HandshakeFailed
from .limits import HOLDS_MAX, REASON_BYTES_MAX
from .links import Ready

__all__ = ["MAC_BYTES", "NONCE_BYTES", "Handshake", "cut_reason"]

VERSION = 1
VERSION_MIN = 1
NONCE_BYTES = 32
MAC_BYTES = 16
MAGIC = b"ACTONCE"

HELLO_HEAD = struct.Struct(f">{len(MAGIC)}sBB{NONCE_BYTES}sBH")
NUMBER = struct.Struct(">Q")

NEEDS_SECRET = "this mesh needs a secret"
PEER_WITHOUT_SECRET = "the peer has no secret, and this mesh needs one"
WRONG_SECRET = "wrong secret"


class Kind(enum.IntEnum):
    """The first byte of a message of the handshake."""

    HELLO, PROOF, READY, GO, REFUSE = range(1, 6)


class Code(enum.IntEnum):
    """Why a REFUSE was sent."""

    DENIED, DUPLICATE, NONSENSE = range(1, 4)


class State(enum.Enum):
    """How far the handshake has come. It only moves downwards."""

    HELLO = "waits for the peer's HELLO"
    PROOF = "waits for the peer's PROOF"
    AGREE = "the peer is authenticated; the two sides agree on the link"
    UP = "done: every message is a frame"
    FAILED = "refused"


class Seal:
    """The MAC of one direction. Numbers its messages from 0; a wrong one is never skipped."""

    __slots__ = ("_key", "_number")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def _mac(self, message: bytes) -> bytes:
        mac = hmac.digest(self._key, NUMBER.pack(self._number) + message, "sha256")[:MAC_BYTES]
        self._number += 1
        return mac

    def seal(self, message: bytes) -> bytes:
        return self._mac(message) + message

    def open(self, sealed: bytes) -> bytes:
        """Raises HandshakeFailed if this is not the peer's next message."""
        message = sealed[MAC_BYTES:]
        if not hmac.compare_digest(sealed[:MAC_BYTES], self._mac(message)):
            raise HandshakeFailed("a frame without the right MAC")
        return message


def cut_reason(reason: str) -> bytes:
    """The reason in UTF-8, at most REASON_BYTES_MAX bytes, never in the middle of a character."""
    return reason.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore").encode()


class Handshake:
    """One side of one connection.

    Feed each message that arrives to `receive`, then send what `messages_to_send` returns. When `receive` has returned
    and `state` has become AGREE, `peer` is authenticated: call `ready` or `go` or `refuse`, as links.py says. `receive`
    fills `peer_ready` or `peer_go` when the peer's word arrives. Once `state` is UP, `seal` and `open` are all there
    is.

    Args:
        me: what this side says of itself.
        dialed: True for the side that dialed.
        secret: the secret of the mesh; None for a mesh on one host. Not empty.
        nonce: NONCE_BYTES random bytes, never used before.
    """

    def __init__(self, me: Identity, *, dialed: bool, secret: bytes | None, nonce: bytes) -> None:
        assert len(nonce) == NONCE_BYTES
        assert secret is None or secret
        self.state = State.HELLO
        self.peer: Identity | None = None  # from AGREE on
        self.peer_ready: Ready | None = None  # the follower's word, at the leader
        self.peer_go = 0  # the leader's word, at the follower; numbers start at 1
        self._me = me
        self._dialed = dialed
        self._secret = secret
        self._hello = _hello(me, secret is not None, nonce)
        self._claimed: Identity | None = None  # the peer's HELLO, not yet proven
        self._outgoing: Seal | None = None  # from our PROOF on
        self._incoming: Seal | None = None  # from the peer's PROOF on
        self._proofs = (b"", b"")  # ours and the peer's, once both HELLOs are known
        self._seals = (Seal(b""), Seal(b""))  # ours and the peer's, likewise
        self._writes: list[bytes] = [self._hello]

    def messages_to_send(self) -> list[bytes]:
        """What must go to the peer now. Call after each other method, and once at the start."""
        writes, self._writes = self._writes, []
        return writes

    def receive(self, data: bytes) -> None:
        """Take one message, before the state is UP.

        Raises HandshakeFailed when this will never be a link; the refusal is then among the messages to send.
        """
        assert self.state not in (State.UP, State.FAILED)
        try:
            message = self.open(data)
            if not message:
                raise HandshakeFailed("an empty message in the handshake")
            kind, body = message[0], message[1:]
            if kind == Kind.REFUSE:
                self.state = State.FAILED  # and no answer: the peer knows
                raise _refusal(body)
            if kind == Kind.HELLO and self.state is State.HELLO:
                self._receive_hello(message)
            elif kind == Kind.PROOF and self.state is State.PROOF:
                self._receive_proof(body)
            elif kind == Kind.READY and self.state is State.AGREE and self._leads and self.peer_ready is None:
                self.peer_ready = _parse_ready(body)
            elif kind == Kind.GO and self.state is State.AGREE and not self._leads and len(body) == NUMBER.size:
                (self.peer_go,) = NUMBER.unpack(body)
                self.state = State.UP
            else:
                raise HandshakeFailed("a message out of turn in the handshake")
        except HandshakeFailed as failure:
            if self.state is not State.FAILED:
                self._fail(Code.DENIED if failure.denied else Code.NONSENSE, failure.reason)
            raise

    def ready(self, ready: Ready) -> None:
        """The follower wants this connection."""
        assert self.state is State.AGREE
        assert not self._leads
        self._send(struct.pack(f">BQH{len(ready.holds)}Q", Kind.READY, ready.number, len(ready.holds), *ready.holds))

    def go(self, number: int) -> None:
        """The leader chooses this connection. Every message after this is a frame."""
        assert self.state is State.AGREE
        assert self.peer_ready is not None
        self._send(bytes([Kind.GO]) + NUMBER.pack(number))
        self.state = State.UP

    def refuse(self, reason: str, *, duplicate: bool = False) -> None:
        """This side does not want the link."""
        assert self.state is State.AGREE
        self._fail(Code.DUPLICATE if duplicate else Code.DENIED, reason)

    def seal(self, frame: bytes) -> bytes:
        """The message that carries a frame."""
        return frame if self._outgoing is None else self._outgoing.seal(frame)

    def open(self, message: bytes) -> bytes:
        """The frame that a message carries. Raises HandshakeFailed if it is not the peer's next one."""
        return message if self._incoming is None else self._incoming.open(message)

    @property
    def _leads(self) -> bool:
        assert self.peer is not None
        return self._me.name < self.peer.name

    def _send(self, message: bytes) -> None:
        self._writes.append(self.seal(message))

    def _fail(self, code: Code, reason: str) -> None:
        self._send(bytes([Kind.REFUSE, code]) + cut_reason(reason))
        self.state = State.FAILED

    def _receive_hello(self, message: bytes) -> None:
        self._claimed, has_secret = _parse_hello(message)
        if self._secret is None:
            if has_secret:
                raise HandshakeFailed(NEEDS_SECRET, denied=True)
            self.peer, self.state = self._claimed, State.AGREE
            return
        if not has_secret:
            # The peer is told in its own words: REFUSE carries what it should read.
            self._fail(Code.DENIED, NEEDS_SECRET)
            raise HandshakeFailed(PEER_WITHOUT_SECRET, denied=True)
        hellos = (self._hello, message) if self._dialed else (message, self._hello)
        session = b"actonce link 1" + b"".join(sha256(hello).digest() for hello in hellos)
        key = _derive(self._secret, session)
        ours, theirs = (b"dialer", b"listener") if self._dialed else (b"listener", b"dialer")
        self._proofs = (_derive(key, ours + b" proof"), _derive(key, theirs + b" proof"))
        self._seals = (Seal(_derive(key, ours + b" frames")), Seal(_derive(key, theirs + b" frames")))
        self.state = State.PROOF
        if self._dialed:
            self._prove()

    def _prove(self) -> None:
        self._send(bytes([Kind.PROOF]) + self._proofs[0])
        self._outgoing = self._seals[0]

    def _receive_proof(self, proof: bytes) -> None:
        if not hmac.compare_digest(proof, self._proofs[1]):
            raise HandshakeFailed(WRONG_SECRET, denied=True)
        self._incoming = self._seals[1]
        if not self._dialed:
            self._prove()
        self.peer, self.state = self._claimed, State.AGREE


def _derive(key: bytes, label: bytes) -> bytes:
    return hmac.digest(key, label, "sha256")


def _hello(me: Identity, has_secret: bool, nonce: bytes) -> bytes:
    name = me.name.encode()
    head = HELLO_HEAD.pack(MAGIC, VERSION, has_secret, nonce, len(name), len(me.about))
    return bytes([Kind.HELLO]) + head + name + me.about


def _parse_hello(message: bytes) -> tuple[Identity, bool]:
    """(what the peer says of itself, whether it has a secret). Raises HandshakeFailed."""
    body = message[1:]
    if len(body) < HELLO_HEAD.size or not body.startswith(MAGIC):
        raise HandshakeFailed("the peer does not speak the protocol of Actonce")
    _, version, flags, _, name_bytes, about_bytes = HELLO_HEAD.unpack_from(body)
    if min(version, VERSION) < VERSION_MIN:
        raise HandshakeFailed(f"the peer speaks version {version}, we need {VERSION_MIN}", denied=True)
    if flags > 1 or len(body) != HELLO_HEAD.size + name_bytes + about_bytes:
        raise HandshakeFailed("a malformed HELLO")
    name = body[HELLO_HEAD.size : HELLO_HEAD.size + name_bytes]
    try:
        return Identity(name.decode(), body[HELLO_HEAD.size + name_bytes :]), flags == 1
    except ValueError:  # not UTF-8, or outside the limits
        raise HandshakeFailed("a HELLO with an invalid name") from None


def _parse_ready(body: bytes) -> Ready:
    head = struct.Struct(">QH")
    if len(body) >= head.size:
        number, count = head.unpack_from(body)
        if count <= HOLDS_MAX and len(body) == head.size + count * NUMBER.size:
            return Ready(number, struct.unpack_from(f">{count}Q", body, head.size))
    raise HandshakeFailed("a malformed READY")


def _refusal(body: bytes) -> HandshakeFailed:
    """The failure that a REFUSE of the peer stands for. The text is the peer's: printable characters only."""
    code, text = body[:1], body[1 : 1 + REASON_BYTES_MAX].decode(errors="replace")
    reason = "".join(char if char.isprintable() else "?" for char in text) or "refused without a reason"
    denied, duplicate = code == bytes([Code.DENIED]), code == bytes([Code.DUPLICATE])
    return HandshakeFailed(reason, denied=denied, duplicate=duplicate)
