"""Entries about limited resources; what they mean, and how they are joined, is in `quota`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gift:
    """Of a limited resource, `total` rights went from `giver` to `to` in all, `late` of them while still in use.

    Holders are written ``name/journal``. From a holder to itself: the rights that it founded.
    """

    key: str
    stamp: int
    author: str
    giver: str
    to: str
    total: int
    late: int


@dataclass(frozen=True, slots=True)
class Share:
    """The `seq`-th word of a holder about its rights: `open` of them may be in use in `period` (0: no calendar).

    `late` counts the rights received while in use whose use is over.
    """

    key: str
    stamp: int
    author: str
    holder: str
    seq: int
    open: int
    late: int
    period: int
    away: int = 0
    """It will not have given away more than so many in all, before it says so again."""
    lease_ms: int = 0
    """It uses rights for so long after a majority last answered it, and not longer; 0: without end."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """The author, a voter with this journal in this roster version, has not heard of `holder` for the lease of its
    rights of the quota `key`: it does not vouch for their use any more, until this `session` of them is settled.
    """

    key: str
    stamp: int
    author: str
    holder: str
    session: int
    journal: str
    roster: int


@dataclass(frozen=True, slots=True)
class Cool:
    """The provider asked for a pause of `for_ms` milliseconds, and is used at `factor` thousandths of the limit."""

    key: str
    stamp: int
    author: str
    for_ms: int
    factor: int
