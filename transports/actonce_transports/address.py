"""Addresses: `host:port`, with IPv6 in brackets as in RFC 3986, section 3.2.2 (`[::1]:7420`)."""

import ipaddress
import re
from dataclasses import dataclass

from .errors import AddressInvalid, SecretNeeded

__all__ = ["Address", "check_secret", "is_loopback", "parse_address"]

HOST_CHARS_MAX = 253
"""The longest name in DNS (RFC 1035, section 2.3.4)."""

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name, IPv4 or IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True if bytes to this address cannot leave the host. A name other than `localhost` may mean anything."""
        return self.host.lower() == "localhost" or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """True for the text of a loopback IP address; False for any name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str, *, any_port: bool = False) -> Address:
    """Read `host:port`. Port 0 ("choose one") needs `any_port`. Raises AddressInvalid."""
    host, colon, port = text.rpartition(":")
    if not colon or not PORT.fullmatch(port):
        raise AddressInvalid(f"{text!r} is not host:port")
    if not (0 if any_port else 1) <= int(port) <= 65535:
        raise AddressInvalid(f"{text!r}: a port is at most 65535, and 0 only to listen on")
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise AddressInvalid(f"{text!r}: no IPv6 address in the brackets") from None
        return Address(host[1:-1], int(port))
    if len(host) > HOST_CHARS_MAX or not HOST.fullmatch(host):
        hint = "; IPv6 needs brackets, [::1]:7420" if ":" in host else ""
        raise AddressInvalid(f"{text!r}: {host!r} is not a host{hint}")
    return Address(host, int(port))


def check_secret(address: Address, secret: bytes | None) -> None:
    """Raises SecretNeeded if bytes would leave this host without a secret, or the secret is empty."""
    if secret is not None and not secret:
        raise SecretNeeded("the secret is empty")
    if secret is None and not address.loopback:
        raise SecretNeeded(f"{address} is not on this host, and there is no secret: whoever can reach it could join")
