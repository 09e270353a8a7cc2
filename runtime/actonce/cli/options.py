"""Options that several commands share, and what they are read into."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from actonce.errors import ConfigError

DEFAULT_AT = "127.0.0.1:7420"

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

secret_option = click.option(
    "--secret-file",
    "secret_file",
    type=click.Path(path_type=Path),
    envvar="ACTONCE_SECRET_FILE",
    show_envvar=True,
    metavar="FILE",
    help="File with the secret that all replicas of the agent share; its text without the last line break. Make one "
    "with `openssl rand -hex 32`. Without a secret only programs on this host can connect.",
)

at_option = click.option(
    "--at",
    default=DEFAULT_AT,
    envvar="ACTONCE_AT",
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="The replica to ask; any one of them will do.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that asks a running replica."""
    options: tuple[Decorator, ...] = (at_option, secret_option, json_option)
    return reduce(lambda made, option: option(made), reversed(options), command)


def read_secret(file: Path | None) -> bytes | None:
    """The secret in `file`, or None when no file was named.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    if file is None:
        return None
    try:
        secret = file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"the secret file {file} cannot be read: {error.strerror}") from None
    if not secret:
        raise ConfigError(f"the secret file {file} is empty: put 32 random bytes there, as hex")
    return secret
