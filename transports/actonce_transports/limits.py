"""Every limit of the package, with its unit in its name.

The constants are part of the protocol between replicas or protect memory, and are the same everywhere. `Timings` are
the waits of one transport; tests pass short ones.
"""

from dataclasses import dataclass
from typing import Final

__all__ = [
    "ABOUT_BYTES_MAX",
    "CONNECTIONS_MAX",
    "FRAME_BYTES_MAX",
    "HANDSHAKE_BYTES_MAX",
    "HEAD_BYTES_MAX",
    "HOLDS_MAX",
    "HTTP_BODY_BYTES_MAX",
    "NAME_BYTES_MAX",
    "QUEUE_BYTES_MAX",
    "REASON_BYTES_MAX",
    "Timings",
]

FRAME_BYTES_MAX: Final = 1 << 20
"""The largest frame of a link (1 MiB). Larger things are cut into chunks by the caller."""

QUEUE_BYTES_MAX: Final = 8 << 20
"""The most that waits in this process for one peer (8 MiB). A frame beyond it is dropped, and `send` says so."""

NAME_BYTES_MAX: Final = 64
"""The longest name of a replica, in UTF-8."""

ABOUT_BYTES_MAX: Final = 4096
"""The longest `Identity.about` (4 KiB)."""

REASON_BYTES_MAX: Final = 120
"""The longest reason for a refusal or a close, in UTF-8; a websocket close frame holds 123. Longer ones are cut."""

HOLDS_MAX: Final = 64
"""The most links to one peer that a replica lists while it agrees on one of them (see links.py)."""

HANDSHAKE_BYTES_MAX: Final = 64 << 10
"""The most that a connection may send before it is a link (64 KiB): an unknown peer cannot fill our memory."""

HEAD_BYTES_MAX: Final = 16 << 10
"""The longest head (request line and headers) of an HTTP request (16 KiB)."""

HTTP_BODY_BYTES_MAX: Final = 1 << 20
"""The largest body of an HTTP request (1 MiB); beyond it the answer is 413."""

CONNECTIONS_MAX: Final = 512
"""The most accepted connections at one time, of all kinds. Further ones are closed at once."""


@dataclass(frozen=True, slots=True)
class Timings:
    """The waits of one transport, in seconds."""

    connect_s: float = 3.0
    """For a TCP connection. Beyond it the address is silent."""

    probe_s: float = 1.0
    """For the TCP connection of a probe."""

    handshake_s: float = 5.0
    """From the TCP connection to the link; also for the head of an HTTP request (a slow client holds a socket)."""

    http_idle_s: float = 60.0
    """An HTTP connection without a request is closed after this, and one that does not finish sending a request."""

    close_s: float = 2.0
    """For flushing and for the peer's goodbye after ours. Beyond it the connection is cut."""

    keepalive_s: float | None = None
    """Ping after this much silence, and end the link (LOST) after three times as much. None: heartbeats are the
    caller's business, whose clock counts suspend and who knows his own load."""

    backoff_min_s: float = 0.05
    """Before the second attempt in a row; doubles from there. The first redial after a link's end is immediate."""

    backoff_max_s: float = 0.5
    """The longest pause between two attempts. An attempt is a packet and a refusal; what waits for the link is the
    failover of the next death: a peer that came back and is reached only through a third one is lost with that one."""

    stable_s: float = 1.0
    """A link that lived as long as this resets the backoff; one that died sooner counts as a failed attempt."""

    def backoff_s(self, failures: int, jitter: float) -> float:
        """Pause before the next attempt after `failures` in a row; `jitter` in [0, 1) spreads it over [half, whole).

        The spread keeps replicas that lost one peer together from returning together (Floyd & Jacobson 1994).
        """
        assert failures >= 0
        assert 0 <= jitter < 1
        if failures == 0:
            return 0.0
        whole_s = min(self.backoff_max_s, self.backoff_min_s * 2.0 ** min(failures - 1, 32))
        return float(whole_s * (0.5 + 0.5 * jitter))
