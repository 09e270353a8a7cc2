"""How a link's TCP connection waits. After a partition a link has to carry again in about a second; but TCP doubles the
pause between two attempts each time (RFC 6298), so that after ten seconds of silence it would wait for another five.
"""

import errno
import socket

RTO_MAX_MS = 1_000
"""The longest pause between two attempts. Linux 6.15 and later; elsewhere it doubles, up to two minutes."""
GIVE_UP_MS = 60_000
"""After this long without an acknowledgement the connection is given up, and made anew by whoever dials. Linux."""

SILENCE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
"""Errors that end a connection without any word from the other end: the network went silent, not the peer."""

_TCP_RTO_MAX_MS = 44  # linux/tcp.h; not yet in Python's socket module
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


def tune(sock: socket.socket) -> None:
    """Make a connection impatient, as far as this system can."""
    if _TCP_USER_TIMEOUT is None:  # not Linux: the other number may mean anything there
        return
    for option, value in ((_TCP_RTO_MAX_MS, RTO_MAX_MS), (_TCP_USER_TIMEOUT, GIVE_UP_MS)):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError:  # an older kernel
            continue


def is_silence(exc: Exception | None) -> bool:
    """Whether a connection ended like that because nothing came back, rather than by a reset or an end."""
    return isinstance(exc, OSError) and exc.errno in SILENCE
