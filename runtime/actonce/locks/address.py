"""URLs of lock services: `nats://host:4222/bucket`, `etcd://host:2379/prefix`, with `+tls` after the scheme for TLS.

Several hosts may be given, with commas between them. Credentials stand before an `@` (which everybody sees who lists
the processes of the host), or in the environment as ACTONCE_LOCK_USER and ACTONCE_LOCK_PASSWORD; for NATS a user
without a password is a token.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

from actonce.errors import ConfigError

PORTS = {"nats": 4222, "etcd": 2379}
DEFAULT_FOLDER = "actonce"
_FOLDER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class LockAddress:
    """A parsed URL."""

    scheme: str
    """nats or etcd."""
    tls: bool
    hosts: tuple[str, ...]
    """Each as host:port."""
    folder: str
    """The bucket (NATS) or the prefix of the keys (etcd)."""
    user: str = ""
    password: str = ""

    @property
    def where(self) -> str:
        """The URL without credentials."""
        return f"{self.scheme}{'+tls' if self.tls else ''}://{','.join(self.hosts)}/{self.folder}"


def parse_lock_url(url: str) -> LockAddress:
    """
    Raises:
        ConfigError: not such a URL; the message says what is wrong, without the credentials in it.
    """
    scheme, mark, rest = url.partition("://")
    kind, plus, tls = scheme.partition("+")
    shown = f"{scheme}://{rest.rpartition('@')[2]}" if mark else url
    if not mark or kind not in PORTS or (plus and tls != "tls"):
        raise ConfigError(
            f"{shown!r} is not the URL of a lock service: write nats://HOST:4222/BUCKET or etcd://HOST:2379/PREFIX"
        )
    credentials, _, place = rest.rpartition("@")
    hosts, _, folder = place.partition("/")
    folder = folder.strip("/") or DEFAULT_FOLDER
    if not _FOLDER.fullmatch(folder):
        raise ConfigError(f"{shown!r}: {folder!r} cannot name a bucket: use 1 to 64 of A-Z, a-z, 0-9, '_', '-'")
    user, _, password = credentials.partition(":")
    return LockAddress(
        kind,
        bool(plus),
        tuple(_host(host, PORTS[kind], shown) for host in hosts.split(",")),
        folder,
        unquote(user) or os.environ.get("ACTONCE_LOCK_USER", ""),
        unquote(password) or os.environ.get("ACTONCE_LOCK_PASSWORD", ""),
    )


def _host(text: str, port: int, shown: str) -> str:
    match = _HOST.fullmatch(text)
    if match is None or not 0 < int(match[2] or port) < 65_536:
        raise ConfigError(f"{shown!r}: {text!r} is not HOST or HOST:PORT")
    return f"{match[1]}:{match[2] or port}"
