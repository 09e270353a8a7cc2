"""How a command ends when it cannot do what it was asked: one sentence on stderr, exit status 1, no traceback."""

from __future__ import annotations

import errno
from typing import IO, Any

import click

from actonce.cli.stopping import INTERRUPTED
from actonce.errors import ActonceError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to a file answers whose disk is full or broken."""


class Failure(click.ClickException):
    """A sentence for the user."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """On stderr, as `actonce: sentence`."""
        click.echo(f"actonce: {self.format_message()}", file=file, err=file is None)


class Commands(click.Group):
    """A group in which the errors of Actonce end a command as a `Failure` does."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, with the translation."""
        try:
            return super().invoke(ctx)
        except ActonceError as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt:  # not click's "Aborted!" with status 1, which says that it could not be done
            raise SystemExit(INTERRUPTED) from None
        except OSError as error:
            if error.filename is not None or error.errno not in FULL:
                raise
            raise Failure(f"the output cannot be written: {error.strerror}") from error
