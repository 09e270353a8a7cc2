"""No looks for garbage while much is taken in at once.

Python looks at its young containers whenever there are 700 more of them, and at all of them whenever these have grown
by a quarter. A large difference, or a journal, becomes hundreds of thousands of containers, none of which is garbage
yet: the looks took half of the time in which a fresh replica took in twenty thousand tasks.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

LARGE_BYTES = 256 * 1024
"""Some three thousand entries."""


@contextmanager
def put_off(size: int) -> Iterator[None]:
    """Put off looks for garbage while something of so many bytes is taken in, if that is large. The whole process has
    to wait for them, so nothing may be waited for inside."""
    if size < LARGE_BYTES or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
