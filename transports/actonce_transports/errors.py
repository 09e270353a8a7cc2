"""What can go wrong between replicas, by what the caller can do about it.

    TransportError
    +-- AddressInvalid     the text is not an address, or this host cannot listen there: correct the setting
    +-- AddressBusy        another process listens there: stop it, or choose another port
    +-- SecretNeeded       the address leaves this host (or the secret is empty): configure a secret
    +-- NotRunning         the transport is not started, or already stopped: a bug in the caller
    +-- FrameTooLarge      the frame exceeds `FRAME_BYTES_MAX`: a bug in the caller, who must cut it into chunks
    +-- HandshakeFailed    the two ends did not agree; never raised to users of a transport, who get `dial_failed`

Each message is one sentence for a person. Errors of the operating system and of websockets are translated once, where
they arise; none of them crosses the interface of a transport.
"""

__all__ = [
    "AddressBusy",
    "AddressInvalid",
    "FrameTooLarge",
    "HandshakeFailed",
    "NotRunning",
    "SecretNeeded",
    "TransportError",
]


class TransportError(Exception):
    """Root of all errors of this package."""


class AddressInvalid(TransportError):
    """The text is no `host:port`, or this host has no such address to listen on."""


class AddressBusy(TransportError):
    """Another process listens on this address."""


class SecretNeeded(TransportError):
    """Without a secret, bytes may not leave this host."""


class NotRunning(TransportError):
    """`start` has not been called, or `stop` has."""


class FrameTooLarge(TransportError):
    """A frame is larger than `FRAME_BYTES_MAX`; nothing was sent, and the link lives."""


class HandshakeFailed(TransportError):
    """The handshake ended without a link.

    `denied` tells a refusal (this replica is not wanted here, or has the wrong secret) from nonsense (the other end
    does not speak our protocol); `duplicate` tells that the peer keeps another link to us, which is no failure at
    all.
    """

    def __init__(self, reason: str, *, denied: bool = False, duplicate: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.denied = denied
        self.duplicate = duplicate
