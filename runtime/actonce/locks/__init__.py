"""Lock services that the user runs already, behind one small protocol: see `service`, and runtime/docs/guards.md."""

from actonce.errors import ConfigError
from actonce.locks.address import LockAddress, parse_lock_url
from actonce.locks.etcd import EtcdLocks
from actonce.locks.service import (
    LockConflict,
    LockError,
    LockRefused,
    LockService,
    LockUnreachable,
    Register,
)

__all__ = [
    "LockAddress",
    "LockConflict",
    "LockError",
    "LockRefused",
    "LockService",
    "LockUnreachable",
    "Register",
    "open_locks",
    "parse_lock_url",
]


def open_locks(url: str) -> LockService:
    """The service behind a URL. Nothing is connected yet.

    Raises:
        ConfigError: no such URL, or the client of that service is not installed.
    """
    address = parse_lock_url(url)
    if address.scheme == "etcd":
        return EtcdLocks(address)
    try:
        from actonce.locks.nats import NatsLocks
    except ModuleNotFoundError as error:
        raise ConfigError(f"{address.where} needs the package {error.name!r}: pip install 'actonce[nats]'") from None
    return NatsLocks(address)
