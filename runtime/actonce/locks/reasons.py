"""Why a service could not be reached, in a few words."""

from __future__ import annotations

import errno
import os
import re

_ERRNO = re.compile(r"\[Errno (-?\d+)\]")


def told(error: BaseException) -> str:
    """`connection refused` of any exception that stands for it, however deep."""
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) and cause.errno is not None else None
        if number is None and (found := _ERRNO.search(str(cause))):
            number = int(found[1])
        if number is None and "connect call failed" in str(cause).lower():
            number = errno.ECONNREFUSED
        if number is not None and number in errno.errorcode:
            return os.strerror(number).lower()
        cause = cause.__cause__ or cause.__context__
    return str(error).strip() or type(error).__name__
