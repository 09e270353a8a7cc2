"""Network namespaces with a TAP interface each: hosts of their own, as far as the network goes.

They belong to this process and its children and need no names, no `ip`, and nothing to be removed: when the last
process in one ends, it is gone (network_namespaces(7)). Root unshares the network alone; others need a user namespace
(user_namespaces(7)) and a /dev/net/tun that everybody may open, as most systems have it.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFHWADDR = 0x8913, 0x8914, 0x8916, 0x891C, 0x8924
IFF_UP, ARPHRD_ETHER = 1, 1
MAC_HEAD = b"\x02\0\0\0\0"
NETWORK = "10.77.0"
TAP = "tap0"

LIBC = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This machine does not let us make network namespaces; says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A host on the wire."""

    address: str
    tap: int
    """Descriptor: what it sends can be read here, what is written here it receives, frame by frame. Does not block."""
    namespace: int
    """Descriptor of its namespace."""

    def enter(self) -> None:
        """Move this thread there, for good."""
        _setns(self.namespace)


def isolate() -> None:
    """Move this process, which must have one thread only, into a network namespace of its own, as its root.

    Raises:
        Unavailable: the system does not let us.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and LIBC.unshare(CLONE_NEWNET) == 0:
        return
    if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise Unavailable(f"unshare(2): {os.strerror(ctypes.get_errno())}")
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise Unavailable(f"a user namespace without rights: {error}") from None


def nodes(count: int) -> list[Node]:
    """Hosts .1, .2, ... of NETWORK. The first is this process itself; the others are empty.

    Raises:
        Unavailable: the system does not let us.
    """
    made = []
    try:
        for index in range(count):
            with _elsewhere(new=index > 0) as namespace:
                address = f"{NETWORK}.{index + 1}"
                made.append(Node(address, _tap(address, MAC_HEAD + bytes([index + 1])), namespace))
    except OSError as error:
        raise Unavailable(f"a TAP interface: {error}") from None
    return made


@contextmanager
def _elsewhere(*, new: bool) -> Iterator[int]:
    """Inside a new network namespace, or here; gives its descriptor."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if not new:
        yield here
        return
    if LIBC.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(2)")
    try:
        yield os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        _setns(here)
        os.close(here)


def _setns(namespace: int) -> None:
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns(2)")


def _tap(address: str, mac: bytes) -> int:
    """A TAP interface in the namespace that we are in: netdevice(7)."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", TAP.encode(), IFF_TAP | IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:

        def set_address(request: int, dotted: str) -> None:
            packed = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(dotted))
            fcntl.ioctl(control, request, struct.pack("16s16s8x", TAP.encode(), packed))

        fcntl.ioctl(control, SIOCSIFHWADDR, struct.pack("16sH6s16x", TAP.encode(), ARPHRD_ETHER, mac))
        set_address(SIOCSIFADDR, address)
        set_address(SIOCSIFNETMASK, "255.255.255.0")
        for name in (TAP, "lo"):
            flags = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
            (now,) = struct.unpack("16xH22x", flags)
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), now | IFF_UP))
    return tap
